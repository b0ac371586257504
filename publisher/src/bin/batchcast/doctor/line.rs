//! What a check says: plain functions of what came of it.

use batchcast_publisher::{PublishError, Published};
use serde::Serialize;
use wire::Position;

use crate::http_client::{Answer, HttpError};

/// How far two clocks may be apart, in milliseconds. An expired token has no grace, and latencies are told by these
/// clocks; a header `Date` has whole seconds.
const MAX_SKEW: i64 = 5_000;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Ok,
    Fail,
    Skipped,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Line {
    pub(crate) check: &'static str,
    pub(crate) verdict: Verdict,
    pub(crate) detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fix: Option<String>,
}

impl Line {
    pub(crate) fn ok(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, detail: detail.into(), fix: None }
    }

    pub(crate) fn fail(check: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Fail, detail: detail.into(), fix: Some(fix.into()) }
    }

    pub(crate) fn skipped(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Skipped, detail: detail.into(), fix: None }
    }
}

pub(crate) type Asked = Result<Answer, HttpError>;

/// A publisher has read from Redis.
pub(crate) fn redis(read: &Result<(), PublishError>) -> Line {
    const CHECK: &str = "Redis";
    match read {
        Ok(()) => Line::ok(CHECK, "answers over TCP"),
        Err(error) => Line::fail(CHECK, error.to_string(), mend_redis(error)),
    }
}

/// A temporary batch was published.
pub(crate) fn script(published: &Result<Published, PublishError>) -> Line {
    const CHECK: &str = "script of Redis";
    match published {
        Ok(Published::Applied) => Line::ok(CHECK, "a temporary batch was published"),
        Ok(_) => Line::fail(CHECK, "a new batch is stale", "look for whoever writes under `batch:progress:doctor-…`"),
        Err(error) => Line::fail(CHECK, error.to_string(), mend_redis(error)),
    }
}

fn mend_redis(error: &PublishError) -> &'static str {
    match error {
        PublishError::Config { .. } => "mend that setting",
        PublishError::NotAdmitted { .. } => "mend user and password in REDIS_URL",
        PublishError::Unanswered { .. } => "start Redis, or mend REDIS_URL",
        _ => "give the user in REDIS_URL a publisher's rights (PROTOCOL.md, \"Rights\")",
    }
}

/// `skew`: how many milliseconds the other clock is ahead of ours; none: it did not tell.
pub(crate) fn clock(check: &'static str, skew: Option<i64>) -> Line {
    match skew {
        None => Line::skipped(check, "it does not tell its time, or not to this user"),
        Some(skew) if skew.abs() <= MAX_SKEW => Line::ok(check, format!("{} s apart", tenths(skew.abs()))),
        Some(skew) => {
            let side = if skew > 0 { "ahead of" } else { "behind" };
            let detail = format!("{} s {side} this machine's", tenths(skew.abs()));
            Line::fail(check, detail, "let NTP set both clocks: tokens expire by them")
        }
    }
}

fn tenths(millis: i64) -> String {
    format!("{}.{}", millis / 1_000, millis % 1_000 / 100)
}

/// What a read of a temporary batch by Redis over HTTP showed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RestRead {
    NoAnswer(String),
    /// It answered so, with these words of its own.
    Refused(u16, String),
    /// Not an answer of Redis over HTTP.
    NotRedis,
    /// The batch's position; none: it is not there.
    Read(Option<Position>),
}

