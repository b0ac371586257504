//! Errors as problem documents (RFC 9457). The `type` of each is stable; the `detail` names what is wrong and how to
//! mend it.

use serde::Serialize;
use wire::limits::RATE_PERIOD_SECS;

use crate::limit::Action;

/// Seconds after which a caller that asked too often is counted anew.
const RETRY_AFTER: &str = "10";
const _: () = assert!(RATE_PERIOD_SECS == 10, "it is the period of the limits");

/// One kind of error: the status and the last part of its `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No such route.
    NotFound,
    /// The route has other methods.
    MethodNotAllowed,
    /// The id in the path is no id.
    BadId,
    /// Nobody knows the batch, or it is not the caller's.
    UnknownBatch,
    /// No proof of who is asking.
    Unauthorized,
    /// A token or ticket that is not valid.
    InvalidToken,
    /// A page of an origin that is not allowed.
    OriginNotAllowed,
    /// More requests than one user or address may make.
    TooManyRequests,
    /// The URL has too many bytes.
    UrlTooLong,
    /// The headers have too many bytes.
    HeadersTooLarge,
    /// The body has too many bytes.
    TooLarge,
    /// There is no secret to sign tickets with.
    TicketsUnavailable,
    /// Nobody who could answer did: Redis, the origin, or the batch's object; and nothing is held.
    Unavailable,
    /// The photo worker did not answer.
    OriginUnreachable,
    /// A setting is missing or can't be used.
    Misconfigured,
    /// A fault of ours.
    Internal,
}

/// An error answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which kind.
    pub kind: Kind,
    /// What is wrong with this request, and how to mend it.
    pub detail: String,
    /// The methods that the route has, for 405.
    pub allow: Option<&'static str>,
}

impl Kind {
    /// Each of them.
    pub const ALL: [Self; 16] = [
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::BadId,
        Self::UnknownBatch,
        Self::Unauthorized,
        Self::InvalidToken,
        Self::OriginNotAllowed,
        Self::TooManyRequests,
        Self::UrlTooLong,
        Self::HeadersTooLarge,
        Self::TooLarge,
        Self::TicketsUnavailable,
        Self::Unavailable,
        Self::OriginUnreachable,
        Self::Misconfigured,
        Self::Internal,
    ];

    fn parts(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::NotFound => (404, "not-found", "Nothing at this address"),
            Self::MethodNotAllowed => (405, "method-not-allowed", "Method not allowed"),
            Self::BadId => (400, "bad-id", "Not an id"),
            Self::UnknownBatch => (404, "unknown-batch", "Unknown batch"),
            Self::Unauthorized => (401, "unauthorized", "Not allowed in"),
            Self::InvalidToken => (401, "invalid-token", "Not a valid token"),
            Self::OriginNotAllowed => (403, "origin-not-allowed", "Not from this page"),
            Self::TooManyRequests => (429, "too-many-requests", "Too many requests"),
            Self::UrlTooLong => (414, "url-too-long", "The URL is too long"),
            Self::HeadersTooLarge => (431, "headers-too-large", "The headers are too large"),
            Self::TooLarge => (413, "too-large", "Too large"),
            Self::TicketsUnavailable => (501, "tickets-unavailable", "No tickets here"),
            Self::Unavailable => (503, "unavailable", "Nothing answers"),
            Self::OriginUnreachable => (502, "origin-unreachable", "The photo worker does not answer"),
            Self::Misconfigured => (500, "misconfigured", "A setting can't be used"),
            Self::Internal => (500, "internal", "A fault of ours"),
        }
    }
}

impl Problem {
    /// A problem of this kind.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), allow: None }
    }

    /// Nobody knows the batch, or it is someone else's: the same words, so that existence stays private.
    pub fn unknown_batch(batch: &wire::BatchId) -> Self {
        Self::new(Kind::UnknownBatch, format!("No batch {batch} is known. Check the id; it may have been deleted."))
    }

    /// A page of an origin that is not allowed asks.
    pub fn other_origin() -> Self {
        let words = "Pages of this origin may not call here. Add it to ALLOWED_ORIGINS if they should.";
        Self::new(Kind::OriginNotAllowed, words)
    }

    /// This user, or this address, asks too often.
    pub fn too_many(action: Action) -> Self {
        let (limit, what) = match action {
            Action::Open => (action.limit(), "streams are opened"),
            Action::Read => (action.limit(), "reads and tickets are answered"),
        };
        let words =
            format!("At most {limit} {what} in {RATE_PERIOD_SECS} s. Wait, or use a stream instead of polling.");
        Self::new(Kind::TooManyRequests, words)
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.kind.parts().0
    }

    /// The headers that go with it.
    pub fn headers(&self) -> Vec<(&'static str, &'static str)> {
        let mut headers = Vec::from_iter(self.allow.map(|allow| ("allow", allow)));
        headers.extend(match self.kind {
            Kind::Unavailable => Some(("retry-after", "5")),
            Kind::TooManyRequests => Some(("retry-after", RETRY_AFTER)),
            // RFC 6750, section 3: without a token no error code is told.
            Kind::Unauthorized => Some(("www-authenticate", "Bearer")),
            Kind::InvalidToken => Some(("www-authenticate", "Bearer error=\"invalid_token\"")),
            _ => None,
        });
        headers
    }

    /// The body, `application/problem+json`.
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Body<'a> {
            r#type: String,
            title: &'a str,
            status: u16,
            detail: &'a str,
        }
        let (status, name, title) = self.kind.parts();
        let body = Body { r#type: format!("urn:batchcast:problem:{name}"), title, status, detail: &self.detail };
        serde_json::to_string(&body).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_has_a_stable_type_and_says_what_is_wrong() {
        let problem = Problem::unknown_batch(&"b-1".parse().unwrap());
        assert_eq!(
            problem.to_json(),
            concat!(
                r#"{"type":"urn:batchcast:problem:unknown-batch","title":"Unknown batch","status":404,"#,
                r#""detail":"No batch b-1 is known. Check the id; it may have been deleted."}"#
            )
        );
    }
}
