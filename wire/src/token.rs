//! Access tokens and tickets: JSON Web Tokens (RFC 7519) as text, and what they give a right to.
//!
//! Signatures are the caller's: it checks the bytes of [`Unverified::signed`] with a key of its own choosing, by the
//! algorithm that [`Unverified::algorithm`] names, and only [`Unverified::admit`] gives out the claims. The rules are
//! those of RFC 8725: the algorithm decides which kind of key is tried, so that no public key ever checks an HMAC; and
//! tokens and tickets are of different types, so that neither passes for the other.
//!
//! ```
//! use batchcast_wire::token::{Claims, Expected, Grant, Kind, Unverified, compact};
//!
//! let signed = Claims::new(Grant::user("anna"), 60_000).to_be_signed();
//! let text = compact(&signed, b"by HMAC"); // Where a token is made: the signature of `signed`.
//!
//! let token = Unverified::parse(&text)?;
//! let is_signed = token.signature() == b"by HMAC"; // Where one is checked: that of `token.signed()`.
//! let claims = token.admit(is_signed, Kind::Access, &Expected::default(), 59_999)?;
//! assert_eq!(claims.grant, Grant::user("anna"));
//! # Ok::<(), batchcast_wire::token::TokenError>(())
//! ```

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::{
    BatchId,
    limits::{MAX_OWNER_BYTES, MAX_TOKEN_BYTES},
};

mod grant;
mod key_set;
mod keyring;

pub use grant::{Batches, Grant};
pub use key_set::{Key, KeySet, KeySetError};
pub use keyring::{Keyring, Lookup};

/// How much a clock that signs may be ahead of the one that checks, in milliseconds. An expiry has no such grace.
pub const CLOCK_SKEW: u64 = 60_000;

/// How long a ticket opens streams, in milliseconds.
pub const TICKET_LIFE: u64 = 5 * 60 * 1000;

/// How a token is signed (RFC 7518, section 3.1). Nothing else is taken, least of all `none`. All may be matched: each
/// has a kind of key of its own, and none may be checked by what is left over.
///
/// ```
/// # use batchcast_wire::token::{Claims, Grant, Unverified, compact};
/// # let text = compact(&Claims::new(Grant::user("anna"), 1_000).to_be_signed(), b"by HMAC");
/// # use batchcast_wire::token::Algorithm;
/// let checked_by = match Unverified::parse(&text)?.algorithm() {
///     Algorithm::Hs256 => "the secret, never a public key",
///     Algorithm::Es256 => "the issuer's public key",
/// };
/// assert!(checked_by.starts_with("the secret"));
/// # Ok::<(), batchcast_wire::token::TokenError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256: a secret that both sides know.
    Hs256,
    /// ECDSA on P-256 with SHA-256: the signature is 64 bytes, r and s.
    Es256,
}

/// What a token is for (its header's `typ`; RFC 8725, section 3.11). All may be matched: what one opens, no other does.
///
/// ```
/// # use batchcast_wire::token::{Claims, Grant, Unverified, compact};
/// # let text = compact(&Claims::new(Grant::user("anna"), 1_000).to_be_signed(), b"by HMAC");
/// # use batchcast_wire::token::{Expected, Kind, TokenError};
/// // What stands in a URL ends up in logs, so that only a ticket is taken from there.
/// let admitted = Unverified::parse(&text)?.admit(true, Kind::Ticket, &Expected::default(), 0);
/// assert_eq!(admitted, Err(TokenError::IsNoTicket));
/// # Ok::<(), batchcast_wire::token::TokenError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Says who is asking. Stands in a header or a cookie, never in a URL.
    Access,
    /// Opens the stream of one batch for [`TICKET_LIFE`]. May stand in a URL.
    Ticket,
}

/// The latest time that is taken, in seconds: the end of the year 9999, where RFC 3339 ends. Much later ones would be
/// rounded, for JSON's numbers are read as floats.
const LATEST: f64 = 253_402_300_799.0;

const TICKET_TYPE: &str = "ticket+jwt";

/// What a token says.
///
/// ```
/// use batchcast_wire::token::{Claims, Grant};
///
/// let now = 1_795_389_030_000;
/// let mut claims = Claims::new(Grant::user("anna"), now + 3_600_000);
/// claims.audience = vec!["edge".into()]; // No other service takes it then.
/// assert!(claims.to_be_signed().contains('.'));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claims {
    /// Who is asking, and which batches they may see.
    pub grant: Grant,
    /// `exp`, in milliseconds since the Unix epoch: from then on nothing is opened with it.
    pub expires: u64,
    /// A ticket's `until`, in milliseconds since the Unix epoch: when the token behind it ends, and with it the streams
    /// that it opened. `None`: with the expiry.
    pub until: Option<u64>,
    /// `iss`: who made it.
    pub issuer: Option<String>,
    /// `aud`: whom it is for.
    pub audience: Vec<String>,
}

