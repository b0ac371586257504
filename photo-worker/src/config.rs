//! The settings, parsed once. The rest of the program never looks at the environment.

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf, str::FromStr, time::Duration};

use axum::http::Uri;
use publisher::{
    PublishError, RedisSettings, Slack, Webhook, WebhookSecrets,
    token::{Expected, Secrets},
};

use crate::analysis::Findings;

/// The settings, each with its variable and default. Not `Debug`: some are secrets.
#[derive(Clone)]
#[non_exhaustive]
pub struct Config {
    /// `PHOTO_WORKER_LISTEN`, `127.0.0.1:8090`. Port 0 takes any free one.
    pub listen: SocketAddr,
    /// `REDIS_URL`, `redis://localhost:6379`, with `REDIS_CA_FILE`, `REDIS_CERT_FILE`, `REDIS_KEY_FILE`,
    /// `REDIS_SENTINEL_USER`, `REDIS_SENTINEL_PASSWORD` and `UPSTASH_REDIS_REST_TOKEN`, none.
    pub redis: RedisSettings,
    /// `DATABASE_URL`, `sqlite://photo-worker.db?mode=rwc`; or `postgres://…`.
    pub database_url: String,
    /// `PHOTO_DIR`, `photos`: where files are kept.
    pub photo_dir: PathBuf,
    /// `ORIGIN_TOKEN`, none: with it the edge reads any batch at `GET /api/batches/:id`.
    pub origin_token: Option<String>,
    /// `AUTH_SECRET`, none: the secrets that tokens may be signed with (HS256), with white space between them.
    pub auth_secret: Option<Secrets>,
    /// `AUTH_JWKS_URL`, none: where the keys are that tokens may be signed with (ES256).
    pub auth_jwks_url: Option<Uri>,
    /// `AUTH_ISSUER` and `AUTH_AUDIENCE`, none: the `iss` and `aud` that a token must have.
    pub expected: Expected,
    /// `AUTH_COOKIE`, `__Host-batchcast`: the cookie that a token may stand in.
    pub auth_cookie: String,
    /// `TRUST_USER_HEADER`, false: `x-user-id` is believed, and who sends nothing is a developer who may do anything.
    pub trust_user_header: bool,
    /// `KEY_PREFIX`, empty: what stands before each name in Redis.
    pub key_prefix: String,
    /// `STATE_TTL_SECS`, 86400: how long Redis remembers a batch.
    pub state_ttl: Duration,
    /// `COALESCE_MS`, 50: the pause between two updates of a batch.
    pub coalesce: Duration,
    /// `REDACT`, none: fields of a photo's result that leave this process neither through Redis nor to the edge.
    pub redact: Vec<String>,
    /// `WEBHOOK_URL` and `WEBHOOK_SECRET`, none: who is told of a batch's end, and the secrets that sign it, with white
    /// space between them. `WEBHOOK_ALLOW_PRIVATE`, false: private addresses and http are allowed, for Slack too.
    pub webhook: Option<Webhook>,
    /// `SLACK_WEBHOOK_URL`, none: the incoming webhook of a channel that is told of a batch's end. `BATCH_PAGE_URL`, none:
    /// where a batch is shown, with `{id}` in it.
    pub slack: Option<Slack>,
    /// `WORKER_THREADS`, the number of cores: photos analysed at the same time.
    pub worker_threads: NonZeroUsize,
    /// `RECEIVE_TIMEOUT_SECS`, 900: how long a declared photo may take to come.
    pub receive_timeout: Duration,
    /// `LEASE_SECS`, 30: how long a photo is kept from other processes after a sign of life from the one that has it.
    pub lease: Duration,
}

/// A variable with a bad value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable} {problem}: {fix}")]
pub struct ConfigError {
    /// Its name.
    pub variable: &'static str,
    /// What is wrong with its value.
    pub problem: String,
    /// What to set instead.
    pub fix: &'static str,
}

