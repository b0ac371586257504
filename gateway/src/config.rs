//! The gateway's settings: read once, from the command line and the environment.

use clap::Parser;
use std::fmt;
use std::net::SocketAddr;

/// A value that is used and never shown.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// The value itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        Self(value.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Redis over HTTP (the Upstash REST protocol) for any Redis.
#[derive(Debug, Clone, Parser)]
#[command(name = "batchcast-gateway", version)]
pub struct Config {
    /// Address to serve the REST API on; port 0 takes a free one.
    #[arg(long, env = "GATEWAY_LISTEN", default_value = "127.0.0.1:8079")]
    pub listen: SocketAddr,

    /// Address to serve health, metrics and subscriptions on; without it they are not served.
    #[arg(long, env = "GATEWAY_ADMIN_LISTEN")]
    pub admin_listen: Option<SocketAddr>,

    /// Where Redis is: `redis://[user:password@]host:port[/database]`.
    #[arg(long, env = "REDIS_URL", default_value = "redis://localhost:6379", hide_env_values = true)]
    pub redis_url: Secret,

    /// The bearer token that clients present. Better set by the environment than seen in a process list.
    #[arg(long, env = "GATEWAY_TOKEN", default_value = "", hide_default_value = true, hide_env_values = true)]
    pub token: Secret,

    /// What is logged to stderr: error, warn, info, debug, trace, or a filter by module.
    #[arg(long, env = "LOG_LEVEL", default_value = "info")]
    pub log_level: String,
}

/// A setting that the gateway cannot start with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is no token.
    #[error(
        "GATEWAY_TOKEN is missing: set it, or pass --token, to a secret that clients send as `Authorization: Bearer …`"
    )]
    TokenMissing,
}

impl Config {
    /// Reads the settings of this process; with `--help` or a value of the wrong form it ends the process.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable and the remedy.
    pub fn from_command_line() -> Result<Self, ConfigError> {
        Self::parse().checked()
    }

    /// A token is asked for here and not by `clap`, whose message does not name the variable.
    fn checked(self) -> Result<Self, ConfigError> {
        if self.token.expose().is_empty() { Err(ConfigError::TokenMissing) } else { Ok(self) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(args: &[&str]) -> Result<Config, ConfigError> {
        Config::parse_from([&["batchcast-gateway"], args].concat()).checked()
    }

    #[test]
    fn a_missing_token_is_named_with_its_variable() {
        let error = parse(&["--token", ""]).unwrap_err();
        assert!(error.to_string().starts_with("GATEWAY_TOKEN is missing"), "{error}");
    }

    #[test]
    fn secrets_are_never_shown() {
        let config = parse(&["--token", "s3cret", "--redis-url", "redis://:hunter2@localhost"]).unwrap();
        let shown = format!("{config:?}");
        assert!(!shown.contains("s3cret") && !shown.contains("hunter2"), "{shown}");
        assert_eq!(config.token.expose(), "s3cret");
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Config::command().debug_assert();
    }
}
