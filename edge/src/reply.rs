//! Answers to clients.

use hub::{Answer, CacheResult, Source};
use wire::BatchState;
use worker::{Headers, Response, ResponseBuilder, web_sys::ReadableStream};

use crate::{ask, cors, problem::Problem};

/// Headers with these values.
fn headers(pairs: &[(&str, &str)]) -> worker::Result<Headers> {
    let headers = Headers::new();
    for (name, value) in pairs {
        headers.set(name, value)?;
    }
    Ok(headers)
}

/// A response with these headers more.
pub(crate) fn with(mut response: Response, more: &[(&str, &str)]) -> worker::Result<Response> {
    more.iter().try_for_each(|(name, value)| response.headers_mut().set(name, value))?;
    Ok(response)
}

/// A response that a page of this origin may read.
pub(crate) fn to_origin(response: Response, origin: Option<&str>) -> worker::Result<Response> {
    match origin {
        Some(origin) => with(varying(response)?, &cors::headers(origin)),
        None => Ok(response),
    }
}

/// A response that is not the same for pages of all origins.
pub(crate) fn varying(mut response: Response) -> worker::Result<Response> {
    let (name, value) = cors::VARY;
    let said = response.headers().get(name)?.is_some_and(|names| names.contains(value));
    if !said {
        response.headers_mut().append(name, value)?;
    }
    Ok(response)
}

/// The answer to a preflight, or to who asks which methods there are.
pub(crate) fn options(methods: &str, origin: Option<&str>) -> worker::Result<Response> {
    let response = with(nothing_more()?, &[("allow", methods)])?;
    if origin.is_none() {
        return Ok(response);
    }
    to_origin(with(response, &cors::preflight())?, origin)
}

/// A body that must not be stored.
pub(crate) fn plain(content_type: &str, body: String) -> worker::Result<Response> {
    let headers = headers(&[
        ("content-type", content_type),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
    ])?;
    Ok(Response::from_bytes(body.into_bytes())?.with_headers(headers))
}

/// An error, as a problem document.
pub(crate) fn problem(problem: &Problem) -> worker::Result<Response> {
    let response = plain("application/problem+json", problem.to_json())?.with_status(problem.status());
    with(response, &problem.headers())
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
        cors::VARY,
    ])?;
    if if_none_match.is_some_and(|tags| ask::matches(tags, position)) {
        return Ok(Response::empty()?.with_status(304).with_headers(headers));
    }
    headers.set("content-type", "application/json")?;
    headers.set("x-content-type-options", "nosniff")?;
    Ok(Response::from_bytes(state.to_json().into_bytes())?.with_headers(headers))
}

fn event_stream() -> worker::Result<Headers> {
    headers(&[
        ("content-type", "text/event-stream"),
        ("cache-control", "no-store, no-transform"),
        ("x-content-type-options", "nosniff"),
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
