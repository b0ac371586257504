//! Commands over HTTP: one, several, several at once, and one in the path.

use crate::answer::{self, Format, Refusal};
use crate::server::App;
use crate::upstream::Unavailable;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use futures::StreamExt;
use redis_rest::{Args, path, request};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// The largest request body, in bytes, as Upstash documents it.
pub(crate) const MAX_REQUEST_BYTES: usize = 10 * 1024 * 1024;

/// The most commands in one request. The official client sends at most 1,000 by itself.
pub(crate) const MAX_COMMANDS: usize = 10_000;

/// How much of a larger body is still read to be thrown away, in bytes.
const MAX_DRAINED_BYTES: usize = 10 * MAX_REQUEST_BYTES;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// `/`: one command.
pub(crate) async fn command(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    let format = Format::requested(&headers)?;
    let body = read(&headers, body).await?;
    run_one(&app, request::parse_command(&body)?, format).await
}

/// Any other path: one command, its arguments in the path, the body and the query.
pub(crate) async fn path_command(
    State(app): State<Arc<App>>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let format = Format::requested(&headers)?;
    let body = read(&headers, body).await?;
    run_one(&app, path::command(uri.path(), uri.query(), &body), format).await
}

/// `/pipeline`: commands in order, each with its own outcome.
pub(crate) async fn pipeline(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    let format = Format::requested(&headers)?;
    let commands = read_commands(&headers, body).await?;
    let replies = app.upstream.run(&commands).await?;
    Ok(answer::several(&replies, format))
}

/// `/multi-exec`: commands as one transaction. Always JSON.
pub(crate) async fn multi_exec(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let format = Format::Json(Format::requested(&headers)?.json_encoding());
    let commands = read_commands(&headers, body).await?;
    match app.upstream.run_atomic(&commands).await? {
        Ok(replies) => Ok(answer::several(&replies, format)),
        Err(words) => Err(Refusal::Bad(words)),
    }
}

async fn run_one(app: &App, command: Args, format: Format) -> Result<Response, Refusal> {
    match &app.upstream.run(&[command]).await?[..] {
        [reply] => Ok(answer::single(reply, format)),
        _ => Err(Unavailable::Unanswered.into()),
    }
}

async fn read_commands(headers: &HeaderMap, body: Body) -> Result<Vec<Args>, Refusal> {
    Ok(request::parse_pipeline(&read(headers, body).await?, MAX_COMMANDS)?)
}

/// Reads a body within its bounds of size and time.
async fn read(headers: &HeaderMap, body: Body) -> Result<Vec<u8>, Refusal> {
    let declared = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if let Some(actual) = declared.filter(|length| *length > MAX_DRAINED_BYTES) {
        return Err(Refusal::TooLarge { limit: MAX_REQUEST_BYTES, actual });
    }
    timeout(BODY_TIMEOUT, collect(body)).await.unwrap_or(Err(Refusal::NoBody))
}

/// What is too large is read to its end and thrown away: a client that is still sending when the connection
/// closes sees a broken pipe and never the reason.
async fn collect(body: Body) -> Result<Vec<u8>, Refusal> {
    let mut pieces = body.into_data_stream();
    let (mut bytes, mut actual) = (Vec::new(), 0);
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| Refusal::NoBody)?;
        actual += piece.len();
        if actual <= MAX_REQUEST_BYTES {
            bytes.extend_from_slice(&piece);
        } else if actual > MAX_DRAINED_BYTES {
            break;
        }
    }
    if actual > MAX_REQUEST_BYTES { Err(Refusal::TooLarge { limit: MAX_REQUEST_BYTES, actual }) } else { Ok(bytes) }
}
