//! The photo worker, asked when Redis does not know a batch or does not answer.

use wire::{BatchId, BatchState, Stored, limits::MAX_REPLY_BYTES, state::is_of_another_form};

use crate::{request, settings::Settings};

/// The header in which the origin names a batch's owner, which is not part of the state.
const OWNER_HEADER: &str = "batchcast-owner";

/// The owner as it is, of the header's percent-encoded UTF-8: a header itself carries ASCII only.
fn plain(header: &str) -> Result<String, String> {
    let decoded = js_sys::decode_uri_component(header).ok().and_then(|owner| owner.as_string());
    decoded.ok_or_else(|| format!("the origin's header {OWNER_HEADER} is no percent-encoded text"))
}

/// A client of the origin.
pub(crate) struct Origin {
    url: String,
    token: Option<String>,
}

impl Origin {
    /// `None` where no `ORIGIN_URL` is set.
    pub(crate) fn new(settings: &Settings) -> Option<Self> {
        Some(Self { url: settings.origin_url.clone()?, token: settings.origin_token.clone() })
    }

    /// The batch as the application's database has it; `None`: it does not know the batch. An error is in words.
    pub(crate) async fn batch(&self, batch: &BatchId) -> Result<Option<Stored>, String> {
        let url = format!("{}/api/batches/{batch}", self.url);
        let request = request::request(&url, self.token.as_deref(), "application/json", None)
            .map_err(|error| format!("ORIGIN_URL can't be asked: {error}"))?;
        let answer = request::send(request, MAX_REPLY_BYTES).await;
        let answer = answer.map_err(|failure| format!("the origin did not answer: {failure}"))?;
        match answer.status {
            200 => {}
            404 => return Ok(None),
            401 | 403 => return Err(format!("the origin refuses ORIGIN_TOKEN ({})", answer.status)),
            status => return Err(format!("the origin answered {status}")),
        }
        let state = BatchState::from_json(&answer.body).map_err(|error| format!("the origin's answer: {error}"))?;
        if state.head().batch_id != *batch {
            return Err("the origin answered with another batch".to_owned());
        }
        let owner = answer.headers.get(OWNER_HEADER).ok().flatten().map(|owner| plain(&owner)).transpose()?;
        let mut stored = Stored::new(state, owner);
        stored.unreadable = usize::from(is_of_another_form(&answer.body));
        Ok(Some(stored))
    }
}
