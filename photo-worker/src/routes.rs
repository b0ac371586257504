//! The routes: from a request to a call, from its result to an answer.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, FromRequestParts, Path, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::json;
use subtle::ConstantTimeEq as _;
use wire::{
    BatchId, IdError, PhotoId,
    limits::{MAX_DECLARATION_BYTES, MAX_UPLOAD_BYTES},
};

use crate::{
    access::{Caller, Refusal},
    db::{Cancellation, Retried},
    metrics::{self, count},
    names::stream_url,
    problem::AppError,
    service::{App, now_ms},
    trace, upload,
};

mod create;
mod list;

pub(crate) use create::check_name;

/// All routes of the service. Whoever is behind one under `/api` is known before its body is read.
pub(crate) fn router(app: Arc<App>) -> Router {
    let most = usize::try_from(MAX_UPLOAD_BYTES).unwrap_or(usize::MAX);
    let upload = post(upload::upload).layer(DefaultBodyLimit::max(most));
    Router::new()
        .route("/api/batches", post(create::create).layer(DefaultBodyLimit::max(MAX_DECLARATION_BYTES)))
        .route("/api/batches/{id}", get(origin))
        .route("/api/batches/{id}/retry", post(retry))
        .route("/api/batches/{id}/cancel", post(cancel))
        .route("/api/photos/upload", upload)
        .route("/api/photos/{id}/thumbnail", get(thumbnail))
        .route("/api/projects/{id}/batches", get(list::list))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics_text))
        .fallback(|| async { AppError::NoRoute })
        .method_not_allowed_fallback(|| async { AppError::Method })
        .layer(middleware::from_fn(no_store))
        .layer(middleware::from_fn(trace::follow))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), to_the_end))
        .with_state(app)
}

/// A batch as it was created or changed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BatchAnswer {
    pub batch_id: BatchId,
    pub photo_ids: Vec<PhotoId>,
    pub stream_url: String,
}

impl BatchAnswer {
    pub(crate) fn new(batch_id: BatchId, photo_ids: Vec<PhotoId>) -> Self {
        Self { stream_url: stream_url(&batch_id), batch_id, photo_ids }
    }
}

/// An id in the path.
struct Id<T>(T);

impl<S: Send + Sync, T: std::str::FromStr<Err = IdError>> FromRequestParts<S> for Id<T> {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| AppError::BadRequest(rejection.body_text()))?;
        text.parse().map(Self).map_err(|error| AppError::BadId { what: "the id in the address", error })
    }
}

/// What `encodeURIComponent` encodes.
const IN_HEADER: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

/// Names a batch's owner to the edge.
const OWNER_HEADER: &str = "batchcast-owner";

/// For the edge, which shows `ORIGIN_TOKEN`, and for whoever may see the batch.
async fn origin(State(app): State<Arc<App>>, Id(batch): Id<BatchId>, headers: HeaderMap) -> Result<Response, AppError> {
    let mut tells_owner = true;
    if !is_edge(app.origin_token.as_deref(), headers.get(header::AUTHORIZATION)) {
        let caller = caller_at_origin(&app, &headers).await?;
        // Before the state is read, which takes the longer the more photos there are: that would tell that there are.
        let owned = app.db.owner(&batch).await?;
        if !owned.is_some_and(|owned| caller.may_see(&batch, owned.owner.as_deref())) {
            return Err(AppError::UnknownBatch(batch));
        }
        // In development the edge has no token.
        tells_owner = matches!(caller, Caller::Developer(_));
    }
    count(&app.counters.origin_reads);
    let (state, owner) = app.db.state(&batch).await?.ok_or(AppError::UnknownBatch(batch))?;
    let state = app.publisher.redacted(state)?;
    let mut response = ([(header::CONTENT_TYPE, "application/json")], state.to_json()).into_response();
    // The owner is not part of the state, which viewers see; the edge has to know it.
    let owner = owner.filter(|_| tells_owner).map(|owner| utf8_percent_encode(&owner, &IN_HEADER).to_string());
    if let Some(owner) = owner.and_then(|owner| HeaderValue::from_str(&owner).ok()) {
        response.headers_mut().insert(OWNER_HEADER, owner);
    }
    Ok(response)
}

/// Someone else than the edge. With `ORIGIN_TOKEN` set, nobody is believed who shows nothing, not in development either.
async fn caller_at_origin(app: &App, headers: &HeaderMap) -> Result<Caller, AppError> {
    let caller = app.access.caller(headers).await;
    if app.origin_token.is_none() {
        return caller;
    }
    let refusal = match caller {
        Ok(Caller::Developer(None)) => Refusal::Missing,
        Err(AppError::Unauthorized(refusal)) => refusal,
        caller => return caller,
    };
    Err(Refusal::Origin(Box::new(refusal)).into())
}

