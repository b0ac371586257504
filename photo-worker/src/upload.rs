//! `POST /api/photos/upload`: files come in, streamed to disk.
//!
//! The form's fields may come in any order. With `batchId` and `photoId` its one file becomes that declared photo's;
//! without them the files become a batch of their own.

mod slots;

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{
        Multipart, State,
        multipart::{Field, MultipartError, MultipartRejection},
    },
    http::{HeaderMap, StatusCode, header::CONTENT_LENGTH},
    response::{IntoResponse, Response},
};
use wire::{
    BatchId, PhotoId,
    limits::{MAX_UPLOAD_BYTES, MAX_UPLOAD_FILES},
};

use crate::{
    access::Caller,
    db::{NewPhoto, Received, Stepped},
    files::Whole,
    metrics::count,
    names::PhotoIds,
    problem::AppError,
    routes::{BatchAnswer, check_change, check_name},
    service::{App, now_ms},
};

pub(crate) use slots::{MAX_UPLOADS_PER_USER, Slots};

/// How long nothing may come: of a connection that is alive, something does. Less than the minute after which the live
/// page gives up itself, so that it hears why.
pub(crate) const STANDSTILL: Duration = Duration::from_secs(30);

/// Bytes of a text field: each is an id.
const MAX_TEXT_BYTES: usize = 256;

/// The project of files that name none.
const DEFAULT_PROJECT: &str = "default";

/// A form, with its files on disk under names of no meaning.
#[derive(Default)]
struct Form {
    project: Option<String>,
    batch: Option<String>,
    photo: Option<String>,
    files: Vec<(String, Whole)>,
}

pub(crate) async fn upload(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    form: Result<Multipart, MultipartRejection>,
) -> Result<Response, AppError> {
    if !caller.may_upload() {
        return Err(AppError::NoUser);
    }
    check_length(&headers)?;
    let form = form.map_err(|rejection| {
        AppError::BadRequest(format!("An upload is multipart/form-data with a field file: {}", rejection.body_text()))
    })?;
    let _slot = app.uploads.take(caller.user()).await?;
    let form = read(&app, form).await?;
    match (&form.batch, &form.photo) {
        (Some(batch), Some(photo)) => {
            let batch = BatchId::new(batch).map_err(|error| AppError::BadId { what: "batchId", error })?;
            let photo = PhotoId::new(photo).map_err(|error| AppError::BadId { what: "photoId", error })?;
            check_change(&app, &caller, &batch).await?;
            declared(&app, batch, photo, form.files).await
        }
        (None, None) => new_batch(&app, form, caller.owner()?).await,
        _ => Err(AppError::BadRequest("batchId and photoId come together, as POST /api/batches gave them.".into())),
    }
}

/// An upload that says itself that it is too large: nothing of it is read.
fn check_length(headers: &HeaderMap) -> Result<(), AppError> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > MAX_UPLOAD_BYTES) { Err(too_large()) } else { Ok(()) }
}

fn too_large() -> AppError {
    AppError::TooLarge { what: "The upload".to_owned(), limit: MAX_UPLOAD_BYTES }
}

/// The whole form is read before anything is judged: an answer in mid-upload reaches few clients.
async fn read(app: &App, mut multipart: Multipart) -> Result<Form, AppError> {
    let mut form = Form::default();
    while let Some(mut field) = next(multipart.next_field()).await? {
        match field.name() {
            Some("projectId") => form.project = Some(text(&mut field).await?),
            Some("batchId") => form.batch = Some(text(&mut field).await?),
            Some("photoId") => form.photo = Some(text(&mut field).await?),
            Some("file") if form.files.len() == MAX_UPLOAD_FILES => {
                let words = format!("An upload has at most {MAX_UPLOAD_FILES} files: POST /api/batches declares more.");
                return Err(AppError::BadRequest(words));
            }
            Some("file") => form.files.push(file(app, &mut field).await?),
            // Unknown fields are ignored, piece by piece: a long one does not stand still.
            _ => while next(field.chunk()).await?.is_some() {},
        }
    }
    if form.files.is_empty() {
        return Err(AppError::NoFiles("The form has no field file."));
    }
    Ok(form)
}

