//! `POST /api/batches`: a batch is declared, its total fixed.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use wire::{
    BatchId,
    limits::{MAX_DECLARATION_BYTES, MAX_FILE_BYTES, MAX_NAME_BYTES, MAX_PHOTOS, MAX_STATE_BYTES},
};

use super::BatchAnswer;
use crate::{
    access::Caller,
    db::{NewPhoto, Stepped},
    names::PhotoIds,
    problem::AppError,
    service::{App, now_ms},
};

/// Bytes of an analysed photo as JSON, without its name.
const FINDINGS_BYTES: usize = 260;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Declaration {
    project_id: String,
    photos: Vec<DeclaredPhoto>,
}

#[derive(Deserialize)]
struct DeclaredPhoto {
    name: String,
    #[serde(default)]
    size: u64,
}

pub(super) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, AppError> {
    let owner = caller.owner()?;
    let body = body.map_err(|rejection| unread(&rejection))?;
    let declaration: Declaration = serde_json::from_slice(&body).map_err(|error| {
        AppError::BadRequest(format!(
            r#"The body reads {{"projectId": "…", "photos": [{{"name": "…", "size": BYTES}}]}}: {error}."#
        ))
    })?;
    let photos = check(&declaration)?;
    let now = now_ms();
    let batch = app.db.create(&declaration.project_id, owner, &photos, now, app.expires_at(now)).await?;
    app.announce(&Stepped { batch: batch.clone(), ended: false });
    let ids = photos.into_iter().map(|photo| photo.id).collect();
    Ok((StatusCode::CREATED, Json(BatchAnswer::new(batch, ids))).into_response())
}

fn unread(rejection: &BytesRejection) -> AppError {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return AppError::TooLarge { what: "The declaration".to_owned(), limit: MAX_DECLARATION_BYTES as u64 };
    }
    AppError::BadRequest(rejection.body_text())
}

fn check(declaration: &Declaration) -> Result<Vec<NewPhoto>, AppError> {
    // Project ids have the alphabet of all ids, because they stand in addresses too.
    BatchId::new(&declaration.project_id).map_err(|error| AppError::BadId { what: "projectId", error })?;
    if declaration.photos.is_empty() {
        return Err(AppError::NoFiles("A batch has at least one photo."));
    }
    if declaration.photos.len() > MAX_PHOTOS {
        return Err(AppError::BadRequest(format!("A batch has at most {MAX_PHOTOS} photos.")));
    }
    if state_bytes(&declaration.photos) > MAX_STATE_BYTES {
        return Err(AppError::BadRequest("The names of so many photos are too long together: shorten them.".into()));
    }
    let mut ids = PhotoIds::new();
    declaration.photos.iter().map(|declared| new_photo(declared, &mut ids)).collect()
}

/// What the batch's state will take once all photos are analysed. Refused here rather than when it can't be published.
fn state_bytes(photos: &[DeclaredPhoto]) -> usize {
    // Escaping makes a byte six at most; the quotes are two.
    let name = |name: &str| serde_json::to_string(name).map_or(6 * name.len() + 2, |json| json.len());
    photos.iter().map(|photo| FINDINGS_BYTES + name(&photo.name)).sum()
}

fn new_photo(declared: &DeclaredPhoto, ids: &mut PhotoIds) -> Result<NewPhoto, AppError> {
    // First the name, which the other refusal repeats.
    check_name(&declared.name)?;
    if declared.size > MAX_FILE_BYTES {
        return Err(AppError::file_too_large(&declared.name));
    }
    let id = ids.give().map_err(|error| AppError::Internal(error.into()))?;
    Ok(NewPhoto { id, name: declared.name.clone(), received: false })
}

/// A name is for people only; it is no path and is bounded so that a photo's result stays small.
pub(crate) fn check_name(name: &str) -> Result<(), AppError> {
    if name.len() > MAX_NAME_BYTES {
        return Err(AppError::BadRequest(format!("A photo's name has at most {MAX_NAME_BYTES} bytes.")));
    }
    Ok(())
}
