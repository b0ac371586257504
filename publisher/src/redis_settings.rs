//! Where Redis is, and what is needed to reach it.

use std::{fmt, path::Path};

use redis_address::{Certificates, Credentials};

use crate::PublishError;

/// The address of Redis where nothing else is said.
const DEFAULT_URL: &str = "redis://localhost:6379";

/// Where Redis is, and what is needed to reach it. A URL alone is enough for most: `"redis://…".into()`.
///
/// ```
/// use batchcast_publisher::{RedisSettings, Tls};
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let tls = Tls::default().authority(std::fs::read("ca.pem")?);
/// let redis = RedisSettings::new("rediss-sentinel://publisher:secret@one,two,three#main").tls(tls);
/// let builder = batchcast_publisher::Publisher::builder(redis.sentinel_user("watcher", "another secret"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct RedisSettings {
    pub(crate) url: String,
    pub(crate) tls: Tls,
    pub(crate) sentinel: Credentials,
    #[cfg_attr(not(feature = "rest"), allow(dead_code, reason = "only Redis over HTTP asks for it"))]
    pub(crate) rest_token: Option<String>,
}

impl RedisSettings {
    /// The Redis at `url`; its forms stand in the [crate's documentation](crate#addresses).
    ///
    /// ```
    /// use batchcast_publisher::{Publisher, RedisSettings};
    ///
    /// let redis = RedisSettings::new("rediss://publisher:secret@redis.example.com:6380/2");
    /// let builder = Publisher::builder(redis); // Or by the URL alone, where nothing else is to be said.
    /// ```
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), tls: Tls::default(), sentinel: Credentials::default(), rest_token: None }
    }

    /// Reads them through `lookup`, the environment say: `REDIS_URL` (default `redis://localhost:6379`), `REDIS_CA_FILE`,
    /// `REDIS_CERT_FILE`, `REDIS_KEY_FILE`, `REDIS_SENTINEL_USER`, `REDIS_SENTINEL_PASSWORD`, `UPSTASH_REDIS_REST_TOKEN`. White space around a value
    /// is none of it, and an empty one counts as unset.
    ///
    /// ```no_run
    /// use batchcast_publisher::{Publisher, RedisSettings};
    ///
    /// # fn example() -> Result<(), batchcast_publisher::PublishError> {
    /// let builder = Publisher::builder(RedisSettings::from_lookup(|name| std::env::var(name).ok())?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PublishError::Config`] names the variable whose file can't be read.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, PublishError> {
        let value = |name: &str| lookup(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let [authority, certificate, key] = ["REDIS_CA_FILE", "REDIS_CERT_FILE", "REDIS_KEY_FILE"].map(value);
        let path = |text: &Option<String>| text.as_ref().map(|text| Path::new(text).to_owned());
        let certificates =
            Certificates::read(path(&authority).as_deref(), path(&certificate).as_deref(), path(&key).as_deref());
        let certificates = certificates
            .map_err(|error| PublishError::Config { setting: error.setting, problem: error.problem.to_string() })?;
        Ok(Self {
            url: value("REDIS_URL").unwrap_or_else(|| DEFAULT_URL.to_owned()),
            tls: Tls(certificates),
            sentinel: Credentials { user: value("REDIS_SENTINEL_USER"), password: value("REDIS_SENTINEL_PASSWORD") },
            rest_token: value("UPSTASH_REDIS_REST_TOKEN"),
        })
    }

    /// What TLS checks and shows (`REDIS_CA_FILE`, `REDIS_CERT_FILE`, `REDIS_KEY_FILE`).
    ///
    /// ```no_run
    /// use batchcast_publisher::{RedisSettings, Tls};
    ///
    /// let tls = Tls::default().authority(std::fs::read("ca.pem")?);
    /// let redis = RedisSettings::new("rediss://redis.internal").tls(tls);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = tls;
        self
    }

    /// Who this is to the sentinels, which know other users than Redis (`REDIS_SENTINEL_USER`,
    /// `REDIS_SENTINEL_PASSWORD`).
    ///
    /// ```
    /// use batchcast_publisher::RedisSettings;
    ///
    /// // `publisher` is known to Redis, `watcher` to the sentinels.
    /// let redis = RedisSettings::new("redis-sentinel://publisher:secret@one,two,three#main");
    /// let redis = redis.sentinel_user("watcher", "another secret");
    /// ```
    pub fn sentinel_user(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.sentinel = Credentials { user: Some(user.into()), password: Some(password.into()) };
        self
    }

    /// The token of Redis over HTTP (`UPSTASH_REDIS_REST_TOKEN`), for a URL that begins with `https://`.
    ///
    /// ```
    /// use batchcast_publisher::RedisSettings;
    ///
    /// let token = std::env::var("UPSTASH_REDIS_REST_TOKEN").unwrap_or_default();
    /// let redis = RedisSettings::new("https://example.upstash.io").rest_token(token);
    /// ```
    pub fn rest_token(mut self, token: impl Into<String>) -> Self {
        self.rest_token = Some(token.into());
        self
    }
}