/// Whose tokens are taken.
///
/// ```
/// # use batchcast_wire::token::{Claims, Grant, Unverified, compact};
/// # let text = compact(&Claims::new(Grant::user("anna"), 1_000).to_be_signed(), b"by HMAC");
/// # use batchcast_wire::token::{Expected, Kind, TokenError};
/// // An issuer that signs for many services: only what it made for this one.
/// let ours = Expected::new("https://issuer.example".to_owned(), "edge".to_owned());
/// let admitted = Unverified::parse(&text)?.admit(true, Kind::Access, &ours, 0);
/// assert_eq!(admitted, Err(TokenError::Issuer));
/// # Ok::<(), batchcast_wire::token::TokenError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Expected {
    /// The `iss` that a token must have; `None`: any, or none.
    pub issuer: Option<String>,
    /// The `aud` that a token must have among its own. `None`: a token for a named audience is refused (RFC 7519,
    /// section 4.1.3).
    pub audience: Option<String>,
}

impl Expected {
    /// Tokens of this issuer and for this audience; `None`: see the fields.
    ///
    /// ```
    /// use batchcast_wire::token::Expected;
    ///
    /// // Two settings, each of which may be missing.
    /// let (issuer, audience) = (None, Some("edge".to_owned()));
    /// assert_eq!(Expected::new(issuer, audience).audience.as_deref(), Some("edge"));
    /// ```
    pub fn new(issuer: impl Into<Option<String>>, audience: impl Into<Option<String>>) -> Self {
        Self { issuer: issuer.into(), audience: audience.into() }
    }
}

