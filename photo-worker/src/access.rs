//! Who is asking, and what they may see and change.
//!
//! In scope: where a token may stand, and what its bearer may do here. Out of scope: signatures (the publisher's), what
//! a token says (`wire`'s).

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderValue, header, request::Parts},
};
use publisher::token::{Batches, Expected, Grant, Secrets, TokenError, Unverified, admit};
use wire::{BatchId, limits::MAX_OWNER_BYTES, token::Algorithm};

use crate::{
    Config,
    issuer::{Issuer, IssuerError},
    problem::AppError,
    service::{App, now_ms},
};

/// Names the user in development.
const USER_HEADER: &str = "x-user-id";

/// Whose tokens are taken, and where they may stand.
pub(crate) struct Access {
    secrets: Option<Secrets>,
    issuer: Option<Arc<Issuer>>,
    expected: Expected,
    cookie: String,
    trusts_user_header: bool,
}

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Caller {
    /// The bearer of a token.
    Bearer(Grant),
    /// Someone who is believed without one (`TRUST_USER_HEADER`): the user that they say they are. `None`: may do
    /// anything.
    Developer(Option<String>),
}

/// The batches that a caller may see, as a query asks for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Visible<'a> {
    /// Each one.
    All,
    /// Those that are theirs or named, and also those of nobody.
    These {
        /// Who owns theirs.
        owner: Option<&'a str>,
        /// Whether those of nobody are among them.
        unowned: bool,
        /// Those of a token's `batches`.
        named: &'a [BatchId],
    },
}

/// Why nobody was recognised.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(
        "Nobody is let in here: set AUTH_SECRET or AUTH_JWKS_URL to check tokens by, or in development \
         TRUST_USER_HEADER=true."
    )]
    Unset,
    #[error("This needs a token: send Authorization: Bearer TOKEN, or the cookie that AUTH_COOKIE names.")]
    Missing,
    #[error("The header Authorization does not read Bearer TOKEN.")]
    Scheme,
    #[error("The token is refused: {0}.")]
    Token(TokenError),
    #[error("This needs Authorization: Bearer TOKEN, with ORIGIN_TOKEN's or a user's token. {0}")]
    Origin(Box<Refusal>),
}

impl Access {
    /// As it is set.
    ///
    /// # Errors
    /// [`IssuerError`]: `AUTH_JWKS_URL` can't be asked from here.
    pub(crate) fn new(config: &Config) -> Result<Self, IssuerError> {
        let access = Self {
            secrets: config.auth_secret.clone(),
            issuer: config.auth_jwks_url.clone().map(Issuer::new).transpose()?.map(Arc::new),
            expected: config.expected.clone(),
            cookie: config.auth_cookie.clone(),
            trusts_user_header: config.trust_user_header,
        };
        if access.trusts_user_header {
            tracing::warn!(
                "TRUST_USER_HEADER is on: whoever reaches this service may do anything. For development only"
            );
        } else if !access.is_set() {
            tracing::warn!("neither AUTH_SECRET nor AUTH_JWKS_URL is set: no user is let in");
        }
        Ok(access)
    }

    fn is_set(&self) -> bool {
        self.secrets.is_some() || self.issuer.is_some() || self.trusts_user_header
    }

    /// Who sent these headers: the bearer of the token in `Authorization`, or else in the cookie, or else whoever is
    /// believed.
    ///
    /// # Errors
    /// 401, or 503 while the keys to check a token by can't be had.
    pub(crate) async fn caller(&self, headers: &HeaderMap) -> Result<Caller, AppError> {
        if !self.is_set() {
            return Err(Refusal::Unset.into());
        }
        if let Some(value) = headers.get(header::AUTHORIZATION) {
            return self.bearer(bearer(value).ok_or(Refusal::Scheme)?).await;
        }
        if let Some(token) = cookie(headers, &self.cookie) {
            match self.bearer(token).await {
                // The cookie of another program on the same host, most likely.
                Err(AppError::Unauthorized(_)) if self.trusts_user_header => {}
                result => return result,
            }
        }
        if self.trusts_user_header {
            return Ok(Caller::Developer(named_user(headers)?));
        }
        Err(Refusal::Missing.into())
    }

    async fn bearer(&self, token: &str) -> Result<Caller, AppError> {
        let token = Unverified::parse(token).map_err(Refusal::Token)?;
        let keys = match (&self.issuer, token.algorithm()) {
            (Some(issuer), Algorithm::Es256) => issuer.keys(token.key_id()).await?,
            _ => Vec::new(),
        };
        let claims = admit(token, self.secrets.as_ref(), &keys, &self.expected, now_ms().unsigned_abs());
        Ok(Caller::Bearer(claims.map_err(Refusal::Token)?.grant))
    }
}

impl Caller {
    /// Whether they may see a batch with this owner.
    pub(crate) fn may_see(&self, batch: &BatchId, owner: Option<&str>) -> bool {
        match self {
            Self::Bearer(grant) => grant.may_see(batch, owner),
            Self::Developer(_) => self.is_believed_for(owner),
        }
    }

