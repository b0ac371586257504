//! The project's `wrangler.toml`, rewritten for a run from another folder with other variables.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use toml::{Table, Value};

/// `config` without its build step (the Worker is built already), with the paths that are relative to `root` made
/// absolute, and with `vars` over its own.
pub(crate) fn for_dev(config: &str, root: &Path, vars: &BTreeMap<String, String>) -> Result<String> {
    let mut config: Table = config.parse().context("wrangler.toml is not TOML")?;
    config.remove("build");
    make_absolute(config.get_mut("main"), root)?;
    make_absolute(config.get_mut("assets").and_then(|assets| assets.get_mut("directory")), root)?;

    let own_vars = config.entry("vars").or_insert_with(|| Value::Table(Table::new()));
    let own_vars = own_vars.as_table_mut().context("`vars` in wrangler.toml is not a table")?;
    own_vars.extend(vars.iter().map(|(name, value)| (name.clone(), Value::String(value.clone()))));
    Ok(toml::to_string(&config)?)
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

    fn rewritten(config: &str, vars: &[(&str, &str)]) -> Table {
        let vars = vars.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        for_dev(config, Path::new("/project"), &vars).unwrap().parse().unwrap()
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
    fn given_variables_win_over_those_of_the_file() {
        let config = rewritten("[vars]\nPING_SECS = '20'\nLOG_LEVEL = 'info'\n", &[("PING_SECS", "1"), ("NEW", "n")]);
        assert_eq!(config["vars"]["PING_SECS"].as_str(), Some("1"));
        assert_eq!(config["vars"]["LOG_LEVEL"].as_str(), Some("info"));
        assert_eq!(config["vars"]["NEW"].as_str(), Some("n"));
    }

    #[test]
    fn a_file_that_is_not_toml_is_refused() {
        assert!(for_dev("main =", Path::new("/"), &BTreeMap::new()).is_err());
    }
}
