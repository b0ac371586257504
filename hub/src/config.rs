//! Times and sizes that the operator may set, parsed once.

use wire::limits::{MAX_VIEWERS, MAX_VIEWERS_PER_USER};

use crate::Millis;

/// How rooms and cached reads behave. Each field names its variable and default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `ACTIVE_TTL_SECS`, 5: how long a read of an open batch may be answered again without asking Redis.
    pub active_ttl: Millis,
    /// `IDLE_TTL_SECS`, 30: the same for a batch that has ended.
    pub idle_ttl: Millis,
    /// `LINGER_SECS`, 30: how long a room stays after its last viewer.
    pub linger: Millis,
    /// `PING_SECS`, 20: how often a room proves that its subscription is alive.
    pub ping: Millis,
    /// `KEEPALIVE_SECS`, 15: the longest silence on a stream.
    pub keep_alive: Millis,
    /// `STALL_AFTER_SECS`, 120: viewers are told when nothing has changed for so long.
    pub stall_after: Millis,
    /// `FORGET_AFTER_SECS`, 600: when nothing has changed for so long, viewers are sent away, to look in once a minute.
    pub forget_after: Millis,
    /// `MAX_VIEWERS`, 10,000: how many may watch one batch; who comes then is told `busy`.
    pub max_viewers: usize,
    /// `MAX_VIEWERS_PER_USER`, 100: how many of them may be of one user.
    pub max_viewers_per_user: usize,
    /// `FLUSH_MS`, 20: the shortest pause between two writes to the same viewers.
    pub flush: Millis,
}

/// A setting that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}={value:?} is not usable: give a whole number from {least} to {most}")]
pub struct ConfigError {
    /// The variable.
    pub name: &'static str,
    /// What it holds.
    pub value: String,
    /// The least value that works.
    pub least: u64,
    /// The greatest value that works.
    pub most: u64,
}

const DAY_SECS: u64 = 24 * 60 * 60;
/// More than one object could write to in a sweep of ten seconds.
const MOST_VIEWERS: u64 = 100_000;

impl Default for Config {
    fn default() -> Self {
        Self {
            active_ttl: 5_000,
            idle_ttl: 30_000,
            linger: 30_000,
            ping: 20_000,
            keep_alive: 15_000,
            stall_after: 120_000,
            forget_after: 600_000,
            max_viewers: MAX_VIEWERS,
            max_viewers_per_user: MAX_VIEWERS_PER_USER,
            flush: 20,
        }
    }
}

impl Config {
    /// Reads the settings from wherever `lookup` finds them. An unset or empty variable means the default.
    ///
    /// # Errors
    /// The first variable that can't be used, with what would work.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let default = Self::default();
        let secs = |name, default, least| number(&lookup, name, default / 1_000, least, DAY_SECS).map(|n| n * 1_000);
        let count = |name, default, least, most| {
            number(&lookup, name, default as u64, least, most).map(|n| usize::try_from(n).unwrap_or(usize::MAX))
        };
        Ok(Self {
            active_ttl: secs("ACTIVE_TTL_SECS", default.active_ttl, 0)?,
            idle_ttl: secs("IDLE_TTL_SECS", default.idle_ttl, 0)?,
            linger: secs("LINGER_SECS", default.linger, 0)?,
            ping: secs("PING_SECS", default.ping, 1)?,
            keep_alive: secs("KEEPALIVE_SECS", default.keep_alive, 1)?,
            stall_after: secs("STALL_AFTER_SECS", default.stall_after, 1)?,
            forget_after: secs("FORGET_AFTER_SECS", default.forget_after, 1)?,
            max_viewers: count("MAX_VIEWERS", default.max_viewers, 1, MOST_VIEWERS)?,
            max_viewers_per_user: count("MAX_VIEWERS_PER_USER", default.max_viewers_per_user, 1, MOST_VIEWERS)?,
            flush: number(&lookup, "FLUSH_MS", default.flush, 0, 10_000)?,
        })
    }
}

/// One whole number from `lookup`, or `default` where it is unset or empty.
///
/// # Errors
/// [`ConfigError`] when it is no whole number within the bounds.
pub fn number(
    lookup: impl Fn(&str) -> Option<String>,
    name: &'static str,
    default: u64,
    least: u64,
    most: u64,
) -> Result<u64, ConfigError> {
    let Some(value) = lookup(name).filter(|value| !value.trim().is_empty()) else { return Ok(default) };
    match value.trim().parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(ConfigError { name, value, least, most }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_has_its_default() {
        assert_eq!(Config::from_lookup(|_| None), Ok(Config::default()));
        assert_eq!(Config::from_lookup(|_| Some(" ".into())), Ok(Config::default()));
    }

    #[test]
    fn a_setting_is_given_in_the_unit_of_its_name() {
        let config = Config::from_lookup(|name| (name == "PING_SECS").then(|| "7".into())).unwrap();
        assert_eq!(config.ping, 7_000);
    }

    #[test]
    fn a_bad_value_is_named_with_what_would_work() {
        for bad in ["0", "-1", "soon", "1.5", "99999999999999999999"] {
            let error = Config::from_lookup(|name| (name == "PING_SECS").then(|| bad.into())).unwrap_err();
            assert_eq!((error.name, error.least), ("PING_SECS", 1), "{bad}");
            assert!(error.to_string().contains(bad));
        }
    }
}
