//! The gateway's settings: read once, from the command line and the environment.

use crate::access::{self, TokenFileError, UserToken};
use crate::target::Extras;
use clap::{Parser, ValueEnum};
use redis_address::{Address, AddressError, CertificateError, Certificates, Credentials};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

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

/// Redis over HTTP, in the words of Upstash's REST API, for any Redis.
///
/// Serves POST / and /pipeline, /multi-exec, commands in the path, and /subscribe/CHANNEL, /psubscribe/PATTERN and
/// /monitor as server-sent events. Every option can be given as a variable; an option wins over its variable.
/// The addresses it listens on are the only lines on stdout; logs go to stderr. SIGTERM and Ctrl-C end it in order.
#[derive(Debug, Clone, Parser)]
#[command(name = "batchcast-gateway", version, max_term_width = 100)]
pub struct Config {
    /// Address to serve the REST API on; port 0 takes a free one.
    #[arg(long, env = "GATEWAY_LISTEN", default_value = "127.0.0.1:8079", help_heading = "HTTP")]
    pub listen: SocketAddr,

    /// Address to serve /healthz, /readyz, /metrics and /subscriptions on; without it they are not served. They ask for
    /// no token: keep this address off the public network.
    #[arg(long, env = "GATEWAY_ADMIN_LISTEN", help_heading = "HTTP")]
    pub admin_listen: Option<SocketAddr>,

    /// Certificate chain (PEM) to serve the REST API over TLS with. SIGHUP reads it anew.
    #[arg(long, env = "GATEWAY_TLS_CERT_FILE", requires = "tls_key_file", help_heading = "HTTP")]
    pub tls_cert_file: Option<PathBuf>,

    /// Private key (PEM) of that certificate.
    #[arg(long, env = "GATEWAY_TLS_KEY_FILE", requires = "tls_cert_file", help_heading = "HTTP")]
    pub tls_key_file: Option<PathBuf>,

    /// Where Redis is. One server: `redis://[user:password@]host:port[/database]`, `rediss://` for TLS,
    /// `unix:///path?db=0&user=…&pass=…` for a socket. A master that sentinels name:
    /// `redis-sentinel://[user:password@]host:port,host:port[/database]#NAME`. A cluster:
    /// `redis-cluster://[user:password@]host:port,host:port`. For TLS: `rediss-sentinel://`, `rediss-cluster://`.
    #[arg(
        long,
        env = "REDIS_URL",
        default_value = "redis://localhost:6379",
        hide_env_values = true,
        help_heading = "Redis"
    )]
    pub redis_url: Secret,

    /// Certificate authority (PEM) that Redis' certificate must be of, instead of the system's.
    #[arg(long, env = "REDIS_CA_FILE", help_heading = "Redis")]
    pub redis_ca_file: Option<PathBuf>,

    /// Certificate (PEM) to show Redis, where it asks its clients for one.
    #[arg(long, env = "REDIS_CERT_FILE", requires = "redis_key_file", help_heading = "Redis")]
    pub redis_cert_file: Option<PathBuf>,

    /// Private key (PEM) of that certificate.
    #[arg(long, env = "REDIS_KEY_FILE", requires = "redis_cert_file", help_heading = "Redis")]
    pub redis_key_file: Option<PathBuf>,

    /// User at the sentinels, which know other users than Redis.
    #[arg(long, env = "REDIS_SENTINEL_USER", help_heading = "Redis")]
    pub redis_sentinel_user: Option<String>,

    /// Password at the sentinels.
    #[arg(long, env = "REDIS_SENTINEL_PASSWORD", hide_env_values = true, help_heading = "Redis")]
    pub redis_sentinel_password: Option<Secret>,

    /// Seconds that Redis may take to answer a request.
    #[arg(long, env = "GATEWAY_RESPONSE_TIMEOUT_SECS", default_value_t = 10, value_parser = 1..=300, help_heading = "Redis")]
    pub response_timeout_secs: i64,

    /// The token that clients present as `Authorization: Bearer …`: all commands of the user in REDIS_URL. Better set by
    /// the environment than seen in a process list.
    #[arg(
        long,
        env = "GATEWAY_TOKEN",
        default_value = "",
        hide_default_value = true,
        hide_env_values = true,
        help_heading = "Access"
    )]
    pub token: Secret,

    /// A second token, for reading only: commands in Redis' category @read that are not @dangerous, and subscriptions.
    #[arg(long, env = "GATEWAY_READ_ONLY_TOKEN", hide_env_values = true, help_heading = "Access")]
    pub read_only_token: Option<Secret>,

    /// File of tokens that stand for ACL users of Redis: a line is TOKEN USER PASSWORD. Each user has connections of its
    /// own, made when its token first comes.
    #[arg(long, env = "GATEWAY_TOKENS_FILE", help_heading = "Access")]
    pub tokens_file: Option<PathBuf>,

    /// Origins whose pages may read answers (CORS), separated by commas. Without it all may, as at Upstash: a page needs
    /// a token all the same, and no cookie is one.
    #[arg(long, env = "GATEWAY_ALLOWED_ORIGINS", value_delimiter = ',', help_heading = "Access")]
    pub allowed_origins: Vec<String>,

    /// The largest request body, in bytes.
    #[arg(long, env = "GATEWAY_MAX_REQUEST_BYTES", default_value_t = 10 * 1024 * 1024, value_parser = at_least_one, help_heading = "Limits")]
    pub max_request_bytes: usize,

    /// The largest answer, in bytes. A larger one is an error, although its commands have run.
    #[arg(long, env = "GATEWAY_MAX_RESPONSE_BYTES", default_value_t = 10 * 1024 * 1024, value_parser = at_least_one, help_heading = "Limits")]
    pub max_response_bytes: usize,

    /// The most commands in one request.
    #[arg(long, env = "GATEWAY_MAX_COMMANDS", default_value_t = 10_000, value_parser = at_least_one, help_heading = "Limits")]
    pub max_commands: usize,

    /// The most requests that are answered at the same time; more get 429.
    #[arg(long, env = "GATEWAY_MAX_REQUESTS", default_value_t = 10_000, value_parser = at_least_one, help_heading = "Limits")]
    pub max_requests: usize,

    /// The most open subscriptions; more get 429.
    #[arg(long, env = "GATEWAY_MAX_SUBSCRIPTIONS", default_value_t = 100_000, value_parser = at_least_one, help_heading = "Limits")]
    pub max_subscriptions: usize,

    /// Threads that answer requests. Without it half as many as there are processors: more of them on the same
    /// processors wake each other more often than they work, and Redis and subscribers want their share.
    #[arg(long, env = "GATEWAY_THREADS", value_parser = at_least_one, help_heading = "Limits")]
    pub threads: Option<usize>,

    /// What is logged to stderr: error, warn, info, debug, trace, or a filter by module.
    #[arg(long, env = "LOG_LEVEL", default_value = "info", help_heading = "Logs")]
    pub log_level: String,

    /// How: a line of text, or of JSON.
    #[arg(long, env = "GATEWAY_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text, help_heading = "Logs")]
    pub log_format: LogFormat,

    /// Logs each request: its id, method, path, status and time. The token is cut from the path, keys and values in it
    /// are not.
    #[arg(
        long,
        env = "GATEWAY_ACCESS_LOG",
        default_value_t = false,
        num_args = 0..=1,
        default_missing_value = "true",
        action = clap::ArgAction::Set,
        help_heading = "Logs"
    )]
    pub access_log: bool,
}

