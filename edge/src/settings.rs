//! The Worker's settings, parsed once into one struct. Each field names its variable and default.

use hub::config::{Config, ConfigError, number};
use wire::token::Expected;

use crate::cors;

/// Everything that the operator may set.
#[derive(Clone)]
pub struct Settings {
    /// Times and sizes of rooms and cached reads.
    pub hub: Config,
    /// `UPSTASH_REDIS_REST_URL`: where Redis answers over HTTP. Required.
    pub redis_url: String,
    /// `UPSTASH_REDIS_REST_TOKEN`. Required, secret.
    pub redis_token: String,
    /// `ORIGIN_URL`: the photo worker. Unset: nothing is passed through, and there is no last resort.
    pub origin_url: Option<String>,
    /// `ORIGIN_TOKEN`: what the photo worker asks of us. Secret.
    pub origin_token: Option<String>,
    /// `AUTH_SECRET`: what tokens are signed with by HS256, at least 32 bytes (RFC 7518, section 3.2). Several, separated
    /// by white space, while it is being replaced: the first signs tickets, each is believed. Secret.
    pub secrets: Vec<String>,
    /// `AUTH_JWKS_URL`: the public keys of who signs tokens by ES256.
    pub key_set_url: Option<String>,
    /// `AUTH_ISSUER` and `AUTH_AUDIENCE`: whose tokens are taken.
    pub expected: Expected,
    /// `AUTH_COOKIE`, `__Host-batchcast`: the cookie in which a token may stand.
    pub cookie: String,
    /// `ADDRESS_HEADER`, `cf-connecting-ip`: the header in which whoever stands in front tells a client's address.
    pub address_header: String,
    /// `METRICS_TOKEN`: what `GET /api/metrics` asks for. Unset: it is closed. Secret.
    pub metrics_token: Option<String>,
    /// `KEY_PREFIX`, empty: stands before every name in Redis.
    pub key_prefix: String,
    /// `STATE_TTL_SECS`, a day: how long a state filled from the origin is kept in Redis.
    pub state_ttl_secs: u64,
    /// `HUB_SHARDS`, 0: each batch has its own object; n spreads them over n.
    pub shards: u64,
    /// `HUB_LOCATION`: location hint for new objects, near the Redis primary.
    pub location: Option<String>,
    /// `HUB_JURISDICTION`: where new objects must stay.
    pub jurisdiction: Option<String>,
    /// `STREAMS`, on: `off` answers every stream with `busy`.
    pub streams: bool,
    /// `TRUST_USER_HEADER`, false: believe `x-user-id`. For local development only.
    pub trust_user_header: bool,
    /// `LOG_LEVEL`, info.
    pub log_level: Level,
}

/// How much is logged; each level includes those after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Reads too.
    Debug,
    /// Rooms, origin calls.
    Info,
    /// What went wrong and mends itself.
    Warn,
    /// What someone has to mend.
    Error,
}

/// A setting that is missing or can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A number out of bounds.
    #[error(transparent)]
    Number(#[from] ConfigError),
    /// Not set at all.
    #[error("{0} is not set: {1}")]
    Missing(&'static str, &'static str),
    /// Something whose value is not shown: it is a secret, or may hold one.
    #[error("{0} is not usable: {1}")]
    Hidden(&'static str, &'static str),
    /// Set to something else than what works.
    #[error("{0}={1:?} is not usable: {2}")]
    Value(&'static str, String, &'static str),
}

/// What the examples' secrets begin with, which anyone can read.
const EXAMPLE_SECRET: &str = "development-";
/// Bytes of the least secret for HS256: as many as its hash has.
const LEAST_SECRET_BYTES: usize = 32;

impl Settings {
    /// Whether there is any key to check a token with.
    pub fn has_keys(&self) -> bool {
        !self.secrets.is_empty() || self.key_set_url.is_some()
    }