/// `written`: where the temporary batch was left over TCP.
pub(crate) fn rest(read: &RestRead, written: Position) -> Line {
    const CHECK: &str = "Redis over HTTP";
    match read {
        RestRead::NoAnswer(why) => Line::fail(CHECK, why, "start the gateway, or mend UPSTASH_REDIS_REST_URL"),
        RestRead::Refused(401, _) => Line::fail(
            CHECK,
            "refuses the token",
            "set UPSTASH_REDIS_REST_TOKEN to the gateway's GATEWAY_TOKEN, or Upstash's",
        ),
        RestRead::Refused(status, words) => {
            let fix = "give its user in Redis the edge's rights (PROTOCOL.md, \"Rights\"), and look at its log";
            Line::fail(CHECK, format!("answers {status}: {words}"), fix)
        }
        RestRead::NotRedis => {
            let fix = "UPSTASH_REDIS_REST_URL is the address of something else: set the gateway's or Upstash's";
            Line::fail(CHECK, "does not answer as Redis over HTTP does", fix)
        }
        RestRead::Read(Some(position)) if *position == written => {
            Line::ok(CHECK, "reads what was written over TCP: the same Redis")
        }
        RestRead::Read(_) => {
            let fix = "let the gateway's REDIS_URL and this one name the same server and database";
            Line::fail(CHECK, "does not hold what was just written over TCP: another Redis or database", fix)
        }
    }
}

/// `heard`: an update published over TCP came by a subscription over HTTP; or why none came.
pub(crate) fn pubsub(heard: &Result<(), String>) -> Line {
    const CHECK: &str = "live updates";
    match heard {
        Ok(()) => Line::ok(CHECK, "published over TCP, heard over HTTP"),
        Err(why) => {
            let fix = "streams live on SUBSCRIBE over HTTP: allow it to the user (PROTOCOL.md, \"Rights\"), and let no proxy \
                       in between hold answers back";
            Line::fail(CHECK, why, fix)
        }
    }
}

pub(crate) fn health(asked: &Asked) -> Line {
    const CHECK: &str = "edge /healthz";
    match asked {
        Err(error) => Line::fail(CHECK, error.to_string(), "start the edge, or mend EDGE_URL (--edge)"),
        Ok(answer) if answer.status == 200 && answer.body.starts_with(b"ok") => {
            Line::ok(CHECK, format!("up, {} ms", answer.took.as_millis()))
        }
        Ok(answer) => {
            Line::fail(CHECK, format!("answers {}", answer.status), "EDGE_URL (--edge) is not the address of an edge")
        }
    }
}

pub(crate) fn ready(asked: &Asked) -> Line {
    const CHECK: &str = "edge /readyz";
    match asked {
        Ok(answer) if answer.status == 200 => Line::ok(CHECK, "the edge reaches its Redis"),
        Ok(answer) => {
            let fix = "mend the edge's UPSTASH_REDIS_REST_URL and UPSTASH_REDIS_REST_TOKEN, or the gateway behind them";
            Line::fail(CHECK, words(answer), if answer.status == 500 { SETTINGS } else { fix })
        }
        Err(error) => Line::fail(CHECK, error.to_string(), "look at the edge's log"),
    }
}

const SETTINGS: &str = "mend that setting of the edge: wrangler.toml, or `wrangler secret put`";

/// A batch was asked for without a token. `is_loopback`: the edge is on this machine, which only a developer's is.
pub(crate) fn stranger(asked: &Asked, is_loopback: bool) -> Line {
    const CHECK: &str = "edge asks for a token";
    match asked {
        Ok(answer) if answer.status == 401 => Line::ok(CHECK, "401 without one"),
        Ok(answer) if matches!(answer.status, 200 | 404 | 503) && is_loopback => {
            Line::ok(CHECK, "not on this machine: its TRUST_USER_HEADER is on")
        }
        Ok(answer) if matches!(answer.status, 200 | 404 | 503) => {
            let fix = "take TRUST_USER_HEADER out of the edge's settings, and the photo worker's";
            Line::fail(CHECK, "it lets in who shows none, and shows them all batches", fix)
        }
        Ok(answer) => Line::fail(CHECK, words(answer), SETTINGS),
        Err(error) => Line::fail(CHECK, error.to_string(), "look at the edge's log"),
    }
}