impl Config {
    /// Reads the settings through `lookup`: the environment's, or a map in tests. White space around a value is none of
    /// it, and an empty one counts as unset.
    ///
    /// # Errors
    /// The first variable with a bad value.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let text = |name: &str, default: &str| value(&lookup, name).unwrap_or_else(|| default.to_owned());
        let trust_user_header =
            parsed(&lookup, "TRUST_USER_HEADER", "set true (development only) or false")?.unwrap_or(false);
        Ok(Self {
            listen: parsed(&lookup, "PHOTO_WORKER_LISTEN", "set an address and a port, 127.0.0.1:8090 say")?
                .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8090))),
            redis: redis(&lookup)?,
            database_url: database_url(&text("DATABASE_URL", "sqlite://photo-worker.db?mode=rwc"))?,
            photo_dir: text("PHOTO_DIR", "photos").into(),
            origin_token: value(&lookup, "ORIGIN_TOKEN"),
            auth_secret: value(&lookup, "AUTH_SECRET").map(|text| secrets(&text, trust_user_header)).transpose()?,
            auth_jwks_url: value(&lookup, "AUTH_JWKS_URL").map(|url| jwks_url(&url)).transpose()?,
            expected: Expected::new(value(&lookup, "AUTH_ISSUER"), value(&lookup, "AUTH_AUDIENCE")),
            auth_cookie: cookie(text("AUTH_COOKIE", "__Host-batchcast"))?,
            trust_user_header,
            key_prefix: text("KEY_PREFIX", ""),
            state_ttl: Duration::from_secs(at_least(&lookup, "STATE_TTL_SECS", 1, 86_400)?),
            coalesce: Duration::from_millis(at_least(&lookup, "COALESCE_MS", 0, 50)?),
            redact: redact(&text("REDACT", ""))?,
            webhook: webhook(&lookup)?,
            slack: slack(&lookup)?,
            worker_threads: parsed(&lookup, "WORKER_THREADS", "set a whole number of at least 1")?
                .unwrap_or_else(cores),
            receive_timeout: Duration::from_secs(at_least(&lookup, "RECEIVE_TIMEOUT_SECS", 1, 900)?),
            lease: Duration::from_secs(at_least(&lookup, "LEASE_SECS", 1, 30)?),
        })
    }
}