impl From<&str> for RedisSettings {
    fn from(url: &str) -> Self {
        Self::new(url)
    }
}

impl From<String> for RedisSettings {
    fn from(url: String) -> Self {
        Self::new(url)
    }
}

impl From<&String> for RedisSettings {
    fn from(url: &String) -> Self {
        Self::new(url)
    }
}

impl fmt::Debug for RedisSettings {
    /// Without URL and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSettings")
            .field("tls", &self.tls)
            .field("sentinel", &self.sentinel)
            .finish_non_exhaustive()
    }
}

/// What TLS checks the server by, and what it shows where the server asks. The default: the system's authorities, and
/// nothing to show.
///
/// ```no_run
/// use batchcast_publisher::{RedisSettings, Tls};
///
/// let own = Tls::default().client_certificate(std::fs::read("worker.pem")?, std::fs::read("worker.key")?);
/// let redis = RedisSettings::new("rediss://redis.internal").tls(own.authority(std::fs::read("ca.pem")?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Tls(Certificates);

impl Tls {
    /// Only servers with a certificate of this authority (PEM) are believed, instead of the system's.
    ///
    /// ```no_run
    /// let tls = batchcast_publisher::Tls::default().authority(std::fs::read("company-ca.pem")?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn authority(self, pem: impl Into<Vec<u8>>) -> Self {
        Self(self.0.with_authority(pem))
    }

    /// The certificate with its chain, and its key (PEM), for a server that asks for one.
    ///
    /// ```no_run
    /// let (chain, key) = (std::fs::read("worker.pem")?, std::fs::read("worker.key")?);
    /// let tls = batchcast_publisher::Tls::default().client_certificate(chain, key);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn client_certificate(self, chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        Self(self.0.with_own(chain, key))
    }

    pub(crate) fn certificates(&self) -> &Certificates {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<RedisSettings, PublishError> {
        RedisSettings::from_lookup(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    #[test]
    fn nothing_set_is_the_redis_of_this_machine() {
        let settings = read(&[("REDIS_CA_FILE", " ")]).unwrap();
        assert_eq!((settings.url.as_str(), settings.sentinel), (DEFAULT_URL, Credentials::default()));
    }

    #[test]
    fn a_file_that_cant_be_read_is_told_by_its_variable() {
        for (variable, words) in [("REDIS_CA_FILE", "No such file"), ("REDIS_KEY_FILE", "set both or neither")] {
            let error = read(&[(variable, "/nowhere.pem")]).unwrap_err().to_string();
            assert!(error.starts_with("REDIS_C") && error.contains(words), "{error}");
        }
    }

    #[test]
    fn secrets_are_never_shown() {
        let settings = RedisSettings::new("redis://:hunter2@h").sentinel_user("u", "hunter2").rest_token("hunter2");
        let shown = format!("{:?}", settings.tls(Tls::default().client_certificate("chain", "hunter2")));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