    /// Reads the settings from wherever `lookup` finds them. An unset or empty variable means the default.
    ///
    /// # Errors
    /// The first variable that is missing or can't be used, and what would work.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let text = |name: &str| lookup(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        allowed_origins(&lookup)?;
        let redis_url = base_url(&text, "UPSTASH_REDIS_REST_URL")?.ok_or(SettingsError::Missing(
            "UPSTASH_REDIS_REST_URL",
            "give the address of Upstash or of batchcast-gateway, e.g. http://localhost:8079",
        ))?;
        let redis_token = text("UPSTASH_REDIS_REST_TOKEN")
            .ok_or(SettingsError::Missing("UPSTASH_REDIS_REST_TOKEN", "give the token of that address, as a secret"))?;
        let trust_user_header =
            one_of(&text, "TRUST_USER_HEADER", &[("false", false), ("true", true)], "use true or false")?;
        Ok(Self {
            hub: Config::from_lookup(&lookup)?,
            redis_url,
            redis_token,
            origin_url: base_url(&text, "ORIGIN_URL")?,
            origin_token: text("ORIGIN_TOKEN"),
            secrets: secrets(&text, trust_user_header)?,
            key_set_url: base_url(&text, "AUTH_JWKS_URL")?,
            expected: Expected::new(text("AUTH_ISSUER"), text("AUTH_AUDIENCE")),
            cookie: cookie(text("AUTH_COOKIE"))?,
            address_header: text("ADDRESS_HEADER")
                .unwrap_or_else(|| "cf-connecting-ip".to_owned())
                .to_ascii_lowercase(),
            metrics_token: text("METRICS_TOKEN"),
            key_prefix: key_prefix(text("KEY_PREFIX").unwrap_or_default())?,
            state_ttl_secs: number(&lookup, "STATE_TTL_SECS", 24 * 60 * 60, 1, 365 * 24 * 60 * 60)?,
            shards: number(&lookup, "HUB_SHARDS", 0, 0, 10_000)?,
            location: text("HUB_LOCATION"),
            jurisdiction: text("HUB_JURISDICTION"),
            streams: one_of(&text, "STREAMS", &[("on", true), ("off", false)], "use on or off")?,
            trust_user_header,
            log_level: one_of(
                &text,
                "LOG_LEVEL",
                &[("info", Level::Info), ("debug", Level::Debug), ("warn", Level::Warn), ("error", Level::Error)],
                "use debug, info, warn or error",
            )?,
        })
    }
}

fn secrets(text: &dyn Fn(&str) -> Option<String>, development: bool) -> Result<Vec<String>, SettingsError> {
    let secrets: Vec<String> =
        text("AUTH_SECRET").iter().flat_map(|all| all.split_whitespace()).map(str::to_owned).collect();
    if secrets.iter().any(|secret| secret.len() < LEAST_SECRET_BYTES) {
        let mend = "a secret has at least 32 bytes; make one by `openssl rand -base64 32`";
        return Err(SettingsError::Hidden("AUTH_SECRET", mend));
    }
    if !development && secrets.iter().any(|secret| secret.starts_with(EXAMPLE_SECRET)) {
        let mend =
            "it is the example's; make one by `openssl rand -base64 32`, or set TRUST_USER_HEADER=true for development";
        return Err(SettingsError::Hidden("AUTH_SECRET", mend));
    }
    Ok(secrets)
}

fn cookie(name: Option<String>) -> Result<String, SettingsError> {
    let name = name.unwrap_or_else(|| "__Host-batchcast".to_owned());
    if name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)) {
        return Ok(name);
    }
    Err(SettingsError::Value("AUTH_COOKIE", name, "use the name of a cookie, without its value"))
}

/// `ALLOWED_ORIGINS`: the other origins whose pages may call. Read apart from the rest: a page that may call is to learn
/// that another setting is wrong.
///
/// # Errors
/// One of them is no origin.
pub fn allowed_origins(lookup: impl Fn(&str) -> Option<String>) -> Result<Vec<String>, SettingsError> {
    let list = lookup("ALLOWED_ORIGINS").unwrap_or_default();
    cors::parse_list(&list).map_err(|mend| SettingsError::Value("ALLOWED_ORIGINS", list, mend))
}

fn base_url(text: &dyn Fn(&str) -> Option<String>, name: &'static str) -> Result<Option<String>, SettingsError> {
    let Some(url) = text(name) else { return Ok(None) };
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let host = rest.map(|rest| rest.split(['/', '?']).next().unwrap_or_default());
    match host {
        None => Err(SettingsError::Hidden(name, "it must begin with http:// or https://")),
        // Whoever writes a password into it takes it for another kind of address, redis://user:password@host say.
        Some(host) if host.contains('@') => Err(SettingsError::Hidden(name, "it takes no user and no password")),
        Some(_) => Ok(Some(url.trim_end_matches('/').to_owned())),
    }
}

