//! One request: who asks, what for, the answer; and what is counted and logged of it.

use crate::access::Grant;
use crate::answer::{self, Format, METHODS, Refusal};
use crate::app::App;
use crate::body::Body;
use crate::cors;
use crate::fanout::Topic;
use crate::monitor;
use crate::upstream::Unavailable;
use futures::{FutureExt, StreamExt};
use http::header::{AUTHORIZATION, CONTENT_LENGTH};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use redis_rest::{Args, path, request};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// How much of a body that is too large is still read to be thrown away, as a multiple of the limit.
const DRAINED: usize = 10;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest request id that is taken over from a client, in bytes.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// How much of a path a log line shows, in bytes.
const LOGGED_PATH_BYTES: usize = 256;

const SYNC_TOKEN: HeaderName = HeaderName::from_static("upstash-sync-token");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Answers a request, whatever happens: a client whose connection is cut sends a write again without knowing better.
pub(crate) async fn answer(app: Arc<App>, request: Request<Incoming>) -> Response<Body> {
    let begun = Instant::now();
    let (parts, body) = request.into_parts();
    if let Some(response) = cors::preflight(&app.cors, &parts) {
        return response;
    }
    let id = request_id(&parts.headers);
    let routed = AssertUnwindSafe(route(&app, &parts, body)).catch_unwind().await;
    let routed = routed.unwrap_or_else(|_| {
        tracing::error!(request_id = %id.to_str().unwrap_or_default(), "a request panicked");
        Err(Refusal::Failed)
    });
    let mut response = routed.unwrap_or_else(|refusal| refusal.answer());
    app.metrics.answered(response.status().as_u16(), begun.elapsed());
    if app.access_log {
        log(&parts, &id, response.status(), begun.elapsed());
    }
    let headers = response.headers_mut();
    headers.insert(SYNC_TOKEN, sync_token());
    headers.insert(REQUEST_ID, id);
    cors::permit(&app.cors, &parts.headers, headers);
    response
}

async fn route(app: &Arc<App>, parts: &Parts, body: Incoming) -> Result<Response<Body>, Refusal> {
    if ![Method::GET, Method::HEAD, Method::POST, Method::PUT].contains(&parts.method) {
        return Err(Refusal::Method(METHODS));
    }
    let token = presented_token(&parts.headers, parts.uri.query()).ok_or(Refusal::Unauthorized)?;
    let grant = app.access.grant(&token).ok_or(Refusal::Unauthorized)?;
    let Some(_held) = app.requests.enter() else {
        return Err(Refusal::TooManyRequests { limit: app.requests.limit() });
    };
    let posted = parts.method == Method::POST;
    // From the undecoded path: a name need not be UTF-8.
    match parts.uri.path() {
        "/" => command(app, grant, &parts.headers, body).await,
        "/pipeline" if posted => pipeline(app, grant, &parts.headers, body).await,
        "/multi-exec" if posted => multi_exec(app, grant, &parts.headers, body).await,
        "/pipeline" | "/multi-exec" => Err(Refusal::Method("POST")),
        path => match stream(path) {
            Some(asked) if posted || parts.method == Method::GET => open(app, grant, asked, body).await,
            Some(_) => Err(Refusal::Method("GET, POST")),
            None => path_command(app, grant, parts, body).await,
        },
    }
}

/// `/`: one command.
async fn command(app: &App, grant: Grant, headers: &HeaderMap, body: Incoming) -> Result<Response<Body>, Refusal> {
    let format = Format::requested(headers)?;
    let body = read(app, headers, body).await?;
    run_one(app, grant, request::parse_command(&body)?, format).await
}

/// Any other path: one command, its arguments in the path, the body and the query.
async fn path_command(app: &App, grant: Grant, parts: &Parts, body: Incoming) -> Result<Response<Body>, Refusal> {
    let format = Format::requested(&parts.headers)?;
    let body = read(app, &parts.headers, body).await?;
    run_one(app, grant, path::command(parts.uri.path(), parts.uri.query(), &body), format).await
}