fn value(lookup: &impl Fn(&str) -> Option<String>, name: &str) -> Option<String> {
    lookup(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// Whether the address can be used, the publisher says at the start.
fn redis(lookup: &impl Fn(&str) -> Option<String>) -> Result<RedisSettings, ConfigError> {
    RedisSettings::from_lookup(lookup).map_err(|error| match error {
        PublishError::Config { setting: variable, problem } => {
            ConfigError { variable, problem: format!("can't be used ({problem})"), fix: "set the path of a PEM file" }
        }
        other => {
            ConfigError { variable: "REDIS_URL", problem: other.to_string(), fix: "set redis://localhost:6379, say" }
        }
    })
}

fn parsed<T: FromStr<Err: std::fmt::Display>>(
    lookup: &impl Fn(&str) -> Option<String>,
    variable: &'static str,
    fix: &'static str,
) -> Result<Option<T>, ConfigError> {
    let Some(text) = value(lookup, variable) else { return Ok(None) };
    match text.parse() {
        Ok(parsed) => Ok(Some(parsed)),
        Err(error) => Err(ConfigError { variable, problem: format!("is {text:?} ({error})"), fix }),
    }
}

fn at_least(
    lookup: &impl Fn(&str) -> Option<String>,
    variable: &'static str,
    least: u64,
    default: u64,
) -> Result<u64, ConfigError> {
    let fix = if least == 0 { "set a whole number, 0 or more" } else { "set a whole number of at least 1" };
    let number = parsed::<u64>(lookup, variable, fix)?.unwrap_or(default);
    // A year: what is more is a mistake in the unit, and would overflow sums of times.
    if number < least || number > 366 * 86_400_000 {
        return Err(ConfigError { variable, problem: format!("is {number}"), fix });
    }
    Ok(number)
}

fn database_url(url: &str) -> Result<String, ConfigError> {
    if ["sqlite:", "postgres:", "postgresql:"].iter().any(|scheme| url.starts_with(scheme)) {
        return Ok(url.to_owned());
    }
    // The value is not shown: a database's URL may hold a password.
    Err(ConfigError {
        variable: "DATABASE_URL",
        problem: "begins neither with sqlite: nor with postgres:".to_owned(),
        fix: "set sqlite://photo-worker.db?mode=rwc or postgres://USER:PASSWORD@HOST/DATABASE, say",
    })
}

/// What the secrets of the examples begin with. Everyone knows them.
const OF_THE_EXAMPLES: &str = "development-";

/// The value is not shown.
fn secrets(text: &str, is_development: bool) -> Result<Secrets, ConfigError> {
    if !is_development && text.split_whitespace().any(|secret| secret.starts_with(OF_THE_EXAMPLES)) {
        return Err(ConfigError {
            variable: "AUTH_SECRET",
            problem: "is the example's".to_owned(),
            fix: "make your own by `openssl rand -base64 32`, or set TRUST_USER_HEADER=true for development",
        });
    }
    Secrets::parse(text).map_err(|_| ConfigError {
        variable: "AUTH_SECRET",
        problem: "holds a secret of fewer than 32 bytes".to_owned(),
        fix: "set what `openssl rand -base64 32` prints; several with white space between them",
    })
}

/// The value is not shown: a URL may hold a password.
fn jwks_url(text: &str) -> Result<Uri, ConfigError> {
    let uri = text.parse::<Uri>().ok();
    let fits = |uri: &Uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
    };
    uri.filter(fits).ok_or_else(|| ConfigError {
        variable: "AUTH_JWKS_URL",
        problem: "is no http or https URL without a user".to_owned(),
        fix: "set the address of the issuer's key set, https://login.example.com/.well-known/jwks.json say",
    })
}

/// Names of fields, with commas between them.
fn redact(text: &str) -> Result<Vec<String>, ConfigError> {
    let names: Vec<&str> = text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    match names.iter().find(|name| !Findings::FIELDS.contains(name)) {
        None => Ok(names.into_iter().map(str::to_owned).collect()),
        Some(unknown) => Err(ConfigError {
            variable: "REDACT",
            problem: format!("names {unknown:?}, which is no field of a photo's result"),
            fix: "set fields of name, width, height, capturedAt, sharpness, thumbnail, with commas between them",
        }),
    }
}

/// No value is shown: URLs of webhooks are secrets, or hold some.
fn webhook(lookup: &impl Fn(&str) -> Option<String>) -> Result<Option<Webhook>, ConfigError> {
    let (url, secret) = (value(lookup, "WEBHOOK_URL"), value(lookup, "WEBHOOK_SECRET"));
    let wrong = |variable, problem: &str, fix| ConfigError { variable, problem: problem.to_owned(), fix };
    let (url, secret) = match (url, secret) {
        (None, None) => return Ok(None),
        (Some(url), Some(secret)) => (url, secret),
        (Some(_), None) => return Err(wrong("WEBHOOK_SECRET", "is not set, and WEBHOOK_URL is", WEBHOOK_SECRET_FIX)),
        (None, Some(_)) => return Err(wrong("WEBHOOK_URL", "is not set, and WEBHOOK_SECRET is", WEBHOOK_URL_FIX)),
    };
    let secrets = WebhookSecrets::parse(&secret)
        .map_err(|_| wrong("WEBHOOK_SECRET", "is not whsec_ and 24 to 64 bytes in base64", WEBHOOK_SECRET_FIX))?;
    let builder = Webhook::builder(&url, secrets).allow_private(allow_private(lookup)?);
    builder.build().map(Some).map_err(|error| wrong("WEBHOOK_URL", &problem(error), WEBHOOK_URL_FIX))
}

const WEBHOOK_URL_FIX: &str = "set an https URL, or WEBHOOK_ALLOW_PRIVATE=true for http and private addresses";
const WEBHOOK_SECRET_FIX: &str =
    "set what `echo whsec_$(openssl rand -base64 32)` prints; several with white space between them";

fn slack(lookup: &impl Fn(&str) -> Option<String>) -> Result<Option<Slack>, ConfigError> {
    let page = value(lookup, "BATCH_PAGE_URL");
    let Some(url) = value(lookup, "SLACK_WEBHOOK_URL") else { return Ok(None) };
    let builder = Slack::builder(&url).allow_private(allow_private(lookup)?);
    let builder = match page {
        Some(page) => builder.page_url(page),
        None => builder,
    };
    builder.build().map(Some).map_err(|error| match error {
        PublishError::Config { setting: "the page's URL", problem } => ConfigError {
            variable: "BATCH_PAGE_URL",
            problem,
            fix: "set an http or https URL with {id} where the batch's id stands",
        },
        error => ConfigError {
            variable: "SLACK_WEBHOOK_URL",
            problem: problem(error),
            fix: "set the URL that Slack gave for the channel",
        },
    })
}

fn allow_private(lookup: &impl Fn(&str) -> Option<String>) -> Result<bool, ConfigError> {
    Ok(parsed(lookup, "WEBHOOK_ALLOW_PRIVATE", "set true or false")?.unwrap_or(false))
}

/// The words of an error without the setting's name, which is the library's.
fn problem(error: PublishError) -> String {
    match error {
        PublishError::Config { problem, .. } => problem,
        error => error.to_string(),
    }
}

fn cookie(name: String) -> Result<String, ConfigError> {
    // RFC 6265, section 4.1.1: a token of HTTP.
    if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)) {
        return Ok(name);
    }
    Err(ConfigError {
        variable: "AUTH_COOKIE",
        problem: format!("is {name:?}"),
        fix: "set a cookie's name, __Host-batchcast say: no blanks, no = and no ;",
    })
}

fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_lookup(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    const EXAMPLE: &str = "development-secret-of-at-least-32-bytes";

    #[test]
    fn the_examples_secret_is_taken_in_development() {
        assert!(include_str!("../../.env.example").contains(&format!("AUTH_SECRET={EXAMPLE}\n")));
        assert!(config(&[("AUTH_SECRET", EXAMPLE), ("TRUST_USER_HEADER", "true")]).unwrap().auth_secret.is_some());
    }

    #[test]
    fn a_value_is_what_stands_between_white_space_and_nothing_else_is_cut() {
        let url = "https://login.example.com/keys/";
        let config = config(&[
            ("ORIGIN_TOKEN", " t-1\n"),
            ("AUTH_ISSUER", "https://login.example.com/\r\n"),
            ("AUTH_JWKS_URL", &format!("{url}\n")),
            ("AUTH_AUDIENCE", " \n"),
        ])
        .unwrap();
        assert_eq!((config.origin_token.as_deref(), config.expected.audience), (Some("t-1"), None));
        assert_eq!(config.expected.issuer.as_deref(), Some("https://login.example.com/"));
        assert_eq!(config.auth_jwks_url.unwrap(), url);
    }

    #[test]
    fn without_variables_the_defaults_hold() {
        let config = config(&[("ORIGIN_TOKEN", "")]).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8090");
        assert_eq!((config.state_ttl.as_secs(), config.coalesce.as_millis()), (86_400, 50));
        assert_eq!((config.receive_timeout.as_secs(), config.origin_token), (900, None));
        assert_eq!(config.lease.as_secs(), 30);
        assert!(config.auth_secret.is_none() && config.auth_jwks_url.is_none() && !config.trust_user_header);
        assert!(config.redact.is_empty() && config.webhook.is_none() && config.slack.is_none());
        assert_eq!((config.expected, &*config.auth_cookie), (Expected::default(), "__Host-batchcast"));
    }

    #[test]
    fn a_bad_value_is_named_with_what_is_wrong_and_the_fix() {
        for (variable, bad) in [
            ("PHOTO_WORKER_LISTEN", "localhost"),
            ("STATE_TTL_SECS", "0"),
            ("COALESCE_MS", "-1"),
            ("WORKER_THREADS", "0"),
            ("RECEIVE_TIMEOUT_SECS", "15m"),
            ("RECEIVE_TIMEOUT_SECS", "99999999999999"),
            ("LEASE_SECS", "0"),
            ("DATABASE_URL", "mysql://user:secret@host/db"),
            ("AUTH_SECRET", "a secret in short words"),
            ("AUTH_SECRET", "secret-of-more-than-thirty-two-bytes secret"),
            ("AUTH_SECRET", EXAMPLE),
            ("AUTH_SECRET", &format!("secret-of-more-than-thirty-two-bytes {EXAMPLE}")),
            ("AUTH_JWKS_URL", "login.example.com/jwks.json"),
            ("AUTH_JWKS_URL", "file:///etc/secret"),
            ("AUTH_JWKS_URL", "https://user:secret@host/jwks.json"),
            ("AUTH_COOKIE", "a cookie"),
            ("REDACT", "name, capturedat"),
            ("WEBHOOK_URL", "https://example.com/secret"),
            ("SLACK_WEBHOOK_URL", "hooks.slack.com/secret"),
            ("SLACK_WEBHOOK_URL", "https://10.0.0.1/secret"),
            ("TRUST_USER_HEADER", "yes"),
            ("TRUST_USER_HEADER", "1"),
        ] {
            let Err(error) = config(&[(variable, bad)]) else { panic!("{variable}={bad} passed") };
            // A URL without its secret: the secret is what is missing.
            assert_eq!(error.variable, if variable == "WEBHOOK_URL" { "WEBHOOK_SECRET" } else { variable });
            assert!(error.to_string().starts_with(error.variable) && error.to_string().contains("set "), "{error}");
            // The words about AUTH_SECRET are our own.
            assert!(!error.to_string().replace("a secret of fewer", "").contains("secret"), "{error}");
        }
    }

    #[test]
    fn whom_to_tell_is_checked_at_start_and_no_secret_is_shown() {
        let secret = ("WEBHOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let private = ("WEBHOOK_ALLOW_PRIVATE", "true");
        let url = ("WEBHOOK_URL", "http://127.0.0.1:1/in-the-url");
        let slack = ("SLACK_WEBHOOK_URL", "http://127.0.0.1:1/in-the-url");
        let page = ("BATCH_PAGE_URL", "https://photos.example.com/batches/{id}");
        let told = config(&[secret, private, url, slack, page]).unwrap();
        assert!(told.webhook.is_some() && told.slack.is_some());
        for (wrong, variables) in [
            ("WEBHOOK_URL", &[secret][..]),
            ("WEBHOOK_URL", &[secret, url]),
            ("WEBHOOK_URL", &[secret, ("WEBHOOK_URL", "https://169.254.169.254/in-the-url")]),
            ("WEBHOOK_URL", &[secret, private, ("WEBHOOK_URL", "in-the-url")]),
            ("WEBHOOK_SECRET", &[("WEBHOOK_SECRET", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), private, url]),
            ("WEBHOOK_ALLOW_PRIVATE", &[secret, url, ("WEBHOOK_ALLOW_PRIVATE", "1")]),
            ("SLACK_WEBHOOK_URL", &[slack]),
            ("BATCH_PAGE_URL", &[slack, private, ("BATCH_PAGE_URL", "https://photos.example.com/")]),
        ] {
            let Err(error) = config(variables) else { panic!("{wrong} passed: {variables:?}") };
            assert_eq!(error.variable, wrong, "{error}");
            let words = error.to_string();
            assert!(words.contains("set ") && !words.contains("in-the-url") && !words.contains("MfKQ"), "{words}");
        }
    }
}