fn key_prefix(prefix: String) -> Result<String, SettingsError> {
    match wire::keys::prefix_problem(&prefix) {
        None => Ok(prefix),
        Some(mend) => Err(SettingsError::Value("KEY_PREFIX", prefix, mend)),
    }
}

/// The meaning of a word; the first choice is the default.
fn one_of<T: Copy, const N: usize>(
    text: &dyn Fn(&str) -> Option<String>,
    name: &'static str,
    choices: &[(&str, T); N],
    mend: &'static str,
) -> Result<T, SettingsError> {
    const { assert!(N > 0, "there is a default") };
    let value = text(name).unwrap_or_else(|| choices[0].0.to_owned());
    let chosen = choices.iter().find(|choice| choice.0.eq_ignore_ascii_case(&value));
    chosen.map(|choice| choice.1).ok_or(SettingsError::Value(name, value, mend))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn parse(set: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let least = [("UPSTASH_REDIS_REST_URL", "http://localhost:8079/"), ("UPSTASH_REDIS_REST_TOKEN", "t")];
        Settings::from_lookup(|name| {
            let found = set.iter().chain(&least).find(|(n, _)| *n == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    pub(crate) fn settings(set: &[(&str, &str)]) -> Settings {
        parse(set).unwrap()
    }

    fn refusal(set: &[(&str, &str)]) -> String {
        parse(set).map(drop).unwrap_err().to_string()
    }

    #[test]
    fn two_settings_are_enough() {
        let settings = settings(&[]);
        assert_eq!(settings.redis_url, "http://localhost:8079");
        assert!(settings.streams && !settings.trust_user_header && settings.origin_url.is_none());
        assert_eq!(settings.log_level, Level::Info);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named_with_its_fix() {
        assert!(refusal(&[("UPSTASH_REDIS_REST_URL", "")]).starts_with("UPSTASH_REDIS_REST_URL is not set"));
        assert!(refusal(&[("UPSTASH_REDIS_REST_TOKEN", " ")]).contains("as a secret"));
        assert!(refusal(&[("ORIGIN_URL", "localhost:8090")]).contains("must begin with http://"));
        for url in ["rediss://default:hunter2@eu.upstash.io", "https://default:hunter2@eu.upstash.io/"] {
            let words = refusal(&[("UPSTASH_REDIS_REST_URL", url)]);
            assert!(words.contains("UPSTASH_REDIS_REST_URL") && !words.contains("hunter2"), "{words}");
        }
        assert!(refusal(&[("STREAMS", "maybe")]).contains("use on or off"));
        assert!(refusal(&[("TRUST_USER_HEADER", "yes")]).contains("use true or false"));
        assert!(refusal(&[("LOG_LEVEL", "loud")]).contains("debug, info, warn or error"));
        assert!(refusal(&[("KEY_PREFIX", "a,b")]).contains("KEY_PREFIX"));
        assert!(refusal(&[("HUB_SHARDS", "-1")]).contains("HUB_SHARDS"));
        assert!(refusal(&[("ALLOWED_ORIGINS", "*")]).contains("name each origin"));
        assert!(refusal(&[("AUTH_COOKIE", "a=b")]).contains("the name of a cookie"));
    }

    #[test]
    fn a_weak_secret_is_refused_and_not_shown() {
        let weak = refusal(&[("AUTH_SECRET", "0123456789abcdef0123456789abcdef tooshort")]);
        assert!(weak.contains("AUTH_SECRET") && weak.contains("openssl rand") && !weak.contains("tooshort"), "{weak}");
    }

    #[test]
    fn the_examples_secret_is_for_development() {
        let example = ("AUTH_SECRET", "development-secret-of-at-least-32-bytes");
        assert!(refusal(&[example]).contains("the example's"));
        assert_eq!(settings(&[example, ("TRUST_USER_HEADER", "true")]).secrets.len(), 1);
    }

    #[test]
    fn a_secret_that_is_being_replaced_stands_beside_its_successor() {
        let two = [("AUTH_SECRET", " 0123456789abcdef0123456789abcdef\nabcdef0123456789abcdef0123456789 ")];
        assert_eq!(settings(&two).secrets.len(), 2);
        assert!(settings(&two).has_keys() && !settings(&[]).has_keys());
    }
}