/// `/pipeline`: commands in order, each with its own outcome.
async fn pipeline(app: &App, grant: Grant, headers: &HeaderMap, body: Incoming) -> Result<Response<Body>, Refusal> {
    let format = Format::requested(headers)?;
    let commands = read_commands(app, headers, body).await?;
    let limit = app.limits.response_bytes;
    match app.backend(grant).upstream.run_all(commands, grant.rights, limit).await? {
        Ok(replies) => bounded(app, answer::several(&replies, format)),
        Err(actual) => Err(Refusal::AnswerTooLarge { limit, actual }),
    }
}

/// `/multi-exec`: commands as one transaction. Always JSON.
async fn multi_exec(app: &App, grant: Grant, headers: &HeaderMap, body: Incoming) -> Result<Response<Body>, Refusal> {
    let format = Format::Json(Format::requested(headers)?.json_encoding());
    let commands = read_commands(app, headers, body).await?;
    match app.backend(grant).upstream.run_atomic(commands, grant.rights).await? {
        Ok(replies) => bounded(app, answer::several(&replies, format)),
        Err(words) => Err(Refusal::Bad(words)),
    }
}

async fn run_one(app: &App, grant: Grant, command: Args, format: Format) -> Result<Response<Body>, Refusal> {
    let reply = app.backend(grant).upstream.run(command, grant.rights).await?;
    bounded(app, answer::single(&reply, format))
}

/// What a path asks for as a stream.
enum Asked {
    Topic(Topic),
    Monitor,
}

fn stream(path: &str) -> Option<Asked> {
    let (kind, name) = path.strip_prefix('/')?.split_once('/').unwrap_or((path.get(1..)?, ""));
    match kind {
        "subscribe" if !name.is_empty() => Some(Asked::Topic(Topic::Channel(path::channel(name)))),
        "psubscribe" if !name.is_empty() => Some(Asked::Topic(Topic::Pattern(path::channel(name)))),
        "monitor" if name.is_empty() => Some(Asked::Monitor),
        _ => None,
    }
}

/// Opens a stream when Redis has confirmed: clients take a 200 for a subscription and hear no later refusal.
async fn open(app: &App, grant: Grant, asked: Asked, body: Incoming) -> Result<Response<Body>, Refusal> {
    // Clients send `[]`. It means nothing, and unread it would stand in the way of what the connection is for now.
    read(app, &HeaderMap::new(), body).await?;
    let backend = app.backend(grant);
    match asked {
        Asked::Topic(topic) => {
            let limit = app.subscriptions.limit();
            let held = app.subscriptions.enter().ok_or(Refusal::TooManySubscriptions { limit })?;
            Ok(answer::events(Body::Events(backend.fanout.subscribe(topic, held).await?)))
        }
        Asked::Monitor => {
            backend.may_monitor(grant.rights).await.map_err(Refusal::Bad)?;
            let limit = app.monitors.limit();
            let held = app.monitors.enter().ok_or(Refusal::TooManySubscriptions { limit })?;
            let lines = monitor::monitor(&backend.target, held, app.closing()).await.map_err(|reason| {
                tracing::warn!(reason, "no connection to monitor on");
                Refusal::Unavailable(Unavailable::NotConnected)
            })?;
            Ok(answer::events(Body::Stream(lines.boxed())))
        }
    }
}

fn bounded(app: &App, response: Response<Body>) -> Result<Response<Body>, Refusal> {
    match response.body() {
        Body::Whole(bytes) if bytes.len() > app.limits.response_bytes => {
            Err(Refusal::AnswerTooLarge { limit: app.limits.response_bytes, actual: bytes.len() })
        }
        _ => Ok(response),
    }
}

async fn read_commands(app: &App, headers: &HeaderMap, body: Incoming) -> Result<Vec<Args>, Refusal> {
    Ok(request::parse_pipeline(&read(app, headers, body).await?, app.limits.commands)?)
}

/// Reads a body within its bounds of size and time.
async fn read(app: &App, headers: &HeaderMap, body: Incoming) -> Result<Vec<u8>, Refusal> {
    if hyper::body::Body::is_end_stream(&body) {
        return Ok(Vec::new());
    }
    let limit = app.limits.request_bytes;
    let declared = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if let Some(actual) = declared.filter(|length| *length > DRAINED * limit) {
        return Err(Refusal::TooLarge { limit, actual });
    }
    timeout(BODY_TIMEOUT, collect(body, limit)).await.unwrap_or(Err(Refusal::NoBody))
}

