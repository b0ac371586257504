//! Access tokens, signed and checked natively: what an application needs to give its users tokens for the edge, and to
//! check its own callers by the same ones.
//!
//! The rules of what a token says are [`wire::token`]'s; here is the cryptography. HS256 is checked by secrets only and
//! ES256 by the keys of a set only, so that a public key, which anyone may read, never checks an HMAC (RFC 8725,
//! section 2.1).
//!
//! ```
//! use batchcast_publisher::token::{Claims, Expected, Grant, KeySet, Secrets, mint, verify};
//!
//! let secrets = Secrets::parse("what-openssl-rand-printed-or-more-than-32-bytes")?;
//! let now = 1_795_389_030_000; // Milliseconds since the Unix epoch.
//! let claims = Claims::new(Grant::user("anna"), now + 3_600_000);
//! let token = mint(&secrets, &claims);
//! assert_eq!(verify(&token, Some(&secrets), &KeySet::default(), &Expected::default(), now)?, claims);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;

use ring::{
    hmac,
    signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey},
};
use wire::token::{Algorithm, Kind, compact};

pub use wire::token::{Batches, Claims, Expected, Grant, Key, KeySet, KeySetError, TokenError, Unverified};

/// Bytes of a secret at least: those of the hash (RFC 7518, section 3.2).
pub const MIN_SECRET_BYTES: usize = 32;

/// What both sides of HS256 know. It can't be printed.
///
/// ```
/// use batchcast_publisher::token::{Secret, Secrets};
///
/// let secret = Secret::new("what-openssl-rand-printed-or-more-than-32-bytes")?;
/// assert_eq!(format!("{secret:?}"), "Secret(…)"); // No log shows it.
/// let secrets = Secrets::from(secret);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Secret(hmac::Key);

/// The secrets of `AUTH_SECRET`: the first signs, each of them checks. So a secret is changed without a token being
/// refused: the new one is put before the old one, which goes when the last token that it signed has expired.
///
/// ```
#[doc = include_str!("examples/token.txt")]
/// // A change of secrets: what the old one signed is still believed, and new tokens are signed by the new one.
/// let text = "the-new-one-that-openssl-rand-printed-just-now what-openssl-rand-printed-or-more-than-32-bytes";
/// let changed = Secrets::parse(text)?;
/// let before = mint(&secrets, &claims);
/// assert!(verify(&before, Some(&changed), &KeySet::default(), &Expected::default(), now).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Secrets {
    signing: Secret,
    former: Vec<Secret>,
}

/// A secret of fewer than [`MIN_SECRET_BYTES`], or none.
///
/// ```
/// use batchcast_publisher::token::Secrets;
///
/// let error = Secrets::parse("hunter2").unwrap_err();
/// assert!(error.to_string().contains("openssl rand -base64 32")); // It says how to make one.
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a secret has at least {MIN_SECRET_BYTES} bytes (RFC 7518, section 3.2): make one by `openssl rand -base64 32`"
)]
pub struct WeakSecret;

