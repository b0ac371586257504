//! `/subscribe/CHANNEL`: a subscription as a stream of server-sent events.

use crate::answer::Refusal;
use crate::server::App;
use axum::body::Body;
use axum::extract::State;
use axum::http::Uri;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use redis_rest::path;
use std::convert::Infallible;
use std::sync::Arc;

/// The path that a channel's name follows.
pub(crate) const PREFIX: &str = "/subscribe/";

/// Answers when Redis has confirmed: clients take a 200 for a subscription and hear no later refusal.
pub(crate) async fn subscribe(State(app): State<Arc<App>>, uri: Uri) -> Result<Response, Refusal> {
    // From the undecoded path: what the router decodes must be UTF-8, and a channel need not be.
    let channel = path::channel(uri.path().strip_prefix(PREFIX).unwrap_or_default());
    let subscription = app.fanout.subscribe(channel).await?;
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store, no-transform"),
        // Asks nginx and its like to pass each event on as it comes.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(subscription.map(Ok::<_, Infallible>))).into_response())
}