/// The form of logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// An object a line, for programs.
    Json,
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
    /// Two tokens are the same, so that it is not clear what one stands for.
    #[error("{0} and GATEWAY_TOKEN are the same: give each its own secret")]
    TokenTwice(&'static str),
    /// The file of tokens is not usable.
    #[error("GATEWAY_TOKENS_FILE is not usable: {0}")]
    Tokens(#[source] TokenFileError),
    /// The address of Redis is not one.
    #[error(
        "REDIS_URL is not usable: {0}. It looks like redis://[user:password@]host:port[/database]; \
         see --help for TLS, sockets, Sentinel and Cluster"
    )]
    Redis(#[source] AddressError),
    /// A certificate for Redis cannot be read.
    #[error("{0}")]
    RedisCertificate(#[from] CertificateError),
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
    fn checked(mut self) -> Result<Self, ConfigError> {
        // As everywhere, an empty variable is one that is not set.
        self.read_only_token = self.read_only_token.filter(|token| !token.expose().is_empty());
        self.allowed_origins.retain(|origin| !origin.is_empty());
        if self.token.expose().is_empty() {
            return Err(ConfigError::TokenMissing);
        }
        if self.read_only_token.as_ref().is_some_and(|token| token.expose() == self.token.expose()) {
            return Err(ConfigError::TokenTwice("GATEWAY_READ_ONLY_TOKEN"));
        }
        Ok(self)
    }

    /// How long Redis may take to answer.
    pub(crate) fn response_timeout(&self) -> Duration {
        Duration::from_secs(self.response_timeout_secs.unsigned_abs())
    }

    /// How many threads answer requests.
    pub fn request_threads(&self) -> usize {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.threads.unwrap_or(processors.div_ceil(2))
    }

    /// The tokens of ACL users.
    ///
    /// # Errors
    /// [`ConfigError`] names the line.
    pub(crate) fn user_tokens(&self) -> Result<Vec<UserToken>, ConfigError> {
        let users = self.tokens_file.as_deref().map(access::read_tokens).transpose().map_err(ConfigError::Tokens)?;
        let users = users.unwrap_or_default();
        let known = |token: &Secret| users.iter().any(|user| user.token.expose() == token.expose());
        if known(&self.token) || self.read_only_token.as_ref().is_some_and(known) {
            return Err(ConfigError::TokenTwice("a token of GATEWAY_TOKENS_FILE"));
        }
        Ok(users)
    }

    /// Where Redis is, and what is needed to reach it.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting.
    pub(crate) fn redis(&self) -> Result<(Address, Extras), ConfigError> {
        let address = self.redis_url.expose().parse().map_err(ConfigError::Redis)?;
        let certificates = Certificates::read(
            self.redis_ca_file.as_deref(),
            self.redis_cert_file.as_deref(),
            self.redis_key_file.as_deref(),
        )?;
        let password = self.redis_sentinel_password.as_ref().map(|password| password.expose().to_owned());
        let sentinel = Credentials { user: self.redis_sentinel_user.clone(), password };
        Ok((address, Extras { certificates, sentinel }))
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it must be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(_) => Err("it must be a whole number".to_owned()),
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
    fn tokens_that_are_the_same_stand_for_nothing() {
        let error = parse(&["--token", "s3cret", "--read-only-token", "s3cret"]).unwrap_err().to_string();
        assert!(error.starts_with("GATEWAY_READ_ONLY_TOKEN and GATEWAY_TOKEN are the same"), "{error}");
        assert!(parse(&["--token", "s3cret", "--read-only-token", ""]).unwrap().read_only_token.is_none());
    }

    #[test]
    fn a_switch_is_on_without_a_value() {
        assert!(parse(&["--token", "s3cret", "--access-log"]).unwrap().access_log);
        assert!(!parse(&["--token", "s3cret", "--access-log=false"]).unwrap().access_log);
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Config::command().debug_assert();
    }
}