    /// All those of which [`Caller::may_see`] says so. A ticket, which nobody is let in by, lists nothing.
    pub(crate) fn visible(&self) -> Visible<'_> {
        match self {
            Self::Bearer(Grant { only: Some(_), .. }) => Visible::These { owner: None, unowned: false, named: &[] },
            Self::Bearer(Grant { batches: Batches::All, .. }) | Self::Developer(None) => Visible::All,
            Self::Bearer(Grant { subject, batches: Batches::These(named), .. }) => {
                Visible::These { owner: subject.as_deref(), unowned: false, named }
            }
            Self::Developer(Some(user)) => Visible::These { owner: Some(user), unowned: true, named: &[] },
        }
    }

    /// Whether they may change it: upload, retry, cancel.
    pub(crate) fn may_change(&self, batch: &BatchId, owner: Option<&str>) -> bool {
        match self {
            Self::Bearer(grant) => grant.may_change(batch, owner),
            Self::Developer(_) => self.is_believed_for(owner),
        }
    }

    /// Whether there can be a batch that takes photos from them.
    pub(crate) fn may_upload(&self) -> bool {
        match self {
            Self::Bearer(grant) => grant.subject.is_some() || grant.batches == Batches::All,
            Self::Developer(_) => true,
        }
    }

    /// The user that they are.
    pub(crate) fn user(&self) -> Option<&str> {
        match self {
            Self::Bearer(grant) => grant.subject.as_deref(),
            Self::Developer(user) => user.as_deref(),
        }
    }

    /// The owner of what they make.
    ///
    /// # Errors
    /// 403: their token names no user, so that nobody but the bearer of a token for all could see it.
    pub(crate) fn owner(&self) -> Result<Option<&str>, AppError> {
        match self {
            Self::Bearer(_) => self.user().map(Some).ok_or(AppError::NoUser),
            Self::Developer(_) => Ok(self.user()),
        }
    }

    /// A developer without a name is everyone; one with a name has what is theirs and what is nobody's.
    fn is_believed_for(&self, owner: Option<&str>) -> bool {
        match self {
            Self::Bearer(_) => false,
            Self::Developer(None) => true,
            Self::Developer(Some(user)) => owner.is_none_or(|owner| owner == user),
        }
    }
}

/// Before the body: what comes after in a handler's arguments is not read for strangers.
impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, AppError> {
        app.access.caller(&parts.headers).await
    }
}

impl Refusal {
    /// Whether something is wrong with a token, rather than that there is none.
    pub(crate) fn is_of_a_token(&self) -> bool {
        match self {
            Self::Token(_) => true,
            Self::Unset | Self::Missing | Self::Scheme => false,
            Self::Origin(inner) => inner.is_of_a_token(),
        }
    }

    /// The challenge of RFC 6750, section 3.
    pub(crate) fn challenge(&self) -> HeaderValue {
        HeaderValue::from_static(if self.is_of_a_token() { r#"Bearer error="invalid_token""# } else { "Bearer" })
    }
}

/// The scheme is written in any case (RFC 9110, section 11.1).
fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
}

/// Read as bytes: the other cookies of a site may hold what is no text. An empty cookie is one that was taken back.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let pairs = headers.get_all(header::COOKIE).into_iter().flat_map(|value| value.as_bytes().split(|b| *b == b';'));
    let mut values = pairs.filter_map(|pair| pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="));
    values.next().and_then(|value| std::str::from_utf8(value).ok()).filter(|value| !value.is_empty())
}

fn named_user(headers: &HeaderMap) -> Result<Option<String>, AppError> {
    let Some(value) = headers.get(USER_HEADER) else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| (1..=MAX_OWNER_BYTES).contains(&text.len()));
    let wrong = || AppError::BadRequest(format!("{USER_HEADER} is 1 to {MAX_OWNER_BYTES} visible ASCII characters."));
    text.map(|text| Some(text.to_owned())).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use publisher::token::{Claims, mint};

    const SECRET: &str = "a-secret-for-tests-of-more-than-32-bytes";