/// The edge was asked, with a token, for the temporary batch that was left in Redis at `written`; none: Redis was not
/// reached. Two lines: of the token, and of the way to Redis.
pub(crate) fn round_trip(asked: &Asked, written: Option<Position>, is_made_here: bool) -> [Line; 2] {
    const TOKEN: &str = "edge takes the token";
    const CHECK: &str = "edge reads Redis";
    let no_answer = |error: &HttpError| Line::fail(CHECK, error.to_string(), "look at the edge's log");
    let answer = match asked {
        Err(error) => return [Line::skipped(TOKEN, "the edge did not answer"), no_answer(error)],
        Ok(answer) => answer,
    };
    if answer.status == 401 {
        let fix = if is_made_here {
            "let AUTH_SECRET, AUTH_ISSUER and AUTH_AUDIENCE be the edge's"
        } else {
            "set BATCHCAST_TOKEN to a new token of the edge's issuer"
        };
        return [Line::fail(TOKEN, words(answer), fix), Line::skipped(CHECK, "without a token that it takes")];
    }
    let token = Line::ok(TOKEN, "it does");
    let Some(written) = written else {
        return [token, Line::skipped(CHECK, "nothing was written to Redis")];
    };
    let etag = answer.header("etag").unwrap_or_default();
    let source = answer.header("x-cache-source").unwrap_or_default();
    let read = match answer.status {
        200 if etag.trim_matches('"') == written.to_string() => {
            Line::ok(CHECK, format!("what was written over TCP, {} ms (from {source})", answer.took.as_millis()))
        }
        200 => Line::fail(CHECK, format!("another state: {etag}"), "look for a second system with the same KEY_PREFIX"),
        404 => {
            let fix = "let the edge's Redis and KEY_PREFIX be the publisher's; a BATCHCAST_TOKEN has to have a sub";
            Line::fail(CHECK, "it does not find the batch that was just written to Redis", fix)
        }
        500 => Line::fail(CHECK, words(answer), SETTINGS),
        503 => Line::fail(CHECK, words(answer), "mend what it says: it got neither Redis' answer nor the origin's"),
        _ => Line::fail(CHECK, words(answer), "look at the edge's log"),
    };
    [token, read]
}

/// The edge was asked for a batch that nobody knows: it has to ask the origin, and the origin to answer.
pub(crate) fn last_resort(asked: &Asked) -> Line {
    const CHECK: &str = "edge asks the origin";
    match asked {
        Ok(answer) if answer.status == 404 => Line::ok(CHECK, "for what Redis does not hold (or has no ORIGIN_URL)"),
        Ok(answer) if answer.status == 503 => {
            Line::fail(CHECK, words(answer), "let the edge's ORIGIN_URL and ORIGIN_TOKEN be the origin's")
        }
        Ok(answer) => Line::fail(CHECK, words(answer), "look at the edge's log"),
        Err(error) => Line::fail(CHECK, error.to_string(), "look at the edge's log"),
    }
}

/// A list was asked for at the edge, which passes it through. `has_origin`: there is said to be one.
pub(crate) fn pass_through(asked: &Asked, has_origin: bool) -> Line {
    const CHECK: &str = "edge passes through";
    match asked {
        Ok(answer) if answer.status == 502 && !has_origin => Line::skipped(CHECK, words(answer)),
        Ok(answer) if answer.status == 502 => {
            Line::fail(CHECK, words(answer), "set the edge's ORIGIN_URL to an address that the edge reaches")
        }
        Ok(answer) => Line::ok(CHECK, format!("the origin answers {}", answer.status)),
        Err(error) => Line::fail(CHECK, error.to_string(), "look at the edge's log"),
    }
}

