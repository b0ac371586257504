//! Who is asking, and what they may see. The rules are plain; the signature of a token is checked between
//! [`credential`] and [`admit`] by whoever can wait for it.
//!
//! A token stands in `Authorization: Bearer` or in a cookie, never in a URL; a ticket stands in a URL and opens one
//! batch's stream. With `TRUST_USER_HEADER=true`, in development, who shows nothing is let in too.

use hub::Millis;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use wire::{
    BatchId,
    limits::MAX_OWNER_BYTES,
    token::{Claims, Expected, Grant, Kind as TokenKind, TokenError, Unverified},
};

use crate::{
    problem::{Kind, Problem},
    settings::Settings,
};

/// The header that names the user in development.
pub const USER_HEADER: &str = "x-user-id";

/// That a batch is not known, or not the caller's, is said at a multiple of so many milliseconds after the question:
/// how long the answer took does not tell which of the two it was, nor whether somebody watches it.
const DENIAL_STEP: Millis = 250;

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Caller {
    /// In development: the user who was named, or someone who sees everything.
    Developer(Option<String>),
    /// Whoever holds a valid token or ticket.
    Holder {
        /// What it gives a right to.
        grant: Grant,
        /// When the streams end that it opens.
        until: Millis,
    },
}

impl Caller {
    /// Whether a batch with this owner may be shown. To developers, a batch without an owner is everybody's.
    pub fn may_see(&self, batch: &BatchId, owner: Option<&str>) -> bool {
        match self {
            Self::Developer(Some(user)) => owner.is_none_or(|owner| user == owner),
            Self::Developer(None) => true,
            Self::Holder { grant, .. } => grant.may_see(batch, owner),
        }
    }

    /// The user, where there is one: opens, reads and streams are counted by user.
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Developer(user) => user.as_deref(),
            Self::Holder { grant, .. } => grant.subject.as_deref(),
        }
    }

    /// What a ticket for this batch says. It is as `expected`, like the token that it is made of.
    ///
    /// # Errors
    /// 401: in development nobody has a token that a ticket could be made of.
    pub fn ticket(&self, batch: &BatchId, expected: &Expected, now: Millis) -> Result<Claims, Problem> {
        let Self::Holder { grant, until } = self else {
            return Err(Problem::new(
                Kind::Unauthorized,
                "A ticket is made of a token: send Authorization: Bearer TOKEN.",
            ));
        };
        let mut token = Claims::new(grant.clone(), *until);
        token.issuer.clone_from(&expected.issuer);
        token.audience.extend(expected.audience.clone());
        Ok(token.ticket(batch, now))
    }

    /// When the streams end that were opened.
    pub fn until(&self) -> Option<Millis> {
        match self {
            Self::Developer(_) => None,
            Self::Holder { until, .. } => Some(*until),
        }
    }
}

/// What a request shows of who is asking.
#[derive(Default)]
pub struct Shown<'a> {
    /// `Authorization`.
    pub authorization: Option<&'a str>,
    /// `Cookie`.
    pub cookie: Option<&'a str>,
    /// `x-user-id`.
    pub user: Option<&'a str>,
    /// The URL's query.
    pub query: Option<&'a str>,
    /// Whether a ticket in the query will do.
    pub takes_ticket: bool,
}

/// What a request is let in by.
pub enum Credential {
    /// Nothing is to be checked: whoever asks is believed.
    Trusted(Caller),
    /// The signature of this is to be checked.
    Token {
        /// The token.
        token: Box<Unverified>,
        /// What it must be.
        kind: TokenKind,
        /// Who is let in where it is not valid: in development, a cookie may be of another run.
        otherwise: Option<Caller>,
    },
}

/// What a request is let in by, as far as that can be told without checking a signature. The first that is there
/// counts: the header, the ticket, the cookie, the development switch.
///
/// # Errors
/// 401: nothing is shown, or no token.
pub fn credential(settings: &Settings, shown: &Shown<'_>) -> Result<Credential, Problem> {
    let token = |text: &str, kind, otherwise| match (Unverified::parse(text), otherwise) {
        (Ok(token), otherwise) => Ok(Credential::Token { token: Box::new(token), kind, otherwise }),
        (Err(_), Some(caller)) => Ok(Credential::Trusted(caller)),
        (Err(error), None) => Err(refused(kind, error)),
    };
    if let Some(authorization) = shown.authorization {
        let text = bearer(authorization).ok_or_else(|| {
            Problem::new(Kind::Unauthorized, "Authorization is of another kind; send Authorization: Bearer TOKEN.")
        })?;
        return token(text, TokenKind::Access, None);
    }
    if let Some(ticket) = shown.query.filter(|_| shown.takes_ticket).and_then(|query| parameter(query, "ticket")) {
        return token(ticket, TokenKind::Ticket, None);
    }
    let developer = settings.trust_user_header.then(|| Caller::Developer(named(shown.user)));
    if let Some(text) = shown.cookie.and_then(|header| cookie(header, &settings.cookie)) {
        return token(text, TokenKind::Access, developer);
    }
    developer.map(Credential::Trusted).ok_or_else(|| nothing_shown(settings, shown.query))
}

