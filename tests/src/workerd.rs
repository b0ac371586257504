//! The configuration of a bare `workerd` that runs the Worker without wrangler around it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use toml::{Table, Value};

/// The folder of the objects' storage, beside the configuration.
const OBJECTS: &str = "objects";

/// The configuration for the Worker that `config`, a `wrangler.toml`, describes, with `vars` over its own, listening on
/// `address`. `modules` are the files of the build, beside the configuration.
///
/// Static files are left out: the live page's routes do not answer.
pub(crate) fn config(
    config: &str,
    vars: &BTreeMap<String, String>,
    modules: &[String],
    address: &str,
) -> Result<String> {
    let config: Table = config.parse().context("wrangler.toml is not TOML")?;
    let date = config.get("compatibility_date").and_then(Value::as_str).context("no compatibility_date")?;
    let objects = objects(&config)?;

    let mut all_vars: BTreeMap<&str, &str> = BTreeMap::new();
    let own_vars = config.get("vars").and_then(Value::as_table).into_iter().flatten();
    all_vars.extend(own_vars.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?))));
    all_vars.extend(vars.iter().map(|(name, value)| (name.as_str(), value.as_str())));

    let texts = all_vars.iter().map(|(name, value)| format!("(name = {}, text = {})", quoted(name), quoted(value)));
    let classes = objects
        .iter()
        .map(|(name, class)| format!("(name = {}, durableObjectNamespace = {})", quoted(name), quoted(class)));
    let bindings = list(classes.chain(texts));
    let namespaces = list(
        objects.iter().map(|(_, class)| format!("(className = {0}, uniqueKey = {0}, enableSql = true)", quoted(class))),
    );
    let modules = list(modules.iter().map(|file| {
        let kind = if file.ends_with(".wasm") { "wasm" } else { "esModule" };
        format!("(name = {0}, {kind} = embed {0})", quoted(file))
    }));
    // Objects keep their alarms on disk, so that they outlive a kill as in production.
    Ok(format!(
        r#"using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = .worker),
    (name = "objects", disk = (path = "{OBJECTS}", writable = true)),
    (name = "internet", network = (allow = ["public", "private"])),
  ],
  sockets = [(name = "http", address = {address}, http = (), service = "main")],
);
const worker :Workerd.Worker = (
  compatibilityDate = {date},
  modules = {modules},
  bindings = {bindings},
  durableObjectNamespaces = {namespaces},
  durableObjectStorage = (localDisk = "objects"),
);
"#,
        address = quoted(address),
        date = quoted(date),
    ))
}

/// Copies the modules of `build` into `dir`, and makes the folder of the objects. A later build of the same folder so
/// does not reach a running system. The names, the main module first.
pub(crate) fn lay_out(build: &Path, main: &str, dir: &Path) -> Result<Vec<String>> {
    fs::create_dir_all(dir.join(OBJECTS))?;
    let mut names = Vec::new();
    for entry in fs::read_dir(build).with_context(|| format!("{} is not there: build it first", build.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if [".js", ".mjs", ".wasm"].iter().any(|end| name.ends_with(end)) {
            fs::copy(build.join(&name), dir.join(&name))?;
            names.push(name);
        }
    }
    ensure!(names.iter().any(|name| name == main), "no {main} in {}", build.display());
    names.sort_by_key(|name| (name != main, name.clone()));
    Ok(names)
}

/// The bindings to classes of Durable Objects: name and class.
fn objects(config: &Table) -> Result<Vec<(String, String)>> {
    let bindings = config.get("durable_objects").and_then(|objects| objects.get("bindings")).and_then(Value::as_array);
    let text = |binding: &Value, key| binding.get(key).and_then(Value::as_str).map(str::to_owned);
    let pair =
        |binding| text(binding, "name").zip(text(binding, "class_name")).context("a binding without name or class");
    bindings.into_iter().flatten().map(pair).collect()
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// A text literal of Cap'n Proto.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('\r', "\\r");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRANGLER: &str = "main = 'b/index.js'\ncompatibility_date = '2026-11-17'\n[vars]\nA = '1'\nB = 'own'\n\
                            [[durable_objects.bindings]]\nname = 'HUB'\nclass_name = 'Hub'\n";

    fn generated(vars: &[(&str, &str)]) -> String {
        let vars = vars.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        config(WRANGLER, &vars, &["index.js".into(), "a.wasm".into()], "127.0.0.1:1").unwrap()
    }

    #[test]
    fn classes_variables_and_modules_are_named() {
        let config = generated(&[("B", "given")]);
        for part in [
            r#"(name = "HUB", durableObjectNamespace = "Hub")"#,
            r#"(className = "Hub", uniqueKey = "Hub", enableSql = true)"#,
            r#"(name = "A", text = "1"), (name = "B", text = "given")"#,
            r#"(name = "index.js", esModule = embed "index.js"), (name = "a.wasm", wasm = embed "a.wasm")"#,
            r#"compatibilityDate = "2026-11-17""#,
        ] {
            assert!(config.contains(part), "no {part} in {config}");
        }
    }

    #[test]
    fn a_variable_cannot_break_out_of_its_quotes() {
        assert!(generated(&[("B", "a\"b\\c\nd")]).contains(r#"text = "a\"b\\c\nd""#));
    }
}