/// Why a token is refused: in words that a caller may see, and without a part of the token.
///
/// ```
/// use batchcast_wire::token::{TokenError, Unverified};
///
/// let error = Unverified::parse("secret").unwrap_err();
/// assert!(matches!(error, TokenError::Malformed(_)));
/// assert!(!error.to_string().contains("secret")); // It may be answered, and logged.
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// More than [`MAX_TOKEN_BYTES`].
    #[error("it has more than {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    /// Not three parts of base64url with JSON in them.
    #[error("it is no JSON Web Token: {0}")]
    Malformed(&'static str),
    /// Another `alg`.
    #[error("its alg is neither HS256 nor ES256")]
    Algorithm,
    /// `crit` names extensions that must be understood; there are none that are.
    #[error("its header has crit, and no extension is known here")]
    Critical,
    /// Another `typ`.
    #[error("its typ is neither JWT nor ticket+jwt")]
    Type,
    /// A ticket where a token is asked for.
    #[error("it is a ticket, which only opens a stream, as ?ticket=")]
    IsTicket,
    /// A token where a ticket is asked for.
    #[error("it is no ticket; a token does not belong into a URL: get a ticket by POST /api/batches/ID/ticket")]
    IsNoTicket,
    /// No key made this signature.
    #[error("its signature is wrong")]
    Signature,
    /// No key for its algorithm is set, or none of that `kid`.
    #[error("there is no key to check it with")]
    NoKey,
    /// Past its `exp`.
    #[error("it has expired")]
    Expired,
    /// Before its `nbf`.
    #[error("its time has not come (nbf)")]
    TooEarly,
    /// Not from the issuer that is set.
    #[error("its issuer (iss) is not the one that is set here")]
    Issuer,
    /// For someone else.
    #[error("it is for another audience (aud)")]
    Audience,
    /// A claim is missing or of another form.
    #[error("{0}")]
    Claim(&'static str),
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<serde_json::Value>,
}

/// The claims as they travel. Times are seconds, perhaps with a fraction (RFC 7519, section 2, "NumericDate").
#[derive(Serialize, Deserialize)]
struct Payload {
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batches: Option<serde_json::Value>,
    /// A ticket's only batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<BatchId>,
    exp: Option<serde_json::Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<serde_json::Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<serde_json::Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<serde_json::Value>,
}

/// A token that was read and whose signature was not checked yet.
///
/// ```
/// # use batchcast_wire::token::{Claims, Grant, Unverified, compact};
/// # let text = compact(&Claims::new(Grant::user("anna"), 1_000).to_be_signed(), b"by HMAC");
/// # use batchcast_wire::token::{Expected, Kind, TokenError};
/// // There is no way to the claims but this one, and it asks for the signature first.
/// let admitted = Unverified::parse(&text)?.admit(false, Kind::Access, &Expected::default(), 0);
/// assert_eq!(admitted, Err(TokenError::Signature));
/// # Ok::<(), batchcast_wire::token::TokenError>(())
/// ```
#[derive(Clone)]
pub struct Unverified {
    algorithm: Algorithm,
    key_id: Option<String>,
    kind: Kind,
    signed: String,
    signature: Vec<u8>,
    claims: Claims,
    not_before: Option<u64>,
}

impl fmt::Debug for Unverified {
    /// Not the token itself: it may be a good one, and would be in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unverified")
            .field("algorithm", &self.algorithm)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl Unverified {
    /// Reads a token in the compact form.
    ///
    /// ```
    /// use batchcast_wire::token::{TokenError, Unverified};
    ///
    /// // {"alg":"none"}: the oldest trick, refused before any key is looked for.
    /// assert_eq!(Unverified::parse("eyJhbGciOiJub25lIn0.e30.").unwrap_err(), TokenError::Algorithm);
    /// ```
    ///
    /// # Errors
    /// [`TokenError`]: not a token, or one of a form that is not taken.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        if text.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong);
        }
        let parts = text.rsplit_once('.').and_then(|(signed, sig)| Some((signed, signed.split_once('.')?, sig)));
        let Some((signed, (header, payload), signature)) = parts else {
            return Err(TokenError::Malformed("it has not three parts"));
        };
        let header: Header = json(header, "its header can't be read")?;
        let algorithm = match header.alg.as_str() {
            "HS256" => Algorithm::Hs256,
            "ES256" => Algorithm::Es256,
            _ => return Err(TokenError::Algorithm),
        };
        if header.crit.is_some() {
            return Err(TokenError::Critical);
        }
        let kind = kind(header.typ.as_deref())?;
        let payload: Payload = json(payload, "its claims can't be read")?;
        let not_before = payload.nbf.as_ref().map(millis).transpose()?;
        Ok(Self {
            algorithm,
            key_id: header.kid,
            kind,
            signed: signed.to_owned(),
            signature: bytes(signature, "its signature can't be read")?,
            claims: claims(payload, kind)?,
            not_before,
        })
    }

    /// How it claims to be signed: which kind of key may check it.
    ///
    /// ```
    /// # use batchcast_wire::token::{Claims, Grant, Unverified, compact};
    /// # let text = compact(&Claims::new(Grant::user("anna"), 1_000).to_be_signed(), b"by HMAC");
    /// # use batchcast_wire::token::Algorithm;
    /// assert_eq!(Unverified::parse(&text)?.algorithm(), Algorithm::Hs256);
    /// # Ok::<(), batchcast_wire::token::TokenError>(())
    /// ```
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The `kid` of its key.
    ///
    /// ```
    /// # use batchcast_wire::token::{Claims, Grant, Unverified, compact};
    /// # let text = compact(&Claims::new(Grant::user("anna"), 1_000).to_be_signed(), b"by HMAC");
    /// // Which of an issuer's keys to try. Made by a shared secret, it names none.
    /// assert_eq!(Unverified::parse(&text)?.key_id(), None);
    /// # Ok::<(), batchcast_wire::token::TokenError>(())
    /// ```
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// The bytes that were signed.
    ///
    /// ```
    /// # use batchcast_wire::token::{Claims, Grant, Unverified, compact};
    /// # let text = compact(&Claims::new(Grant::user("anna"), 1_000).to_be_signed(), b"by HMAC");
    /// // What goes into the HMAC: everything before the last dot.
    /// assert_eq!(text.as_bytes().strip_prefix(Unverified::parse(&text)?.signed()), Some(&b".YnkgSE1BQw"[..]));
    /// # Ok::<(), batchcast_wire::token::TokenError>(())
    /// ```
    pub fn signed(&self) -> &[u8] {
        self.signed.as_bytes()
    }

    /// The signature.
    ///
    /// ```
    /// # use batchcast_wire::token::{Claims, Grant, Unverified, compact};
    /// # let text = compact(&Claims::new(Grant::user("anna"), 1_000).to_be_signed(), b"by HMAC");
    /// assert_eq!(Unverified::parse(&text)?.signature(), b"by HMAC"); // To be compared in constant time.
    /// # Ok::<(), batchcast_wire::token::TokenError>(())
    /// ```
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The claims, if they may be believed. `is_signed`: the signature was checked and is good. `now` is in
    /// milliseconds since the Unix epoch.
    ///
    /// ```
    /// # use batchcast_wire::token::{Claims, Grant, Unverified, compact};
    /// # let text = compact(&Claims::new(Grant::user("anna"), 1_000).to_be_signed(), b"by HMAC");
    /// # use batchcast_wire::token::{Expected, Kind, TokenError};
    /// let admit = |now| Unverified::parse(&text)?.admit(true, Kind::Access, &Expected::default(), now);
    /// assert_eq!(admit(999)?.grant.subject.as_deref(), Some("anna"));
    /// assert_eq!(admit(1_000), Err(TokenError::Expired));
    /// # Ok::<(), batchcast_wire::token::TokenError>(())
    /// ```
    ///
    /// # Errors
    /// [`TokenError`]: what is wrong with it; a wrong signature before anything else.
    pub fn admit(self, is_signed: bool, kind: Kind, expected: &Expected, now: u64) -> Result<Claims, TokenError> {
        if !is_signed {
            return Err(TokenError::Signature);
        }
        match (kind, self.kind) {
            (Kind::Access, Kind::Ticket) => return Err(TokenError::IsTicket),
            (Kind::Ticket, Kind::Access) => return Err(TokenError::IsNoTicket),
            _ => {}
        }
        if now >= self.claims.expires {
            return Err(TokenError::Expired);
        }
        if self.not_before.is_some_and(|from| now + CLOCK_SKEW < from) {
            return Err(TokenError::TooEarly);
        }
        if expected.issuer.is_some() && self.claims.issuer != expected.issuer {
            return Err(TokenError::Issuer);
        }
        let audience = &self.claims.audience;
        if expected.audience.as_ref().map_or(!audience.is_empty(), |ours| !audience.contains(ours)) {
            return Err(TokenError::Audience);
        }
        Ok(self.claims)
    }
}

