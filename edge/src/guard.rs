//! Who may go on: what `access`, `cors`, `limit` and `size` decide, asked of a real request.

use std::cell::RefCell;

use worker::{Headers, Request};

use crate::{
    access::{self, Caller, Credential, Shown, USER_HEADER},
    clock::now,
    cors,
    entry::{Asked, header},
    limit::{Action, Counts, Key},
    log,
    problem::Problem,
    signature, size,
};

thread_local! {
    /// What is counted where the runtime does not.
    static COUNTS: RefCell<Counts> = RefCell::default();
}

/// Checks the size of a request's URL and headers.
pub(crate) fn check_size(request: &Request) -> Result<(), Problem> {
    size::check(request.inner().url().len(), bytes(request.headers()))
}

fn bytes(headers: &Headers) -> usize {
    headers.entries().map(|(name, value)| name.len() + value.len()).sum()
}

/// The other origin whose page asks, if it may.
pub(crate) fn check_origin(request: &Request, allowed: &[String]) -> Result<Option<String>, Problem> {
    let own = request.url().map(|url| url.origin().ascii_serialization()).unwrap_or_default();
    cors::check(header(request, "origin").as_deref(), &own, allowed)
}

/// Whether what asks is an image or the like of another site: see [`cors::is_embedded`].
pub(crate) fn check_embedding(request: &Request) -> Result<(), Problem> {
    let [site, mode] = ["sec-fetch-site", "sec-fetch-mode"].map(|name| header(request, name));
    if cors::is_embedded(site.as_deref(), mode.as_deref()) { Err(Problem::other_origin()) } else { Ok(()) }
}

/// Lets in whoever proves who they are, as often as they may.
pub(crate) async fn admit(asked: &Asked<'_>, action: Action) -> Result<Caller, Problem> {
    let caller = identify(asked, action).await;
    // Strangers' attempts are counted, too, so that whoever invents tokens is soon told to wait.
    count(asked, action, caller.as_ref().ok()).await?;
    caller
}

async fn identify(asked: &Asked<'_>, action: Action) -> Result<Caller, Problem> {
    let Asked { request, settings, context, .. } = *asked;
    let [authorization, cookie, user] = ["authorization", "cookie", USER_HEADER].map(|name| header(request, name));
    let url = request.inner().url();
    let shown = Shown {
        authorization: authorization.as_deref(),
        cookie: cookie.as_deref(),
        user: user.as_deref(),
        query: url.split_once('?').map(|(_, query)| query),
        takes_ticket: action == Action::Open,
    };
    match access::credential(settings, &shown)? {
        Credential::Trusted(caller) => Ok(caller),
        Credential::Token { token, kind, otherwise } => {
            let admitted = match signature::is_signed(settings, context, kind, &token).await {
                Ok(is_signed) => access::admit(settings, *token, kind, is_signed, now()),
                Err(problem) => Err(problem),
            };
            admitted.or_else(|problem| otherwise.ok_or(problem))
        }
    }
}

async fn count(asked: &Asked<'_>, action: Action, caller: Option<&Caller>) -> Result<(), Problem> {
    let address = header(asked.request, &asked.settings.address_header);
    let Some(key) = Key::of(caller, address.as_deref()) else { return Ok(()) };
    let within = match asked.env.rate_limiter(action.binding()) {
        Ok(limiter) => limiter.limit(key.into_text()).await.map_or_else(
            |error| {
                log::warn(&format!("the rate limit {} does not answer: {error}", action.binding()));
                true
            },
            |outcome| outcome.success,
        ),
        Err(_) => COUNTS.with_borrow_mut(|counts| counts.count(action, key, now())),
    };
    if within {
        return Ok(());
    }
    log::limited(action);
    Err(Problem::too_many(action))
}
