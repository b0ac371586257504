//! Answers to clients.

use hub::{Answer, CacheResult, Source};
use wire::BatchState;
use worker::{Headers, Response, ResponseBuilder, web_sys::ReadableStream};

use crate::{ask, problem::Problem};

/// Headers with these values.
fn headers(pairs: &[(&str, &str)]) -> worker::Result<Headers> {
    let headers = Headers::new();
    for (name, value) in pairs {
        headers.set(name, value)?;
    }
    Ok(headers)
}

/// A body that must not be stored.
pub(crate) fn plain(content_type: &str, body: String) -> worker::Result<Response> {
    let headers = headers(&[("content-type", content_type), ("cache-control", "no-store")])?;
    Ok(Response::from_bytes(body.into_bytes())?.with_headers(headers))
}

/// An error, as a problem document.
pub(crate) fn problem(problem: &Problem) -> worker::Result<Response> {
    let mut response = plain("application/problem+json", problem.to_json())?.with_status(problem.status());
    if let Some(allow) = problem.allow {
        response.headers_mut().set("allow", allow)?;
    }
    if problem.status() == 503 {
        response.headers_mut().set("retry-after", "5")?;
    }
    if problem.status() == 401 {
        response.headers_mut().set("www-authenticate", "Bearer")?;
    }
    Ok(response)
}

/// A cached read of `state`. Browsers may keep it, to ask by `If-None-Match`, but never show it unasked; shared caches
/// may not.
pub(crate) fn read(state: &BatchState, answer: &Answer, if_none_match: Option<&str>) -> worker::Result<Response> {
    let position = state.position();
    let result = match answer.result {
        CacheResult::Hit => "HIT",
        CacheResult::Miss => "MISS",
        CacheResult::Stale => "STALE",
    };
    let source = match answer.source {
        Source::Memory => "memory",
        Source::Redis => "redis",
        Source::Origin => "origin",
    };
    let headers = headers(&[
        ("etag", &ask::etag(position)),
        ("x-cache", result),
        ("x-cache-source", source),
        ("age", &(answer.age / 1_000).to_string()),
        ("cache-control", "private, no-cache"),
    ])?;
    if if_none_match.is_some_and(|tags| ask::matches(tags, position)) {
        return Ok(Response::empty()?.with_status(304).with_headers(headers));
    }
    headers.set("content-type", "application/json")?;
    Ok(Response::from_bytes(state.to_json().into_bytes())?.with_headers(headers))
}

fn event_stream() -> worker::Result<Headers> {
    headers(&[
        ("content-type", "text/event-stream"),
        ("cache-control", "no-store, no-transform"),
        // nginx and its kin would hold events back.
        ("x-accel-buffering", "no"),
    ])
}

/// A stream that is written to as long as it lives.
pub(crate) fn stream(body: ReadableStream) -> worker::Result<Response> {
    Ok(ResponseBuilder::new().with_headers(event_stream()?).stream(body))
}

/// The answer that stops an `EventSource`: it has seen everything.
pub(crate) fn nothing_more() -> worker::Result<Response> {
    Ok(Response::empty()?.with_status(204).with_headers(headers(&[("cache-control", "no-store")])?))
}

/// A stream that is over once these events are read.
pub(crate) fn short_stream(events: String) -> worker::Result<Response> {
    Ok(Response::from_bytes(events.into_bytes())?.with_headers(event_stream()?))
}
