//! Every error of the service, and the problem document (RFC 9457) that each becomes, in one match.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use wire::{BatchId, BatchStatus, IdError, PhotoId, StateError, limits::MAX_FILE_BYTES};

use crate::{
    access::Refusal,
    db::DbError,
    issuer,
    upload::{MAX_UPLOADS_PER_USER, STANDSTILL},
};

/// When it makes sense to ask again after [`AppError::Unavailable`] and [`AppError::Busy`].
const RETRY_AFTER_SECS: &str = "5";
/// And after [`AppError::TooManyUploads`]: as at the edge.
const RETRY_UPLOAD_AFTER_SECS: &str = "10";

/// Why a request is not answered as asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppError {
    #[error("There is no batch {0}.")]
    UnknownBatch(BatchId),
    #[error("There is no photo {0} here.")]
    UnknownPhoto(PhotoId),
    #[error("Photo {0} has no thumbnail: it is not analysed yet, or it failed.")]
    NoThumbnail(PhotoId),
    #[error("{what}: {error}.")]
    BadId { what: &'static str, error: IdError },
    #[error("{0}")]
    BadRequest(String),
    #[error("{0}")]
    NoFiles(&'static str),
    #[error("{what} is larger than {} MiB.", limit / (1024 * 1024))]
    TooLarge { what: String, limit: u64 },
    #[error(
        "Batch {batch} has ended ({status:?}): it takes no more photos. POST /api/batches/{batch}/retry re-opens it."
    )]
    Ended { batch: BatchId, status: BatchStatus },
    #[error("Batch {0} has not ended: wait, or cancel it first.")]
    Open(BatchId),
    #[error("All photos of batch {0} are done: there is nothing to run again.")]
    NothingToRetry(BatchId),
    #[error("Photo {0} was given up because it did not come in time. When the batch has ended, retry it.")]
    TooLate(PhotoId),
    #[error("{0}")]
    Unauthorized(#[from] Refusal),
    #[error("The token names no user (sub), so a batch made with it would have no owner: use a user's token.")]
    NoUser,
    #[error("The keys that check tokens (AUTH_JWKS_URL) can't be had just now: try again.")]
    Unavailable,
    #[error("More uploads are under way than are taken at the same time: try again.")]
    Busy,
    #[error("At most {MAX_UPLOADS_PER_USER} uploads of one user are taken at the same time: wait until one has ended.")]
    TooManyUploads,
    #[error("Nothing more of the upload came for {} s: send it again.", STANDSTILL.as_secs())]
    TooSlow,
    #[error("There is nothing at this address.")]
    NoRoute,
    #[error("This address does not take that method.")]
    Method,
    #[error("The service could not do that just now; the reason is in its log.")]
    Internal(#[source] anyhow::Error),
}

impl AppError {
    /// Status, last part of `type`, and title of the problem document. Types are stable: clients switch on them.
    fn describe(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::UnknownBatch(_) => (StatusCode::NOT_FOUND, "unknown-batch", "Unknown batch"),
            Self::UnknownPhoto(_) => (StatusCode::NOT_FOUND, "unknown-photo", "Unknown photo"),
            Self::NoThumbnail(_) => (StatusCode::NOT_FOUND, "no-thumbnail", "No thumbnail"),
            Self::BadId { .. } => (StatusCode::BAD_REQUEST, "bad-id", "Not an id"),
            Self::BadRequest(_) => (StatusCode::BAD_REQUEST, "bad-request", "Not understood"),
            Self::NoFiles(_) => (StatusCode::BAD_REQUEST, "no-files", "No photos"),
            Self::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Too large"),
            Self::Ended { .. } => (StatusCode::CONFLICT, "batch-ended", "The batch has ended"),
            Self::Open(_) => (StatusCode::CONFLICT, "batch-open", "The batch has not ended"),
            Self::NothingToRetry(_) => (StatusCode::CONFLICT, "nothing-to-retry", "Nothing to run again"),
            Self::TooLate(_) => (StatusCode::CONFLICT, "photo-too-late", "The photo came too late"),
            Self::Unauthorized(refusal) if refusal.is_of_a_token() => {
                (StatusCode::UNAUTHORIZED, "invalid-token", "Not a valid token")
            }
            Self::Unauthorized(_) => (StatusCode::UNAUTHORIZED, "unauthorized", "Not allowed in"),
            Self::NoUser => (StatusCode::FORBIDDEN, "forbidden", "Not allowed"),
            Self::Unavailable | Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Nothing answers"),
            Self::TooManyUploads => (StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests"),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "too-slow", "Too slow"),
            Self::NoRoute => (StatusCode::NOT_FOUND, "not-found", "Nothing at this address"),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed"),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "A fault of ours"),
        }
    }

    pub(crate) fn file_too_large(name: &str) -> Self {
        Self::TooLarge { what: format!("The file {name:?}"), limit: MAX_FILE_BYTES }
    }
}

#[derive(Serialize)]
struct Problem {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: String,
}

impl IntoResponse for AppError {
    fn into_response(self) -> Response {
        let (status, kind, title) = self.describe();
        if let Self::Internal(error) = &self {
            tracing::error!(error = format!("{error:#}"), "a request failed");
        }
        let problem = Problem {
            r#type: format!("urn:batchcast:problem:{kind}"),
            title,
            status: status.as_u16(),
            detail: self.to_string(),
        };
        let mut response = (status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        let retry_after = |secs| (header::RETRY_AFTER, HeaderValue::from_static(secs));
        headers.extend(match &self {
            Self::Unauthorized(refusal) => Some((header::WWW_AUTHENTICATE, refusal.challenge())),
            Self::Unavailable | Self::Busy => Some(retry_after(RETRY_AFTER_SECS)),
            Self::TooManyUploads => Some(retry_after(RETRY_UPLOAD_AFTER_SECS)),
            _ => None,
        });
        response
    }
}

impl From<DbError> for AppError {
    fn from(error: DbError) -> Self {
        Self::Internal(error.into())
    }
}

impl From<StateError> for AppError {
    fn from(error: StateError) -> Self {
        Self::Internal(error.into())
    }
}

impl From<issuer::Unavailable> for AppError {
    fn from(_: issuer::Unavailable) -> Self {
        Self::Unavailable
    }
}

impl From<std::io::Error> for AppError {
    fn from(error: std::io::Error) -> Self {
        Self::Internal(error.into())
    }
}