impl Secret {
    /// The secret is these bytes, of a text as it stands: nothing is decoded.
    ///
    /// ```
    /// use batchcast_publisher::token::{MIN_SECRET_BYTES, Secret};
    ///
    /// assert!(Secret::new([7; MIN_SECRET_BYTES]).is_ok());
    /// assert!(Secret::new("hunter2").is_err());
    /// ```
    ///
    /// # Errors
    /// [`WeakSecret`]: fewer than [`MIN_SECRET_BYTES`].
    pub fn new(secret: impl AsRef<[u8]>) -> Result<Self, WeakSecret> {
        let secret = secret.as_ref();
        if secret.len() < MIN_SECRET_BYTES {
            return Err(WeakSecret);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    fn signed(&self, signed: &[u8], signature: &[u8]) -> bool {
        hmac::verify(&self.0, signed, signature).is_ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secrets {
    /// Reads one or several secrets, with white space between them.
    ///
    /// ```no_run
    /// use batchcast_publisher::token::Secrets;
    ///
    /// let secrets = Secrets::parse(&std::env::var("AUTH_SECRET")?)?; // The same as the edge's.
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`WeakSecret`]: there is none, or one of them is too short.
    pub fn parse(text: &str) -> Result<Self, WeakSecret> {
        let mut secrets = text.split_whitespace().map(Secret::new);
        Ok(Self { signing: secrets.next().ok_or(WeakSecret)??, former: secrets.collect::<Result<_, _>>()? })
    }

    fn signed(&self, signed: &[u8], signature: &[u8]) -> bool {
        std::iter::once(&self.signing).chain(&self.former).any(|secret| secret.signed(signed, signature))
    }
}

impl From<Secret> for Secrets {
    fn from(signing: Secret) -> Self {
        Self { signing, former: Vec::new() }
    }
}

/// A token, or of the claims of [`Claims::ticket`] a ticket, signed by HS256.
///
/// ```
#[doc = include_str!("examples/token.txt")]
/// let token = mint(&secrets, &claims); // For the page of the user who has logged in.
/// // A stream's URL is logged by many: a ticket is for one batch and for seconds.
/// let ticket = mint(&secrets, &claims.ticket(&batchcast_publisher::BatchId::new("holiday")?, now));
/// assert_ne!(token, ticket);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn mint(secrets: &Secrets, claims: &Claims) -> String {
    let signed = claims.to_be_signed();
    let signature = hmac::sign(&secrets.signing.0, signed.as_bytes());
    compact(&signed, signature.as_ref())
}

/// What a token says, if it may be believed: signed by one of the secrets (HS256) or by a key of the set (ES256), not
/// expired, and as `expected`. A ticket is refused. `now` is in milliseconds since the Unix epoch.
///
/// ```
#[doc = include_str!("examples/token.txt")]
/// let token = mint(&secrets, &claims);
/// let believed = |token: &str, now| verify(token, Some(&secrets), &KeySet::default(), &Expected::default(), now);
/// assert_eq!(believed(&token, now)?.grant, claims.grant);
/// assert!(matches!(believed(&token, now + 2 * 3_600_000), Err(TokenError::Expired)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`TokenError`]: what is wrong with it, in words that its bearer may see.
pub fn verify(
    token: &str,
    secrets: Option<&Secrets>,
    keys: &KeySet,
    expected: &Expected,
    now: u64,
) -> Result<Claims, TokenError> {
    let token = Unverified::parse(token)?;
    let candidates = keys.candidates(token.key_id());
    admit(token, secrets, &candidates, expected, now)
}

/// The same for a token whose candidate keys were looked up by its `kid`, in a set that is fetched when it is needed
/// ([`wire::token::Keyring`]).
///
/// ```
#[doc = include_str!("examples/token.txt")]
/// let token = mint(&secrets, &claims);
/// let token = Unverified::parse(&token)?; // Its `key_id` says which keys to fetch, if any.
/// assert_eq!(admit(token, Some(&secrets), &[], &Expected::default(), now)?, claims);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`verify`].
pub fn admit(
    token: Unverified,
    secrets: Option<&Secrets>,
    keys: &[Key],
    expected: &Expected,
    now: u64,
) -> Result<Claims, TokenError> {
    // The algorithm decides which kind of key is tried; there is no other way from a token to a key.
    let is_signed = match token.algorithm() {
        Algorithm::Hs256 => secrets.ok_or(TokenError::NoKey)?.signed(token.signed(), token.signature()),
        Algorithm::Es256 if keys.is_empty() => return Err(TokenError::NoKey),
        Algorithm::Es256 => keys.iter().any(|key| has_signed(key, token.signed(), token.signature())),
    };
    token.admit(is_signed, Kind::Access, expected, now)
}

fn has_signed(key: &Key, signed: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point(key)).verify(signed, signature).is_ok()
}

/// Uncompressed (SEC 1, section 2.3.3).
fn point(key: &Key) -> [u8; 65] {
    let mut point = [4; 65];
    point[1..33].copy_from_slice(&key.x);
    point[33..].copy_from_slice(&key.y);
    point
}

#[cfg(test)]
mod tests;
