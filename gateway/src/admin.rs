//! What operators ask, on an address of its own and without a token: keep it off the public network.

use crate::metrics::Gauges;
use crate::server::App;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use std::sync::Arc;

pub(crate) fn routes(app: Arc<App>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/subscriptions", get(subscriptions))
        .with_state(app)
}

/// Ready when Redis answers on both connections.
async fn readyz(State(app): State<Arc<App>>) -> impl IntoResponse {
    match readiness(&app) {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

fn readiness(app: &App) -> Result<(), String> {
    app.upstream.status()?;
    if app.fanout.is_connected() { Ok(()) } else { Err("no connection to Redis to subscribe on".to_owned()) }
}

async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    let counts = app.fanout.counts().await;
    let gauges =
        Gauges { subscriptions: counts.values().sum(), channels: counts.len(), redis_up: readiness(&app).is_ok() };
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.metrics.render(gauges))
}

/// Open responses to `/subscribe`, by channel: `{"chat":2}`.
async fn subscriptions(State(app): State<Arc<App>>) -> impl IntoResponse {
    Json(app.fanout.counts().await)
}
