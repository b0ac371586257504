//! The settings of all parts, as the environment has them.

use batchcast_publisher::token::Secrets;
use redis_address::{Address, Nodes};
use wire::keys::prefix_problem;

use crate::target::Target;

use super::line::Line;

/// What every part takes where `REDIS_URL` is not set.
const DEFAULT_REDIS_URL: &str = "redis://localhost:6379";

/// What the examples' secrets begin with: everyone knows them.
const EXAMPLE: &str = "development-";

/// What can be used of it; what can't be is none. Empty values count as unset, as everywhere.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub(crate) redis_url: Option<String>,
    pub(crate) key_prefix: Option<String>,
    pub(crate) rest: Option<Target>,
    pub(crate) rest_token: Option<String>,
    pub(crate) edge: Option<Target>,
    pub(crate) origin: Option<Target>,
    pub(crate) origin_token: Option<String>,
    pub(crate) secrets: Option<Secrets>,
    pub(crate) issuer: Option<String>,
    pub(crate) audience: Option<String>,
    /// A user's token, in place of one that is made here.
    pub(crate) token: Option<String>,
    pub(crate) metrics_token: Option<String>,
}

impl Settings {
    /// Reads them, and says of each what it is. Secrets are said to be there, and no more.
    pub(crate) fn read(lookup: impl Fn(&str) -> Option<String>) -> (Self, Vec<Line>) {
        let value = |name: &str| lookup(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let mut lines = Vec::new();
        let mut settings = Self::default();

        let redis_url = value("REDIS_URL").unwrap_or_else(|| DEFAULT_REDIS_URL.to_owned());
        let address = whereabouts(&redis_url);
        lines.push(match &address {
            Some(address) => Line::ok("REDIS_URL", address.clone()),
            None => {
                let fix =
                    "it reads redis://[user:password@]host[:port][/database]; `batchcast --help` has the other forms";
                Line::fail("REDIS_URL", "can't be used", fix)
            }
        });
        settings.redis_url = address.is_some().then_some(redis_url);

        let prefix = value("KEY_PREFIX").unwrap_or_default();
        lines.push(match prefix_problem(&prefix) {
            Some(problem) => Line::fail("KEY_PREFIX", "can't be used", problem),
            None if prefix.is_empty() => Line::ok("KEY_PREFIX", "empty"),
            None => Line::ok("KEY_PREFIX", prefix.clone()),
        });
        settings.key_prefix = prefix_problem(&prefix).is_none().then_some(prefix);

        for (name, target, without) in [
            ("UPSTASH_REDIS_REST_URL", &mut settings.rest, "Redis over HTTP is not asked"),
            ("EDGE_URL", &mut settings.edge, "the edge is not asked; --edge names it too"),
            ("ORIGIN_URL", &mut settings.origin, "the origin is not asked; --origin names it too"),
        ] {
            let Some(text) = value(name) else {
                lines.push(Line::skipped(name, format!("not set: {without}")));
                continue;
            };
            match text.parse::<Target>() {
                Ok(read) => {
                    lines.push(Line::ok(name, read.to_string()));
                    *target = Some(read);
                }
                Err(problem) => lines.push(Line::fail(name, "can't be used", problem)),
            }
        }

        for (name, secret, without) in [
            ("UPSTASH_REDIS_REST_TOKEN", &mut settings.rest_token, "Redis over HTTP asks for one"),
            ("ORIGIN_TOKEN", &mut settings.origin_token, "the edge reads from the origin as a stranger"),
            ("METRICS_TOKEN", &mut settings.metrics_token, "the edge's metrics are closed"),
            ("BATCHCAST_TOKEN", &mut settings.token, "a token is made with AUTH_SECRET"),
        ] {
            let text = value(name);
            lines.push(secret_line(name, text.as_deref(), without));
            // A header carries no other characters; they would be found out only where it is sent.
            *secret = text.filter(|text| is_one_line(text));
        }

        lines.push(settings.read_secrets(value("AUTH_SECRET").as_deref()));
        for (name, text) in [("AUTH_ISSUER", &mut settings.issuer), ("AUTH_AUDIENCE", &mut settings.audience)] {
            *text = value(name);
            lines.push(match text {
                Some(text) => Line::ok(name, text.clone()),
                None => Line::skipped(name, "not set: tokens are made without it"),
            });
        }
        lines.push(ttl_line(value("STATE_TTL_SECS").as_deref()));
        (settings, lines)
    }

    fn read_secrets(&mut self, text: Option<&str>) -> Line {
        const NAME: &str = "AUTH_SECRET";
        let Some(text) = text else {
            return Line::skipped(NAME, "not set: no token is made; set it to the edge's, or BATCHCAST_TOKEN");
        };
        let is_public = self.edge.as_ref().is_some_and(|edge| !edge.is_loopback());
        if is_public && text.split_whitespace().any(|secret| secret.starts_with(EXAMPLE)) {
            let fix = "make one by `openssl rand -base64 32`, and set it at the edge and the photo worker";
            return Line::fail(NAME, "is the examples', which everyone knows", fix);
        }
        match Secrets::parse(text) {
            Ok(secrets) => {
                self.secrets = Some(secrets);
                Line::ok(NAME, format!("set, {} of them", text.split_whitespace().count()))
            }
            Err(problem) => Line::fail(NAME, "can't be used", problem.to_string()),
        }
    }
}

fn is_one_line(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
}

fn secret_line(name: &'static str, text: Option<&str>, without: &str) -> Line {
    match text {
        None => Line::skipped(name, format!("not set: {without}")),
        Some(text) if !is_one_line(text) => {
            Line::fail(name, "holds characters that no header carries", "set it anew, one line of ASCII")
        }
        Some(_) => Line::ok(name, "set"),
    }
}

fn ttl_line(text: Option<&str>) -> Line {
    const NAME: &str = "STATE_TTL_SECS";
    match text.map(str::parse::<u32>) {
        None => Line::ok(NAME, "86400, the default"),
        Some(Ok(secs)) if secs > 0 => Line::ok(NAME, secs.to_string()),
        Some(_) => Line::fail(NAME, "can't be used", "set whole seconds, at least 1"),
    }
}

/// Without user and password; none where it is no address.
fn whereabouts(url: &str) -> Option<String> {
    if url.starts_with("http") {
        return url.parse::<Target>().ok().map(|target| format!("{target}, over HTTP"));
    }
    let list = |nodes: &Nodes| nodes.addresses().map(|address| address.to_string()).collect::<Vec<_>>().join(", ");
    Some(match url.parse().ok()? {
        Address::Server(info) => info.addr().to_string(),
        Address::Sentinel { nodes, master } => format!("{master}, as said by {}", list(&nodes)),
        Address::Cluster(nodes) => format!("the cluster of {}", list(&nodes)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::doctor::line::Verdict;

    fn read(pairs: &[(&str, &str)]) -> (Settings, BTreeMap<&'static str, Line>) {
        let lookup = |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned());
        let (settings, lines) = Settings::read(lookup);
        (settings, lines.into_iter().map(|line| (line.check, line)).collect())
    }

    const SECRET: &str = "a-secret-for-tests-of-more-than-32-bytes";

    #[test]
    fn what_is_not_set_is_skipped_or_has_a_default_and_nothing_is_wrong() {
        for pairs in [&[][..], &[("EDGE_URL", " "), ("AUTH_SECRET", "")]] {
            let (settings, lines) = read(pairs);
            assert!(lines.values().all(|line| line.verdict != Verdict::Fail), "{lines:?}");
            assert_eq!(lines["EDGE_URL"].verdict, Verdict::Skipped);
            assert_eq!(settings.key_prefix.as_deref(), Some(""));
            assert_eq!(lines["REDIS_URL"].detail, "localhost:6379");
        }
    }

    #[test]
    fn each_bad_setting_is_a_line_with_the_fix_and_is_not_used() {
        for (name, text, fix) in [
            ("REDIS_URL", "hunter2", "redis://"),
            ("KEY_PREFIX", "a b", "A-Z"),
            ("UPSTASH_REDIS_REST_URL", "localhost:8079", "http://HOST:PORT"),
            ("EDGE_URL", "http://u:hunter2@edge", "take it out"),
            ("ORIGIN_URL", "ftp://a", "http://HOST:PORT"),
            ("ORIGIN_TOKEN", "hunter2\nx", "one line"),
            ("AUTH_SECRET", "hunter2", "openssl rand"),
            ("STATE_TTL_SECS", "soon", "at least 1"),
            ("STATE_TTL_SECS", "0", "at least 1"),
        ] {
            let (settings, lines) = read(&[(name, text)]);
            let line = &lines[name];
            assert_eq!(line.verdict, Verdict::Fail, "{line:?}");
            assert!(line.fix.as_ref().is_some_and(|words| words.contains(fix)), "{line:?}");
            assert!(!format!("{line:?}").contains("hunter2"), "{line:?}");
            assert!(settings.edge.is_none() && settings.origin_token.is_none() && settings.secrets.is_none());
        }
    }

    #[test]
    fn of_the_address_of_redis_the_password_is_not_said() {
        let (settings, lines) = read(&[("REDIS_URL", "redis://anna:hunter2@redis.example.com:6380/3")]);
        assert_eq!((lines["REDIS_URL"].verdict, settings.redis_url.is_some()), (Verdict::Ok, true));
        assert_eq!(lines["REDIS_URL"].detail, "redis.example.com:6380");
    }

    #[test]
    fn sentinels_clusters_and_redis_over_http_are_said_by_their_hosts() {
        for (url, words) in [
            ("redis-sentinel://:hunter2@one,two:1#main", "main, as said by one:26379, two:1"),
            ("redis-cluster://:hunter2@one,two:1", "the cluster of one:6379, two:1"),
            ("http://localhost:8079", "http://localhost:8079, over HTTP"),
        ] {
            let (settings, lines) = read(&[("REDIS_URL", url)]);
            assert_eq!((lines["REDIS_URL"].detail.as_str(), settings.redis_url.as_deref()), (words, Some(url)));
        }
    }

    #[test]
    fn a_good_secret_is_said_to_be_there_and_no_more() {
        let all = ["UPSTASH_REDIS_REST_TOKEN", "ORIGIN_TOKEN", "METRICS_TOKEN", "BATCHCAST_TOKEN", "AUTH_SECRET"];
        let (settings, lines) = read(&all.map(|name| (name, SECRET)));
        for name in all {
            assert_eq!(lines[name].verdict, Verdict::Ok);
        }
        assert!(!format!("{lines:?}").contains(SECRET));
        assert_eq!(settings.metrics_token.as_deref(), Some(SECRET));
    }

    #[test]
    fn a_secret_of_the_examples_is_for_this_machine_only() {
        let secret = ("AUTH_SECRET", "development-secret-of-at-least-32-bytes");
        assert_eq!(read(&[secret, ("EDGE_URL", "http://localhost:8787")]).1["AUTH_SECRET"].verdict, Verdict::Ok);
        assert_eq!(read(&[secret, ("EDGE_URL", "https://example.com")]).1["AUTH_SECRET"].verdict, Verdict::Fail);
    }
}