/// Lets in the holder of a token. `is_signed`: its signature was checked and is good.
///
/// # Errors
/// 401, in words that say what is wrong with it.
pub fn admit(
    settings: &Settings,
    token: Unverified,
    kind: TokenKind,
    is_signed: bool,
    now: Millis,
) -> Result<Caller, Problem> {
    let claims = token.admit(is_signed, kind, &settings.expected, now).map_err(|error| refused(kind, error))?;
    let until = claims.streams_until();
    Ok(Caller::Holder { grant: claims.grant, until })
}

/// The answer to whoever shows a token or ticket that is not valid.
pub fn refused(kind: TokenKind, error: TokenError) -> Problem {
    let what = match kind {
        TokenKind::Access => "token",
        TokenKind::Ticket => "ticket",
    };
    Problem::new(Kind::InvalidToken, format!("The {what} is not accepted: {error}."))
}

fn nothing_shown(settings: &Settings, query: Option<&str>) -> Problem {
    let in_url = ["token", "access_token", "authorization"].iter().any(|name| {
        let given = query.and_then(|query| parameter(query, name));
        given.is_some()
    });
    let words = if in_url {
        "A token in a URL is not accepted: it would end up in logs. Get a ticket by POST /api/batches/ID/ticket."
    } else if settings.has_keys() {
        "Send a token as Authorization: Bearer TOKEN or in the cookie, or a ticket as ?ticket=."
    } else {
        "This deployment has no way to tell who is asking. Set AUTH_SECRET or AUTH_JWKS_URL; for local development \
         TRUST_USER_HEADER=true."
    };
    Problem::new(Kind::Unauthorized, words)
}

/// The token in `Authorization` (RFC 6750, section 2.1; the scheme's case does not matter).
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// One parameter of a query. Tokens need no percent-encoding, so none is undone.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// One cookie (RFC 6265, section 4.2). An empty one was taken back. Several headers come joined by commas, which stand in
/// no cookie. Only what the RFC calls white space is cut off: a browser takes a name with any other in front for another
/// name, to which the rules of `__Host-` do not apply.
fn cookie<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    let pairs = header.split([';', ',']).map(|pair| pair.trim_matches([' ', '\t']));
    let mut values = pairs.filter_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    values.find(|value| !value.is_empty())
}

fn named(user: Option<&str>) -> Option<String> {
    user.filter(|user| (1..=MAX_OWNER_BYTES).contains(&user.len())).map(str::to_owned)
}

/// The answer to who asked for a ticket. `expires`, in milliseconds since the Unix epoch: until when it opens streams.
pub fn ticket_answer(batch: &BatchId, ticket: &str, expires: Millis) -> String {
    let stream_url = format!("/api/batches/{batch}/stream?ticket={ticket}");
    serde_json::json!({ "ticket": ticket, "streamUrl": stream_url, "expiresAt": expires }).to_string()
}

/// How long to wait before a batch is denied, when finding out took so long.
pub fn denial_wait(took: Millis) -> Millis {
    DENIAL_STEP - took % DENIAL_STEP
}

/// Checks the token of the metrics route, given as `Authorization: Bearer`.
///
/// # Errors
/// 401, also where no token is set: figures are never public by accident.
pub fn admit_metrics(settings: &Settings, authorization: Option<&str>) -> Result<(), Problem> {
    let Some(expected) = &settings.metrics_token else {
        return Err(Problem::new(Kind::Unauthorized, "Metrics are closed. Set METRICS_TOKEN to open them."));
    };
    let given = authorization.and_then(bearer).unwrap_or_default();
    if bool::from(given.as_bytes().ct_eq(expected.as_bytes())) {
        return Ok(());
    }
    Err(Problem::new(Kind::Unauthorized, "Send the METRICS_TOKEN as Authorization: Bearer TOKEN."))
}

#[cfg(test)]
mod tests {
    use wire::token::compact;

    use super::*;
    use crate::settings::tests::settings;

    const NOW: Millis = 1_795_389_030_000;
    const SECRET: (&str, &str) = ("AUTH_SECRET", "0123456789abcdef0123456789abcdef");

    fn claims() -> Claims {
        Claims::new(Grant::user("anna"), NOW + 1_000)
    }

    fn token() -> String {
        compact(&claims().to_be_signed(), b"signature")
    }

    fn ticket() -> String {
        compact(&claims().ticket(&"b-1".parse().unwrap(), NOW).to_be_signed(), b"signature")
    }

    /// What comes of this, its signature taken for good; `Err`: the words.
    fn outcome(set: &[(&str, &str)], shown: &Shown<'_>) -> Result<Caller, String> {
        let settings = settings(set);
        let admitted = match credential(&settings, shown) {
            Ok(Credential::Trusted(caller)) => Ok(caller),
            Ok(Credential::Token { token, kind, .. }) => admit(&settings, *token, kind, true, NOW),
            Err(problem) => Err(problem),
        };
        admitted.map_err(|problem| {
            assert_eq!(problem.status(), 401);
            problem.detail
        })
    }

