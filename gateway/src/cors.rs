//! Pages of other origins: what a browser asks before a request, and what it must find in an answer.
//!
//! As Upstash, the gateway echoes the origin. That gives a page nothing it has not got: a token is never a cookie, so
//! that no request carries one that the page itself does not hold.

use crate::answer::{self, METHODS};
use crate::body::Body;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ORIGIN, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

/// How long a browser may remember what it was allowed, in seconds: as long as any does.
const MAX_AGE_SECS: HeaderValue = HeaderValue::from_static("7200");

const EXPOSED: HeaderValue = HeaderValue::from_static("upstash-sync-token, x-request-id, retry-after");

/// Which origins may read answers.
#[derive(Debug)]
pub(crate) struct Cors {
    /// Empty: all.
    pub(crate) allowed: Vec<String>,
}

impl Cors {
    fn origin<'a>(&self, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
        let origin = headers.get(ORIGIN)?;
        let listed = || self.allowed.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes());
        (self.allowed.is_empty() || listed()).then_some(origin)
    }
}

/// The answer to a browser that asks whether it may ask. `None`: it is no such question.
pub(crate) fn preflight(cors: &Cors, parts: &Parts) -> Option<Response<Body>> {
    if parts.method != Method::OPTIONS || !parts.headers.contains_key(ORIGIN) {
        return None;
    }
    let mut response = answer::empty(StatusCode::OK);
    let headers = response.headers_mut();
    permit(cors, &parts.headers, headers);
    if headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
        let asked = parts.headers.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.unwrap_or(HeaderValue::from_static("authorization")));
        headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE_SECS);
    }
    Some(response)
}

/// Lets the page that asked read the answer.
pub(crate) fn permit(cors: &Cors, asked: &HeaderMap, answer: &mut HeaderMap) {
    if !asked.contains_key(ORIGIN) {
        return;
    }
    answer.insert(VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = cors.origin(asked) {
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn ask(allowed: &[&str], origin: &str) -> HeaderMap {
        let request = Request::options("/get/k").header(ORIGIN, origin);
        let request = request.header(ACCESS_CONTROL_REQUEST_HEADERS, "authorization,upstash-encoding");
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let cors = Cors { allowed: allowed.iter().map(ToString::to_string).collect() };
        let response = preflight(&cors, &parts).unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response.headers().clone()
    }

    #[test]
    fn a_browser_is_told_that_it_may_ask() {
        let headers = ask(&[], "https://page.example");
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], "https://page.example");
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_HEADERS], "authorization,upstash-encoding");
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_METHODS], "GET, HEAD, POST, PUT");
        assert_eq!(headers[VARY], "origin");
    }

    #[test]
    fn with_a_list_others_may_not() {
        let allowed = ["https://page.example"];
        assert!(ask(&allowed, "https://page.example").contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
        let refused = ask(&allowed, "https://page.example.evil");
        assert!(!refused.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) && refused.contains_key(VARY));
    }

    #[test]
    fn what_no_browser_asks_is_no_preflight() {
        let (parts, ()) = Request::options("/").body(()).unwrap().into_parts();
        assert!(preflight(&Cors { allowed: Vec::new() }, &parts).is_none());
    }
}
