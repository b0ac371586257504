//! What every request passes first: its method, its token; and what every answer carries and is counted by.

use crate::answer::Refusal;
use crate::server::App;
use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use redis_rest::path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use subtle::ConstantTimeEq;

/// Lets a request through to its route, or answers it.
pub(crate) async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let mut response = match admit(&app, &request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    app.metrics.answered(response.status().as_u16());
    response.headers_mut().insert("upstash-sync-token", sync_token());
    response
}

fn admit(app: &App, request: &Request) -> Result<(), Refusal> {
    if ![Method::GET, Method::HEAD, Method::POST, Method::PUT].contains(request.method()) {
        return Err(Refusal::Method);
    }
    let token = presented_token(request.headers(), request.uri().query()).ok_or(Refusal::Unauthorized)?;
    if bool::from(token.ct_eq(app.token.expose().as_bytes())) { Ok(()) } else { Err(Refusal::Unauthorized) }
}

/// The token of a request. `_token` wins over the header, and `Bearer` may be missing, as at Upstash.
fn presented_token(headers: &HeaderMap, query: Option<&str>) -> Option<Vec<u8>> {
    path::token(query).or_else(|| {
        let value = headers.get(AUTHORIZATION)?.as_bytes();
        let bare = match value.split_at_checked(b"bearer ".len()) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case(b"bearer ") => rest.trim_ascii_start(),
            _ => value,
        };
        Some(bare.to_vec())
    })
}

/// Something that differs from answer to answer. Clients send the last one back to read their own writes;
/// with one Redis behind the gateway they always do.
fn sync_token() -> HeaderValue {
    static LAST: AtomicU64 = AtomicU64::new(0);
    HeaderValue::from(LAST.fetch_add(1, Ordering::Relaxed) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: Option<&'static str>, query: Option<&str>) -> Option<String> {
        let headers = header.map(|value| (AUTHORIZATION, HeaderValue::from_static(value))).into_iter().collect();
        presented_token(&headers, query).map(|token| String::from_utf8(token).unwrap())
    }

    #[test]
    fn the_token_stands_in_the_header_or_the_query() {
        assert_eq!(token(Some("Bearer s"), None).as_deref(), Some("s"));
        assert_eq!(token(Some("bearer s"), None).as_deref(), Some("s"));
        assert_eq!(token(Some("s"), None).as_deref(), Some("s"));
        assert_eq!(token(None, Some("a=b&_token=s")).as_deref(), Some("s"));
        assert_eq!(token(Some("Bearer h"), Some("_token=q")).as_deref(), Some("q"));
        assert_eq!(token(None, None), None);
    }
}
