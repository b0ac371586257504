//! `GET /api/projects/{id}/batches`: a project's batches, the newest first, a page at a time.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use serde::{Deserialize, Serialize};
use wire::BatchId;

use super::Id;
use crate::{
    access::Caller,
    db::{NoPlace, Place, Summary},
    problem::AppError,
    service::App,
};

/// Batches of one page, where nothing less is asked for.
const MOST_LISTED: u32 = 100;

/// What may stand in the address.
#[derive(Default, Deserialize)]
pub(super) struct Asked {
    limit: Option<String>,
    before: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page {
    project_id: BatchId,
    batches: Vec<Summary>,
    /// Where the next page is, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_url: Option<String>,
}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Id(project): Id<BatchId>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<Page>, AppError> {
    let Query(asked) = asked.map_err(|rejection| AppError::BadRequest(rejection.body_text()))?;
    let (limit, place) = (limit(asked.limit.as_deref())?, place(asked.before.as_deref())?);
    // One more than is shown tells that there is a next page.
    let batches = app.db.batches_of(project.as_str(), caller.visible(), place.as_ref(), limit + 1).await?;
    Ok(Json(page(project, batches, limit)))
}

fn page(project_id: BatchId, mut batches: Vec<Summary>, limit: u32) -> Page {
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let is_last = batches.len() <= most;
    batches.truncate(most);
    let last = batches.last().filter(|_| !is_last);
    let address = |last| format!("/api/projects/{project_id}/batches?limit={limit}&before={}", Place::behind(last));
    Page { next_url: last.map(address), project_id, batches }
}

fn limit(text: Option<&str>) -> Result<u32, AppError> {
    let Some(text) = text else { return Ok(MOST_LISTED) };
    let limit = text.parse().ok().filter(|limit| (1..=MOST_LISTED).contains(limit));
    limit.ok_or_else(|| AppError::BadRequest(format!("limit is a whole number from 1 to {MOST_LISTED}.")))
}

fn place(text: Option<&str>) -> Result<Option<Place>, AppError> {
    let words = "before is what stands in a page's nextUrl, as it stands there.";
    text.map(|text| text.parse().map_err(|NoPlace| AppError::BadRequest(words.into()))).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_whole_number_within_its_bounds() {
        assert_eq!((limit(None).unwrap(), limit(Some("1")).unwrap(), limit(Some("100")).unwrap()), (100, 1, 100));
        for text in ["", "0", "101", "-1", "1.5", "many", "4294967297"] {
            assert!(matches!(limit(Some(text)), Err(AppError::BadRequest(_))), "{text}");
        }
    }
}