    #[test]
    fn a_token_is_taken_from_the_header_or_the_cookie() {
        let (header, cookies) = (format!("bearer {}", token()), format!("a=b; __Host-batchcast={}; c=d", token()));
        for shown in [
            Shown { authorization: Some(&header), ..Shown::default() },
            Shown { cookie: Some(&cookies), ..Shown::default() },
        ] {
            let caller = outcome(&[SECRET], &shown).unwrap();
            assert_eq!((caller.user(), caller.until()), (Some("anna"), Some(NOW + 1_000)));
        }
        let shown = Shown { cookie: Some(&cookies), ..Shown::default() };
        assert!(outcome(&[SECRET, ("AUTH_COOKIE", "session")], &shown).is_err());
        for (cookies, taken) in [
            (format!("__Host-batchcast=; a=b, __Host-batchcast={}", token()), true),
            (format!("\u{2000}__Host-batchcast={}", token()), false),
            (format!("\u{a0}__Host-batchcast={}", token()), false),
        ] {
            let shown = Shown { cookie: Some(&cookies), ..Shown::default() };
            assert_eq!(outcome(&[SECRET], &shown).is_ok(), taken, "{cookies}");
        }
    }

    #[test]
    fn a_url_takes_a_ticket_and_no_token() {
        let (with_ticket, with_token) = (format!("a=b&ticket={}", ticket()), format!("ticket={}", token()));
        let in_query = |query| Shown { query: Some(query), takes_ticket: true, ..Shown::default() };
        assert!(outcome(&[SECRET], &in_query(&with_ticket)).is_ok());
        assert!(outcome(&[SECRET], &in_query(&with_token)).unwrap_err().contains("no ticket"));
        let under_other_name = format!("access_token={}", token());
        let words = outcome(&[SECRET], &in_query(&under_other_name)).unwrap_err();
        assert!(words.contains("token in a URL"), "{words}");
        let elsewhere = Shown { takes_ticket: false, ..in_query(&with_ticket) };
        assert!(outcome(&[SECRET], &elsewhere).is_err(), "a ticket opens streams and nothing else");
        let header = format!("Bearer {}", ticket());
        let shown = Shown { authorization: Some(&header), ..Shown::default() };
        assert!(outcome(&[SECRET], &shown).unwrap_err().contains("is a ticket"));
    }

    #[test]
    fn who_shows_nothing_is_told_what_to_send_or_to_set() {
        let nothing = Shown { user: Some("anna"), ..Shown::default() };
        assert!(outcome(&[SECRET], &nothing).unwrap_err().contains("Authorization: Bearer"));
        assert!(outcome(&[], &nothing).unwrap_err().contains("Set AUTH_SECRET or AUTH_JWKS_URL"));
        let basic = Shown { authorization: Some("Basic YTpi"), ..Shown::default() };
        assert!(outcome(&[SECRET], &basic).unwrap_err().contains("another kind"));
    }

    #[test]
    fn in_development_the_user_header_is_believed_and_a_bad_cookie_is_not_asked_for() {
        let dev = [SECRET, ("TRUST_USER_HEADER", "true")];
        let named = Shown { user: Some("bert"), cookie: Some("__Host-batchcast=old"), ..Shown::default() };
        assert_eq!(outcome(&dev, &named), Ok(Caller::Developer(Some("bert".into()))));
        assert_eq!(outcome(&dev, &Shown::default()), Ok(Caller::Developer(None)));
        let bad = Shown { authorization: Some("Bearer x"), ..Shown::default() };
        assert!(outcome(&dev, &bad).unwrap_err().contains("three parts"), "a token that is sent must be valid");
    }

    #[test]
    fn a_batch_is_seen_by_its_owner() {
        let (batch, anna) = ("b-1".parse().unwrap(), Caller::Developer(Some("anna".into())));
        assert!(anna.may_see(&batch, Some("anna")) && anna.may_see(&batch, None));
        assert!(!anna.may_see(&batch, Some("bert")));
        assert!(Caller::Developer(None).may_see(&batch, Some("bert")));
        let holder = Caller::Holder { grant: Grant::user("anna"), until: NOW };
        assert!(holder.may_see(&batch, Some("anna")) && !holder.may_see(&batch, None));
    }

    #[test]
    fn a_denial_comes_at_the_next_step() {
        assert_eq!((denial_wait(0), denial_wait(249), denial_wait(250), denial_wait(620)), (250, 1, 250, 130));
    }

    #[test]
    fn metrics_open_to_their_token_alone() {
        let set = settings(&[("METRICS_TOKEN", "secret")]);
        assert_eq!(admit_metrics(&set, Some("Bearer secret")), Ok(()));
        for wrong in [None, Some("secret"), Some("Bearer secre"), Some("Bearer ")] {
            assert!(admit_metrics(&set, wrong).is_err(), "{wrong:?}");
        }
        assert!(admit_metrics(&settings(&[]), Some("Bearer ")).is_err());
    }
}