impl Claims {
    /// What a token says that gives this right until `expires`, in milliseconds since the Unix epoch.
    ///
    /// ```
    /// use batchcast_wire::token::{Claims, Grant};
    ///
    /// let claims = Claims::new(Grant::user("anna"), 1_795_389_030_000);
    /// assert!(claims.issuer.is_none() && claims.audience.is_empty());
    /// ```
    pub fn new(grant: Grant, expires: u64) -> Self {
        Self { grant, expires, until: None, issuer: None, audience: Vec::new() }
    }

    /// When the streams end that it opened.
    ///
    /// ```
    /// use batchcast_wire::token::{Claims, Grant};
    ///
    /// let token = Claims::new(Grant::user("anna"), 3_600_000);
    /// let ticket = token.ticket(&"holiday".parse()?, 0);
    /// assert_eq!(ticket.expires, 300_000); // It opens nothing after 5 minutes,
    /// assert_eq!(ticket.streams_until(), 3_600_000); // but what it opened lasts as long as the token.
    /// # Ok::<(), batchcast_wire::IdError>(())
    /// ```
    pub fn streams_until(&self) -> u64 {
        self.until.unwrap_or(self.expires)
    }

    /// A ticket for one batch, made of a token at `now`: it gives no right that the token does not give, nor for
    /// longer.
    ///
    /// ```
    /// use batchcast_wire::{BatchId, token::{Claims, Grant}};
    ///
    /// // For an EventSource of another origin, which can send no header.
    /// let holiday = BatchId::new("holiday")?;
    /// let ticket = Claims::new(Grant::user("anna"), 3_600_000).ticket(&holiday, 0);
    /// assert!(ticket.grant.may_see(&holiday, Some("anna")));
    /// assert!(!ticket.grant.may_see(&BatchId::new("wedding")?, Some("anna")));
    /// # Ok::<(), batchcast_wire::IdError>(())
    /// ```
    #[must_use]
    pub fn ticket(&self, batch: &BatchId, now: u64) -> Self {
        Self {
            grant: self.grant.narrowed_to(batch),
            expires: self.streams_until().min(now + TICKET_LIFE),
            until: Some(self.streams_until()),
            issuer: self.issuer.clone(),
            audience: self.audience.clone(),
        }
    }