/// Compared in constant time: how long a wrong token takes says nothing about the right one.
fn is_edge(token: Option<&str>, header: Option<&HeaderValue>) -> bool {
    let Some(token) = token else { return false };
    let shown = header.and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    shown.is_some_and(|shown| shown.ct_eq(token.as_bytes()).into())
}

/// Refuses a batch that the caller may not change as if it were not there: which batches others have is nobody's
/// business.
pub(crate) async fn check_change(app: &App, caller: &Caller, batch: &BatchId) -> Result<(), AppError> {
    let owned = app.db.owner(batch).await?;
    let may = owned.is_some_and(|owned| caller.may_change(batch, owned.owner.as_deref()));
    if may { Ok(()) } else { Err(AppError::UnknownBatch(batch.clone())) }
}

async fn retry(State(app): State<Arc<App>>, caller: Caller, Id(batch): Id<BatchId>) -> Result<Response, AppError> {
    check_change(&app, &caller, &batch).await?;
    let now = now_ms();
    let retried = app.db.retry(&batch, now, app.expires_at(now)).await;
    // A commit whose answer was lost would be told to nobody.
    match retried.inspect_err(|_| app.publisher.notify(&batch))? {
        Retried::Reopened { stepped, photos, received } => {
            app.announce_reopened(&stepped.batch).await;
            received.into_iter().for_each(|photo| app.queue.push(photo));
            Ok((StatusCode::ACCEPTED, Json(BatchAnswer::new(batch, photos))).into_response())
        }
        Retried::Unknown => Err(AppError::UnknownBatch(batch)),
        Retried::Open => Err(AppError::Open(batch)),
        Retried::Nothing => Err(AppError::NothingToRetry(batch)),
    }
}

async fn cancel(State(app): State<Arc<App>>, caller: Caller, Id(batch): Id<BatchId>) -> Result<Response, AppError> {
    check_change(&app, &caller, &batch).await?;
    let cancelled = app.db.cancel(&batch, now_ms()).await;
    // A commit whose answer was lost would be told to nobody.
    match cancelled.inspect_err(|_| app.publisher.notify(&batch))? {
        Cancellation::Done(stepped) => {
            app.announce(&stepped);
            Ok(Json(json!({ "batchId": batch, "status": "CANCELLED" })).into_response())
        }
        Cancellation::Unknown => Err(AppError::UnknownBatch(batch)),
        Cancellation::Ended(status) => Err(AppError::Ended { batch, status }),
    }
}

async fn thumbnail(State(app): State<Arc<App>>, caller: Caller, Id(photo): Id<PhotoId>) -> Result<Response, AppError> {
    let owned = app.db.owner_of_photo(&photo).await?;
    if !owned.is_some_and(|owned| caller.may_see(&owned.batch, owned.owner.as_deref())) {
        return Err(AppError::NoThumbnail(photo));
    }
    match tokio::fs::read(app.files.thumbnail(&photo)).await {
        Ok(jpeg) => {
            let headers = [
                (header::CONTENT_TYPE, "image/jpeg"),
                // It never changes, but for longer than this a browser must not show it after its user has signed out;
                // and not at all to someone else.
                (header::CACHE_CONTROL, "private, max-age=3600"),
                (header::VARY, "Authorization, Cookie"),
            ];
            Ok((headers, jpeg).into_response())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(AppError::NoThumbnail(photo)),
        Err(error) => Err(error.into()),
    }
}

async fn ready(State(app): State<Arc<App>>) -> Result<&'static str, AppError> {
    // Redis is not asked: without it photos are taken and analysed all the same, and published later.
    app.db.ping().await?;
    Ok("ready\n")
}

async fn metrics_text(State(app): State<Arc<App>>) -> Response {
    let (published, sinks) = (app.publisher.metrics(), app.publisher.sink_metrics());
    let text = metrics::render(&app.counters, app.queue.waiting(), &published, &sinks);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

/// What changes something goes on though whoever asked hangs up: what it commits has to be told.
async fn to_the_end(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if request.method() != Method::POST {
        return next.run(request).await;
    }
    let answer = app.requests.spawn(next.run(request)).await;
    answer.unwrap_or_else(|stopped| AppError::Internal(stopped.into()).into_response())
}

/// Nothing is stored on the way unless its route says so.
async fn no_store(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edge_is_who_shows_the_origins_token() {
        let header = |text: &str| HeaderValue::from_str(text).unwrap();
        assert!(is_edge(Some("t-1"), Some(&header("Bearer t-1"))));
        for wrong in ["t-1", "Bearer t-2", "Bearer t-11", "Bearer ", "bearer t-1", "Basic t-1"] {
            assert!(!is_edge(Some("t-1"), Some(&header(wrong))), "{wrong}");
        }
        assert!(!is_edge(Some("t-1"), None) && !is_edge(None, None) && !is_edge(None, Some(&header("Bearer "))));
    }
}
