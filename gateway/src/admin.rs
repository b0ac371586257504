//! What operators ask, on an address of its own and without a token: keep it off the public network.

use crate::app::App;
use crate::fanout::Topic;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) fn routes(app: Arc<App>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/subscriptions", get(channels))
        .route("/pattern-subscriptions", get(patterns))
        .with_state(app)
}

/// Ready when Redis answers on both connections.
async fn readyz(State(app): State<Arc<App>>) -> impl IntoResponse {
    match app.readiness() {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.metrics.render(app.gauges().await))
}

/// Open responses to `/subscribe`, by channel: `{"chat":2}`.
async fn channels(State(app): State<Arc<App>>) -> impl IntoResponse {
    Json(named(app.topics().await, |topic| matches!(topic, Topic::Channel(_))))
}

/// Open responses to `/psubscribe`, by pattern.
async fn patterns(State(app): State<Arc<App>>) -> impl IntoResponse {
    Json(named(app.topics().await, |topic| matches!(topic, Topic::Pattern(_))))
}

fn named(topics: BTreeMap<Topic, usize>, wanted: impl Fn(&Topic) -> bool) -> BTreeMap<String, usize> {
    let topics = topics.into_iter().filter(|(topic, _)| wanted(topic));
    topics.map(|(topic, count)| (String::from_utf8_lossy(topic.name()).into_owned(), count)).collect()
}