/// What is too large is read to its end and thrown away: a client that is still sending when the connection
/// closes sees a broken pipe and never the reason.
async fn collect(body: Incoming, limit: usize) -> Result<Vec<u8>, Refusal> {
    let mut pieces = body.into_data_stream();
    let (mut bytes, mut actual) = (Vec::new(), 0);
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| Refusal::NoBody)?;
        actual += piece.len();
        if actual <= limit {
            bytes.extend_from_slice(&piece);
        } else if actual > DRAINED * limit {
            break;
        }
    }
    if actual > limit { Err(Refusal::TooLarge { limit, actual }) } else { Ok(bytes) }
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

/// The client's own id for the request, or one that no other request of this process has.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let usable = |id: &&HeaderValue| {
        (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    headers
        .get(REQUEST_ID)
        .filter(usable)
        .cloned()
        .unwrap_or_else(|| HeaderValue::from(LAST.fetch_add(1, Ordering::Relaxed) + 1))
}

fn log(parts: &Parts, id: &HeaderValue, status: StatusCode, took: Duration) {
    let request_id = id.to_str().unwrap_or_default();
    let (method, status, took_us) = (parts.method.as_str(), status.as_u16(), took.as_micros() as u64);
    tracing::info!(target: "access", request_id, method, path = logged_path(&parts.uri), status, took_us);
}

/// Path and query without the token, and not all of a long one.
fn logged_path(uri: &Uri) -> String {
    let mut shown = uri.path().to_owned();
    let params = uri.query().unwrap_or_default().split('&').filter(|param| !param.is_empty());
    for (at, param) in params.enumerate() {
        shown.push(if at == 0 { '?' } else { '&' });
        shown.push_str(if path::is_token(param) { "_token=…" } else { param });
    }
    if shown.len() > LOGGED_PATH_BYTES {
        shown.truncate((0..=LOGGED_PATH_BYTES).rev().find(|at| shown.is_char_boundary(*at)).unwrap_or_default());
        shown.push('…');
    }
    shown
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

    #[test]
    fn a_token_never_stands_in_a_log() {
        let shown = |uri: &'static str| logged_path(&Uri::from_static(uri));
        assert_eq!(shown("/get/k?_token=s3cret&EX=1"), "/get/k?_token=…&EX=1");
        assert_eq!(shown("/get/k?a&_token=s3cret"), "/get/k?a&_token=…");
        assert_eq!(shown("/get/k?%5ftoken=s3cret"), "/get/k?_token=…");
        assert_eq!(shown("/get/k"), "/get/k");
        let long: Uri = format!("/set/k/{}", "é".repeat(500)).replace('é', "%C3%A9").parse().unwrap();
        assert!(logged_path(&long).len() < 300);
    }

    #[test]
    fn a_request_keeps_a_usable_id_of_its_client() {
        let id =
            |value: &'static str| request_id(&[(REQUEST_ID, HeaderValue::from_static(value))].into_iter().collect());
        assert_eq!(id("abc-1"), "abc-1");
        assert_ne!(id("a b"), "a b");
        assert_ne!(id(""), "");
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }

    #[test]
    fn streams_have_paths_of_their_own() {
        let topic = |path: &str| match stream(path) {
            Some(Asked::Topic(topic)) => Some(topic),
            _ => None,
        };
        assert_eq!(topic("/subscribe/a/b"), Some(Topic::Channel(b"a/b".to_vec())));
        assert_eq!(topic("/psubscribe/user:*"), Some(Topic::Pattern(b"user:*".to_vec())));
        assert!(matches!(stream("/monitor"), Some(Asked::Monitor)));
        for path in ["/subscribe", "/subscribe/", "/psubscribe", "/monitor/x", "/get/subscribe/a", ""] {
            assert!(stream(path).is_none(), "{path}");
        }
    }
}
