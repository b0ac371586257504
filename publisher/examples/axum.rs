//! A web application with a database: it commits, then notifies, and answers as the edge's origin.
//!
//! ```text
//! REDIS_URL=redis://localhost:6379 cargo run -p batchcast-publisher --example axum
//! curl -X POST 'localhost:3000/api/batches/holiday?photos=20'
//! curl localhost:3000/api/batches/holiday
//! ```
//!
//! The database is a map behind a lock, so that the example needs nothing else: a change of it is a transaction, a look
//! at it a snapshot. With rows it reads the same; `photo-worker/src/db/source.rs` is one with SQL.

use std::{
    collections::HashMap,
    env,
    error::Error,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing,
};
use batchcast_publisher::{
    BatchId, BatchState, BatchStatus, Changes, Counts, Head, Photo, PhotoId, PhotoStatus, Position, ProgressSource,
    Publisher, SourceError,
};
use jiff::Timestamp;
use serde::Deserialize;

/// The application's database.
#[derive(Clone, Default)]
struct Database {
    batches: Arc<Mutex<HashMap<BatchId, BatchState>>>,
}

impl Database {
    fn batches(&self) -> MutexGuard<'_, HashMap<BatchId, BatchState>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All photos queued, in an epoch that is the time of the batch's making. Whether there was no such batch yet.
    fn create(&self, id: &BatchId, photos: u32) -> Result<bool, SourceError> {
        let position = Position::new(u64::try_from(Timestamp::now().as_millisecond())?, 1)?;
        let counts = Counts { total: photos, queued: photos, ..Counts::default() };
        let head = Head::new(id.clone(), position, BatchStatus::Queued, counts, Timestamp::now().to_string());
        let photo = |n| Ok(Photo::new(PhotoId::new(&format!("photo-{n:05}"))?, PhotoStatus::Queued, 1));
        let photos = (1..=photos).map(photo).collect::<Result<Vec<_>, SourceError>>()?;
        let (mut batches, state) = (self.batches(), BatchState::new(head, photos)?);
        if batches.contains_key(id) {
            return Ok(false);
        }
        batches.insert(id.clone(), state);
        Ok(true)
    }

    /// One transaction: the photo, the counts, the version. Whether the batch has ended with it.
    fn finish(&self, id: &BatchId, photo: PhotoId) -> Result<bool, SourceError> {
        let mut batches = self.batches();
        let state = batches.get_mut(id).ok_or("the batch was deleted")?;
        let (before, mut head) = (state.position(), state.head().clone());
        head.position = Position::new(before.epoch(), before.version() + 1)?;
        head.counts.queued -= 1;
        head.counts.completed += 1;
        head.status = if head.counts.queued == 0 { BatchStatus::Completed } else { BatchStatus::Processing };
        head.updated_at = Timestamp::now().to_string();
        let (ended, version) = (head.status.is_terminal(), head.position.version());
        let photo = Photo::new(photo, PhotoStatus::Completed, version);
        state.apply(Changes::new(Some(before), head, vec![photo]))?;
        Ok(ended)
    }
}

impl ProgressSource for Database {
    async fn changes(&self, id: &BatchId, since: Option<Position>) -> Result<Option<Changes>, SourceError> {
        let batches = self.batches();
        let Some(state) = batches.get(id) else { return Ok(None) };
        let delta = state.changes_since(since);
        let since = since.filter(|_| !delta.full);
        Ok(Some(Changes::new(since, state.head().clone(), delta.photos.into_iter().cloned().collect())))
    }

    async fn unsettled(&self, _since: SystemTime) -> Result<Vec<BatchId>, SourceError> {
        Ok(self.batches().keys().cloned().collect())
    }
}

#[derive(Clone)]
struct App {
    database: Database,
    publisher: Publisher,
}

/// What went wrong, for whoever asked.
struct Failed(StatusCode, String);

impl<E: Into<SourceError>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, error.into().to_string())
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

#[derive(Deserialize)]
struct Wanted {
    #[serde(default = "twenty")]
    photos: u32,
}

fn twenty() -> u32 {
    20
}

/// Makes a batch, and works on it after the answer.
async fn create(
    State(app): State<App>,
    Path(id): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<(StatusCode, Json<serde_json::Value>), Failed> {
    let id = BatchId::new(&id).map_err(|error| Failed(StatusCode::BAD_REQUEST, error.to_string()))?;
    if !app.database.create(&id, wanted.photos)? {
        return Err(Failed(StatusCode::CONFLICT, format!("there is a batch {id} already")));
    }
    app.publisher.notify(&id);
    let answer = Json(serde_json::json!({ "batchId": id.as_str(), "streamUrl": format!("/api/batches/{id}/stream") }));
    tokio::spawn(async move {
        if let Err(error) = work(&app, &id).await {
            eprintln!("{id}: {error}");
        }
    });
    Ok((StatusCode::ACCEPTED, answer))
}

async fn work(app: &App, id: &BatchId) -> Result<(), SourceError> {
    let queued: Vec<PhotoId> = {
        let batches = app.database.batches();
        let state = batches.get(id).ok_or("the batch was deleted")?;
        state.photos().map(|photo| photo.photo_id.clone()).collect()
    };
    for photo in queued {
        tokio::time::sleep(Duration::from_millis(20)).await; // The work itself would stand here.
        let ended = app.database.finish(id, photo)?;
        // After the commit. Neither call blocks or fails.
        if ended { app.publisher.notify_final(id) } else { app.publisher.notify(id) }
    }
    Ok(())
}

/// The edge asks here for what Redis does not hold: set its `ORIGIN_URL` to this server.
async fn read(State(app): State<App>, Path(id): Path<String>) -> Result<Response, Failed> {
    let unknown = || Failed(StatusCode::NOT_FOUND, format!("no batch {id:?}"));
    let id = BatchId::new(&id).map_err(|_| unknown())?;
    let state = app.database.batches().get(&id).cloned().ok_or_else(unknown)?;
    let json = app.publisher.redacted(state)?.to_json();
    Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = env::var("REDIS_URL").unwrap_or_else(|_| "redis://localhost:6379".to_owned());
    let listen = env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let database = Database::default();
    let publisher = Publisher::builder(&url).source(database.clone()).connect().await?;
    publisher.resync().await?; // What a crash kept from being told; with this database there is nothing.

    let app = App { database, publisher: publisher.clone() };
    let routes = Router::new().route("/api/batches/{id}", routing::post(create).get(read)).with_state(app);
    let listener = tokio::net::TcpListener::bind(listen).await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, routes).with_graceful_shutdown(interrupted()).await?;
    for batch in publisher.close(Duration::from_secs(5)).await {
        eprintln!("{batch} was not told to the end; `resync` tells it at the next start");
    }
    Ok(())
}

async fn interrupted() {
    if let Err(error) = tokio::signal::ctrl_c().await {
        eprintln!("Ctrl-C is not heard: {error}");
        std::future::pending::<()>().await;
    }
}