    /// The bytes to be signed by HMAC with SHA-256; [`compact`] puts the signature to them.
    ///
    /// ```
    /// use batchcast_wire::token::{Claims, Grant};
    ///
    /// let signed = Claims::new(Grant::user("anna"), 1_000).to_be_signed();
    /// assert!(signed.starts_with("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.")); // {"alg":"HS256","typ":"JWT"}
    /// ```
    pub fn to_be_signed(&self) -> String {
        let (ticket, exp) = (self.until.is_some(), seconds(self.expires));
        let typ = if ticket { TICKET_TYPE } else { "JWT" };
        let payload = Payload {
            sub: self.grant.subject.clone(),
            batches: self.grant.batches.to_claim(),
            batch: self.grant.only.clone(),
            exp: Some(exp),
            nbf: None,
            until: self.until.map(seconds),
            iss: self.issuer.clone(),
            aud: (!self.audience.is_empty()).then(|| self.audience.clone().into()),
        };
        let header = format!(r#"{{"alg":"HS256","typ":"{typ}"}}"#);
        // Strings, numbers and lists of them: nothing that serde_json could refuse.
        let payload = serde_json::to_vec(&payload).unwrap_or_default();
        format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
    }
}

/// A token in the compact form: what was signed, and its signature.
///
/// ```
/// use batchcast_wire::token::compact;
///
/// assert_eq!(compact("header.claims", b"signature"), "header.claims.c2lnbmF0dXJl");
/// ```
pub fn compact(signed: &str, signature: &[u8]) -> String {
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn kind(typ: Option<&str>) -> Result<Kind, TokenError> {
    let typ = typ.unwrap_or("JWT").to_ascii_lowercase();
    match typ.strip_prefix("application/").unwrap_or(&typ) {
        // at+jwt: RFC 9068, OAuth 2.0 access tokens.
        "jwt" | "at+jwt" => Ok(Kind::Access),
        TICKET_TYPE => Ok(Kind::Ticket),
        _ => Err(TokenError::Type),
    }
}

fn claims(payload: Payload, kind: Kind) -> Result<Claims, TokenError> {
    let fits = |sub: &String| (1..=MAX_OWNER_BYTES).contains(&sub.len()) && !sub.contains(char::is_control);
    if payload.sub.as_ref().is_some_and(|sub| !fits(sub)) {
        return Err(TokenError::Claim("its sub (the user) has not 1 to 256 bytes, or control characters among them"));
    }
    let exp = payload.exp.ok_or(TokenError::Claim("it has no exp: a token must expire"))?;
    let until = payload.until.as_ref().map(millis).transpose()?;
    let (until, only) = match kind {
        Kind::Access => (None, None),
        Kind::Ticket if until.is_none() || payload.batch.is_none() => {
            return Err(TokenError::Claim("a ticket has batch and until"));
        }
        Kind::Ticket => (until, payload.batch),
    };
    let batches = Batches::from_claim(payload.batches)
        .ok_or(TokenError::Claim(r#"its batches are neither "*" nor a list of batch ids"#))?;
    // A guest's ticket for what they are not shown opens nothing either, and is answered so where it is used.
    if kind == Kind::Access && payload.sub.is_none() && batches.is_none() {
        return Err(TokenError::Claim("it has neither sub (a user) nor batches: it opens nothing"));
    }
    let audience = match payload.aud {
        None => Vec::new(),
        Some(serde_json::Value::String(one)) => vec![one],
        Some(several) => serde_json::from_value(several)
            .map_err(|_| TokenError::Claim("its aud is neither a text nor a list of texts"))?,
    };
    Ok(Claims {
        grant: Grant { subject: payload.sub, batches, only },
        expires: millis(&exp)?,
        until,
        issuer: payload.iss,
        audience,
    })
}

fn bytes(part: &str, what: &'static str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed(what))
}

fn json<T: for<'a> Deserialize<'a>>(part: &str, what: &'static str) -> Result<T, TokenError> {
    serde_json::from_slice(&bytes(part, what)?).map_err(|_| TokenError::Malformed(what))
}

/// A NumericDate in milliseconds.
fn millis(date: &serde_json::Number) -> Result<u64, TokenError> {
    let secs = date.as_f64().unwrap_or(-1.0);
    if !(0.0..=LATEST).contains(&secs) {
        return Err(TokenError::Claim("a time in it is no number of seconds since 1970, or after the year 9999"));
    }
    Ok((secs * 1_000.0).round() as u64)
}

fn seconds(millis: u64) -> serde_json::Number {
    let secs = millis / 1_000;
    let exact = millis.is_multiple_of(1_000).then(|| secs.into());
    exact.or_else(|| serde_json::Number::from_f64(millis as f64 / 1_000.0)).unwrap_or_else(|| secs.into())
}

#[cfg(test)]
pub(crate) mod tests;
