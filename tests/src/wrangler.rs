//! The project's `wrangler.toml`, rewritten for a run from another folder with other variables.

use std::path::Path;

use anyhow::{Context, Result};
use toml::{Table, Value};

use crate::EdgeSettings;

/// `config` without its build step (the Worker is built already), with the paths that are relative to `root` made
/// absolute, and with the build folder and the variables of `settings` over its own.
pub(crate) fn for_dev(config: &str, root: &Path, settings: &EdgeSettings) -> Result<String> {
    let mut config: Table = config.parse().context("wrangler.toml is not TOML")?;
    config.remove("build");
    if let (Some(build), Some(main)) = (&settings.build, config.get_mut("main")) {
        let file = main.as_str().and_then(|main| Path::new(main).file_name()).context("`main` names no file")?;
        *main = Value::String(build.join(file).display().to_string());
    }
    make_absolute(config.get_mut("main"), root)?;
    make_absolute(config.get_mut("assets").and_then(|assets| assets.get_mut("directory")), root)?;

    let own_vars = config.entry("vars").or_insert_with(|| Value::Table(Table::new()));
    let own_vars = own_vars.as_table_mut().context("`vars` in wrangler.toml is not a table")?;
    own_vars.extend(settings.vars.iter().map(|(name, value)| (name.clone(), Value::String(value.clone()))));
    Ok(toml::to_string(&config)?)
}

/// The Worker's main module, relative to the folder of its `config`.
pub(crate) fn main(config: &str) -> Result<String> {
    let config: Table = config.parse().context("wrangler.toml is not TOML")?;
    Ok(config.get("main").and_then(Value::as_str).context("no `main` in wrangler.toml")?.to_owned())
}

fn make_absolute(path: Option<&mut Value>, root: &Path) -> Result<()> {
    let Some(value) = path else { return Ok(()) };
    let relative = value.as_str().context("a path in wrangler.toml is not a string")?;
    *value = Value::String(root.join(relative).display().to_string());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(vars: &[(&str, &str)]) -> EdgeSettings {
        let vars = vars.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        EdgeSettings { port: 1, vars, build: None }
    }

    fn rewritten(config: &str, vars: &[(&str, &str)]) -> Table {
        for_dev(config, Path::new("/project"), &settings(vars)).unwrap().parse().unwrap()
    }

    #[test]
    fn the_build_step_goes_and_everything_unknown_stays() {
        let config = rewritten("name = 'b'\n[build]\ncommand = 'x'\n[[migrations]]\ntag = 'v1'\n", &[]);
        assert!(!config.contains_key("build"));
        assert_eq!(config["name"].as_str(), Some("b"));
        assert_eq!(config["migrations"][0]["tag"].as_str(), Some("v1"));
    }

    #[test]
    fn paths_become_absolute() {
        let config = rewritten("main = 'edge/build/index.js'\n[assets]\ndirectory = './client/dist'\n", &[]);
        assert_eq!(config["main"].as_str(), Some("/project/edge/build/index.js"));
        assert_eq!(config["assets"]["directory"].as_str(), Some("/project/./client/dist"));
    }

    #[test]
    fn another_build_replaces_the_folder_of_the_main_module() {
        let settings = EdgeSettings { build: Some("/elsewhere".into()), ..settings(&[]) };
        let config: Table =
            for_dev("main = 'edge/build/index.js'", Path::new("/project"), &settings).unwrap().parse().unwrap();
        assert_eq!(config["main"].as_str(), Some("/elsewhere/index.js"));
    }

    #[test]
    fn given_variables_win_over_those_of_the_file() {
        let config = rewritten("[vars]\nPING_SECS = '20'\nLOG_LEVEL = 'info'\n", &[("PING_SECS", "1"), ("NEW", "n")]);
        assert_eq!(config["vars"]["PING_SECS"].as_str(), Some("1"));
        assert_eq!(config["vars"]["LOG_LEVEL"].as_str(), Some("info"));
        assert_eq!(config["vars"]["NEW"].as_str(), Some("n"));
    }

    #[test]
    fn a_file_that_is_not_toml_is_refused() {
        assert!(for_dev("main =", Path::new("/"), &settings(&[])).is_err());
    }
}