    fn access(variables: &[(&str, &str)]) -> Access {
        let lookup = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        Access::new(&Config::from_lookup(lookup).unwrap()).unwrap()
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap())).collect()
    }

    fn anna() -> Grant {
        Grant::new("anna".to_owned(), Batches::These(vec![id("shown")]))
    }

    fn token(grant: Grant) -> String {
        let claims = Claims::new(grant, 9_999_999_999_000);
        mint(&Secrets::parse(SECRET).unwrap(), &claims)
    }

    fn id(text: &str) -> BatchId {
        text.parse().unwrap()
    }

    async fn refused(access: &Access, pairs: &[(&'static str, &str)]) -> Refusal {
        match access.caller(&headers(pairs)).await {
            Err(AppError::Unauthorized(refusal)) => refusal,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_token_stands_in_the_header_or_else_in_the_cookie() {
        let access = access(&[("AUTH_SECRET", SECRET)]);
        let token = token(anna());
        let (in_header, in_cookie) = (format!("Bearer {token}"), format!("a=b; __Host-batchcast={token}; c=d"));
        for pairs in [
            &[("authorization", &*in_header)][..],
            &[("authorization", &*in_header.replace("Bearer", "bearer"))],
            &[("cookie", &*in_cookie)],
            &[("cookie", "a=b"), ("cookie", &*in_cookie)],
            &[("cookie", &*format!("other=grün;{in_cookie}"))],
            &[("authorization", &*in_header), ("cookie", "__Host-batchcast=worn-out")],
        ] {
            assert_eq!(access.caller(&headers(pairs)).await.unwrap(), Caller::Bearer(anna()), "{pairs:?}");
        }
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_token_is_said_also_when_another_would_do() {
        let access = access(&[("AUTH_SECRET", SECRET)]);
        let good = format!("__Host-batchcast={}", token(anna()));
        let scheme = refused(&access, &[("authorization", "Basic YTpi"), ("cookie", &good)]).await;
        assert_eq!(scheme, Refusal::Scheme);
        let malformed = refused(&access, &[("authorization", "Bearer x"), ("cookie", &good)]).await;
        assert!(
            malformed.to_string().contains("three parts") && malformed.challenge().as_bytes().ends_with(b"token\"")
        );
        let cookie = refused(&access, &[("cookie", "__Host-batchcast=x")]).await;
        assert!(matches!(cookie, Refusal::Token(_)));
    }

    #[tokio::test]
    async fn nothing_at_all_is_answered_with_what_to_send() {
        let set = access(&[("AUTH_SECRET", SECRET), ("AUTH_COOKIE", "session")]);
        for pairs in
            [&[][..], &[("cookie", "session=")], &[("cookie", "asession=x; sessions=x")], &[("x-user-id", "a")]]
        {
            let refusal = refused(&set, pairs).await;
            assert_eq!(refusal, Refusal::Missing, "{pairs:?}");
            assert_eq!(refusal.challenge(), "Bearer");
        }
        let unset = refused(&access(&[]), &[("authorization", "Bearer x")]).await;
        assert!(unset.to_string().contains("AUTH_SECRET"));
    }

    #[tokio::test]
    async fn a_trusted_header_names_a_user_and_a_token_still_counts_more() {
        let access = access(&[("AUTH_SECRET", SECRET), ("TRUST_USER_HEADER", "true")]);
        let caller = async |pairs: &[(&'static str, &str)]| access.caller(&headers(pairs)).await.unwrap();
        assert_eq!(caller(&[]).await, Caller::Developer(None));
        assert_eq!(caller(&[("x-user-id", "bert")]).await, Caller::Developer(Some("bert".into())));
        assert_eq!(caller(&[("cookie", "__Host-batchcast=x")]).await, Caller::Developer(None));
        let in_header = format!("Bearer {}", token(anna()));
        assert_eq!(caller(&[("authorization", &in_header), ("x-user-id", "bert")]).await, Caller::Bearer(anna()));
        assert!(matches!(refused(&access, &[("authorization", "Bearer x")]).await, Refusal::Token(_)));
        let long = access.caller(&headers(&[("x-user-id", &"x".repeat(257))])).await;
        assert!(matches!(long, Err(AppError::BadRequest(_))));
    }

    #[test]
    fn a_bearer_sees_what_the_token_says_and_changes_what_is_theirs() {
        let caller = Caller::Bearer(anna());
        assert!(caller.may_see(&id("shown"), Some("bert")) && !caller.may_change(&id("shown"), Some("bert")));
        assert!(caller.may_see(&id("b"), Some("anna")) && caller.may_change(&id("b"), Some("anna")));
        assert!(!caller.may_see(&id("b"), None) && !caller.may_change(&id("b"), Some("bert")));
        assert_eq!(caller.owner().unwrap(), Some("anna"));
        let nobody = Caller::Bearer(Grant::new(None, anna().batches));
        assert!(matches!(nobody.owner(), Err(AppError::NoUser)));
        assert!(caller.may_upload() && !nobody.may_upload());
    }

    #[test]
    fn a_developer_does_anything_or_what_the_named_user_may_and_nobody_owns() {
        let (anyone, bert) = (Caller::Developer(None), Caller::Developer(Some("bert".into())));
        assert!(anyone.may_see(&id("b"), Some("anna")) && anyone.may_change(&id("b"), Some("anna")));
        assert!(bert.may_see(&id("b"), Some("bert")) && bert.may_change(&id("b"), None));
        assert!(!bert.may_see(&id("b"), Some("anna")) && !bert.may_change(&id("b"), Some("anna")));
        assert_eq!((anyone.owner().unwrap(), bert.owner().unwrap()), (None, Some("bert")));
    }
}