/// What comes next of the body, unless nothing does.
async fn next<T>(coming: impl Future<Output = Result<Option<T>, MultipartError>>) -> Result<Option<T>, AppError> {
    let came = tokio::time::timeout(STANDSTILL, coming).await.map_err(|_| AppError::TooSlow)?;
    came.map_err(|error| broken(&error))
}

async fn text(field: &mut Field<'_>) -> Result<String, AppError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = next(field.chunk()).await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_TEXT_BYTES {
            return Err(AppError::BadRequest(format!("A text field has at most {MAX_TEXT_BYTES} bytes.")));
        }
    }
    String::from_utf8(bytes).map_err(|_| AppError::BadRequest("A text field is UTF-8.".into()))
}

async fn file(app: &App, field: &mut Field<'_>) -> Result<(String, Whole), AppError> {
    let name = field.file_name().unwrap_or("photo").to_owned();
    check_name(&name)?;
    let mut incoming = app.files.receive().await?;
    while let Some(chunk) = next(field.chunk()).await? {
        if !incoming.write(&chunk).await? {
            return Err(AppError::file_too_large(&name));
        }
    }
    Ok((name, incoming.whole().await?))
}

fn broken(error: &MultipartError) -> AppError {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return too_large();
    }
    AppError::BadRequest(format!("The form can't be read: {}", error.body_text()))
}

/// A file for a declared photo. Sent twice, the second changes nothing.
async fn declared(
    app: &App,
    batch: BatchId,
    photo: PhotoId,
    files: Vec<(String, Whole)>,
) -> Result<Response, AppError> {
    let Ok([(_, file)]) = <[_; 1]>::try_from(files) else {
        return Err(AppError::BadRequest("A declared photo has exactly one file.".into()));
    };
    let mut received = app.db.awaits(&batch, &photo).await?;
    if received == Received::Accepted {
        // The file is in its place before the row says so. Two uploads at the same time leave either file, whole.
        file.keep(&app.files.original(&photo)).await?;
        received = app.db.receive(&batch, &photo, now_ms()).await?;
    }
    match received {
        Received::Accepted => {
            count(&app.counters.uploads);
            app.queue.push(photo.clone());
        }
        // Perhaps its row says so because of a commit whose answer was lost: then the next look finds it.
        Received::AlreadyHere => {}
        Received::TooLate => return Err(AppError::TooLate(photo)),
        Received::UnknownBatch => return Err(AppError::UnknownBatch(batch)),
        Received::UnknownPhoto => return Err(AppError::UnknownPhoto(photo)),
        Received::Ended(status) => return Err(AppError::Ended { batch, status }),
    }
    Ok((StatusCode::ACCEPTED, Json(BatchAnswer::new(batch, vec![photo]))).into_response())
}

/// A batch of the files in hand.
async fn new_batch(app: &App, form: Form, owner: Option<&str>) -> Result<Response, AppError> {
    let project = form.project.as_deref().unwrap_or(DEFAULT_PROJECT);
    BatchId::new(project).map_err(|error| AppError::BadId { what: "projectId", error })?;
    let (mut photos, mut ids) = (Vec::new(), PhotoIds::new());
    for (name, file) in form.files {
        let id = ids.give().map_err(|error| AppError::Internal(error.into()))?;
        file.keep(&app.files.original(&id)).await?;
        count(&app.counters.uploads);
        photos.push(NewPhoto { id, name, received: true });
    }
    let now = now_ms();
    let batch = app.db.create(project, owner, &photos, now, app.expires_at(now)).await?;
    app.announce(&Stepped { batch: batch.clone(), ended: false });
    let ids: Vec<PhotoId> = photos.into_iter().map(|photo| photo.id).collect();
    ids.iter().for_each(|id| app.queue.push(id.clone()));
    Ok((StatusCode::CREATED, Json(BatchAnswer::new(batch, ids))).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_may_come_slowly_but_not_stand_still() {
        let slow = async {
            tokio::time::sleep(STANDSTILL - Duration::from_millis(1)).await;
            Ok(Some(()))
        };
        assert!(matches!(next(slow).await, Ok(Some(()))));
        assert!(matches!(next::<()>(std::future::pending()).await, Err(AppError::TooSlow)));
    }
}