/// The origin was asked for a batch that it can't know.
pub(crate) fn origin(asked: &Asked, has_token: bool) -> Line {
    const CHECK: &str = "origin";
    match asked {
        Err(error) => Line::fail(CHECK, error.to_string(), "start the origin, or mend ORIGIN_URL (--origin)"),
        Ok(answer) => match answer.status {
            404 => Line::ok(CHECK, if has_token { "takes ORIGIN_TOKEN" } else { "answers without a token" }),
            401 | 403 if has_token => {
                Line::fail(CHECK, "refuses ORIGIN_TOKEN", "let ORIGIN_TOKEN be the same at the origin and the edge")
            }
            401 | 403 => {
                Line::fail(CHECK, "asks for a token", "set ORIGIN_TOKEN, here and at the edge, to the origin's")
            }
            status => Line::fail(
                CHECK,
                format!("answers {status} for a batch that it can't know; 404 is expected"),
                "ORIGIN_URL is not the address of an origin (PROTOCOL.md, \"The origin\"), or it is in trouble: see its log",
            ),
        },
    }
}

pub(crate) fn metrics(asked: &Asked) -> Line {
    const CHECK: &str = "edge /api/metrics";
    match asked {
        Ok(answer) if answer.status == 200 => Line::ok(CHECK, "METRICS_TOKEN opens them"),
        Ok(answer) if answer.status == 401 => {
            Line::fail(CHECK, "refuses METRICS_TOKEN", "let METRICS_TOKEN be the edge's, and set it there")
        }
        Ok(answer) => Line::fail(CHECK, words(answer), "the metrics stand in Redis: mend that, or the edge's settings"),
        Err(error) => Line::fail(CHECK, error.to_string(), "look at the edge's log"),
    }
}

/// The status, and what the server says itself.
fn words(answer: &Answer) -> String {
    match answer.detail() {
        Some(detail) => format!("{}: {detail}", answer.status),
        None => format!("answers {}", answer.status),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &'static str) -> Asked {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let headers: HeaderMap = headers.iter().map(pair).collect();
        Ok(Answer { status, headers, body: body.into(), took: Duration::from_millis(3) })
    }

    fn plain(status: u16) -> Asked {
        answer(status, &[], r#"{"detail":"Because."}"#)
    }

    fn silence() -> Asked {
        Err(HttpError::NoAnswer("refused".into()))
    }

    /// Each failure says how to mend it, and each other line needs no mending.
    fn verdict(line: &Line) -> Verdict {
        assert_eq!(line.fix.is_some(), line.verdict == Verdict::Fail, "{line:?}");
        assert!(!line.detail.is_empty(), "{line:?}");
        line.verdict
    }

    use Verdict::{Fail, Ok as Good, Skipped};

    fn at(text: &str) -> Position {
        text.parse().unwrap()
    }

    #[test]
    fn what_redis_says_leads_to_what_to_mend() {
        let rejected = || PublishError::Rejected { command: "EVALSHA", message: "NOPERM".into() };
        for (error, fix) in [
            (PublishError::Config { setting: "REDIS_URL", problem: "no".into() }, "setting"),
            (PublishError::NotAdmitted { message: "WRONGPASS".into() }, "password"),
            (PublishError::Unanswered { source: "refused".into() }, "start Redis"),
            (rejected(), "rights"),
        ] {
            let line = redis(&Err(error));
            assert_eq!(verdict(&line), Fail);
            assert!(line.fix.as_ref().unwrap().contains(fix), "{line:?}");
        }
        assert_eq!(verdict(&redis(&Ok(()))), Good);
        let scripts = [Ok(Published::Applied), Ok(Published::Stale), Err(rejected())];
        assert_eq!(scripts.map(|published| verdict(&script(&published))), [Good, Fail, Fail]);
    }

    #[test]
    fn clocks_may_be_five_seconds_apart() {
        let verdicts = [None, Some(0), Some(5_000), Some(-5_000), Some(5_001), Some(-60_000)];
        let verdicts = verdicts.map(|skew| verdict(&clock("clock", skew)));
        assert_eq!(verdicts, [Skipped, Good, Good, Good, Fail, Fail]);
        assert_eq!(clock("clock", Some(-61_250)).detail, "61.2 s behind this machine's");
    }

    #[test]
    fn redis_over_http_must_hold_what_was_written_over_tcp() {
        for (read, expected, fix) in [
            (RestRead::Read(Some(at("7-1"))), Good, ""),
            (RestRead::Read(None), Fail, "same server"),
            (RestRead::Read(Some(at("6-1"))), Fail, "same server"),
            (RestRead::NoAnswer("refused".into()), Fail, "UPSTASH_REDIS_REST_URL"),
            (RestRead::Refused(401, String::new()), Fail, "UPSTASH_REDIS_REST_TOKEN"),
            (RestRead::Refused(400, "NOPERM".into()), Fail, "rights"),
            (RestRead::NotRedis, Fail, "something else"),
        ] {
            let line = rest(&read, at("7-1"));
            assert_eq!(verdict(&line), expected, "{read:?}");
            assert!(line.fix.unwrap_or_default().contains(fix), "{read:?}");
        }
        assert_eq!([verdict(&pubsub(&Ok(()))), verdict(&pubsub(&Err("silence".into())))], [Good, Fail]);
    }

    #[test]
    fn the_edge_is_up_and_reaches_its_redis() {
        assert_eq!(verdict(&health(&answer(200, &[], "ok\n"))), Good);
        assert_eq!([verdict(&health(&answer(200, &[], "<html>"))), verdict(&health(&silence()))], [Fail, Fail]);
        assert_eq!(
            [ready(&plain(200)), ready(&plain(503)), ready(&silence())].each_ref().map(verdict),
            [Good, Fail, Fail]
        );
        assert_eq!(ready(&plain(503)).detail, "503: Because.");
        assert!(ready(&plain(500)).fix.unwrap().contains("setting"));
    }

    #[test]
    fn strangers_are_let_in_on_a_developers_machine_only() {
        let verdicts = |status| [true, false].map(|loopback| verdict(&stranger(&plain(status), loopback)));
        assert_eq!([verdicts(401), verdicts(404), verdicts(200)], [[Good, Good], [Good, Fail], [Good, Fail]]);
        assert_eq!(verdicts(500), [Fail, Fail]);
    }

    #[test]
    fn the_edge_takes_the_token_and_reads_what_was_written() {
        let good = answer(200, &[("etag", "\"7-1\""), ("x-cache-source", "redis")], "{}");
        let verdicts = |asked: &Asked, written| round_trip(asked, written, true).each_ref().map(verdict);
        let written = Some(at("7-1"));
        assert_eq!(verdicts(&good, written), [Good, Good]);
        assert_eq!(verdicts(&good, Some(at("7-2"))), [Good, Fail]);
        assert_eq!(verdicts(&plain(404), written), [Good, Fail]);
        assert_eq!(verdicts(&plain(404), None), [Good, Skipped]);
        assert_eq!(verdicts(&plain(503), written), [Good, Fail]);
        assert_eq!(verdicts(&plain(401), written), [Fail, Skipped]);
        assert_eq!(verdicts(&silence(), written), [Skipped, Fail]);
        let [made, given] = [true, false].map(|made| round_trip(&plain(401), written, made)[0].fix.clone().unwrap());
        assert!(made.contains("AUTH_SECRET") && given.contains("BATCHCAST_TOKEN"));
    }

    #[test]
    fn the_origin_answers_404_to_whoever_may_ask() {
        let origin = |status, has_token| verdict(&origin(&plain(status), has_token));
        assert_eq!([origin(404, true), origin(404, false)], [Good, Good]);
        assert_eq!([origin(401, true), origin(401, false), origin(200, true), origin(500, true)], [Fail; 4]);
        assert_eq!([last_resort(&plain(404)), last_resort(&plain(503))].each_ref().map(verdict), [Good, Fail]);
        let through = |status, has_origin| verdict(&pass_through(&plain(status), has_origin));
        assert_eq!(
            [through(200, true), through(404, false), through(502, true), through(502, false)],
            [Good, Good, Fail, Skipped]
        );
        assert_eq!(
            [metrics(&plain(200)), metrics(&plain(401)), metrics(&plain(503))].each_ref().map(verdict),
            [Good, Fail, Fail]
        );
    }
}
