//! Public keys as their issuer serves them: a JWK Set (RFC 7517).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

use crate::limits::{MAX_CANDIDATE_KEYS, MAX_KEY_SET_BYTES, MAX_KEYS};

/// The keys of a set that can check ES256; what else it holds is left out, as section 5 asks.
///
/// ```
/// # let json = br#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},
/// #     {"kty":"EC","crv":"P-256","kid":"2026","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
/// #     "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
/// # use batchcast_wire::token::KeySet;
/// let keys = KeySet::parse(json)?; // The answer to GET AUTH_JWKS_URL.
/// assert_eq!(keys.candidates(Some("2026")).len(), 1);
/// # Ok::<(), batchcast_wire::token::KeySetError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeySet {
    keys: Vec<Key>,
}

/// A public key on P-256 (RFC 7518, section 6.2.1), which is a point and a name, so that it may be made of its parts.
///
/// ```
/// # let json = br#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},
/// #     {"kty":"EC","crv":"P-256","kid":"2026","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
/// #     "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
/// # use batchcast_wire::token::KeySet;
/// let keys = KeySet::parse(json)?.candidates(None);
/// // The point as cryptography libraries take it: uncompressed, in the form of SEC 1.
/// let point = [&[4], &keys[0].x[..], &keys[0].y[..]].concat();
/// assert_eq!(point.len(), 65);
/// # Ok::<(), batchcast_wire::token::KeySetError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its name.
    pub id: Option<String>,
    /// The point's coordinates, big-endian.
    pub x: [u8; 32],
    /// See `x`.
    pub y: [u8; 32],
}

/// A set that is of no use.
///
/// ```
/// use batchcast_wire::token::{KeySet, KeySetError};
///
/// // A login page where the keys should be: the address is wrong, and the keys known before stay.
/// assert_eq!(KeySet::parse(b"<html>"), Err(KeySetError::Malformed));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeySetError {
    /// More than [`MAX_KEY_SET_BYTES`].
    #[error("the key set has more than {MAX_KEY_SET_BYTES} bytes")]
    TooLarge,
    /// No JSON object with `keys`.
    #[error("the key set is no JSON object with a list of keys")]
    Malformed,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    crv: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a set. One that holds nothing of use is empty: its issuer has taken all keys out.
    ///
    /// ```
    /// # let json = br#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},
    /// #     {"kty":"EC","crv":"P-256","kid":"2026","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    /// #     "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
    /// # use batchcast_wire::token::KeySet;
    /// assert_eq!(KeySet::parse(json)?.candidates(None).len(), 1); // The RSA key is not for us.
    /// assert!(KeySet::parse(br#"{"keys":[]}"#)?.candidates(None).is_empty());
    /// # Ok::<(), batchcast_wire::token::KeySetError>(())
    /// ```
    ///
    /// # Errors
    /// [`KeySetError`]: it can't be read.
    pub fn parse(json: &[u8]) -> Result<Self, KeySetError> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        if json.len() > MAX_KEY_SET_BYTES {
            return Err(KeySetError::TooLarge);
        }
        let set: Set = serde_json::from_slice(json).map_err(|_| KeySetError::Malformed)?;
        Ok(Self { keys: set.keys.into_iter().filter_map(key).take(MAX_KEYS).collect() })
    }

    /// The keys that a token with this `kid` may be signed with: those of the name, or without one, any. So few that a
    /// token costs no more than a few checks.
    ///
    /// ```
    /// # let json = br#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},
    /// #     {"kty":"EC","crv":"P-256","kid":"2026","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    /// #     "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
    /// # use batchcast_wire::token::KeySet;
    /// let keys = KeySet::parse(json)?;
    /// assert_eq!(keys.candidates(Some("2026")).len(), 1);
    /// assert_eq!(keys.candidates(Some("1999")).len(), 0); // Maybe a new one: fetch the set again.
    /// # Ok::<(), batchcast_wire::token::KeySetError>(())
    /// ```
    pub fn candidates(&self, id: Option<&str>) -> Vec<Key> {
        self.keys
            .iter()
            .filter(|key| id.is_none() || key.id.as_deref() == id)
            .take(MAX_CANDIDATE_KEYS)
            .cloned()
            .collect()
    }
}

fn key(value: serde_json::Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let fits = jwk.kty == "EC"
        && jwk.crv.as_deref() == Some("P-256")
        && jwk.alg.is_none_or(|alg| alg == "ES256")
        && jwk.usage.is_none_or(|usage| usage == "sig");
    let coordinate = |text: Option<String>| URL_SAFE_NO_PAD.decode(text?).ok()?.try_into().ok();
    fits.then_some(Key { id: jwk.kid, x: coordinate(jwk.x)?, y: coordinate(jwk.y)? })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The point of RFC 7515, appendix A.3.1.
    pub(crate) fn jwk(id: &str) -> String {
        format!(
            r#"{{"kty":"EC","crv":"P-256","kid":"{id}","use":"sig","alg":"ES256",
            "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}}"#
        )
    }

    pub(crate) fn set(ids: &[&str]) -> KeySet {
        let keys: Vec<String> = ids.iter().map(|id| jwk(id)).collect();
        KeySet::parse(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes()).unwrap()
    }

    #[test]
    fn a_key_is_found_by_its_name_and_without_one_each_may_be_it() {
        let keys = set(&["1", "2"]);
        assert_eq!(keys.candidates(Some("2")).len(), 1);
        assert_eq!(keys.candidates(Some("3")).len(), 0);
        assert_eq!(keys.candidates(None).len(), 2);
        assert_eq!(set(&["1", "2", "3", "4", "5"]).candidates(None).len(), MAX_CANDIDATE_KEYS);
        assert_eq!(keys.candidates(Some("1"))[0].x[..2], [0x7f, 0xcd]);
    }

    #[test]
    fn keys_of_other_kinds_are_left_out() {
        let others = [
            r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#,
            r#"{"kty":"oct","k":"c2VjcmV0"}"#,
            &jwk("1").replace("P-256", "P-384"),
            &jwk("1").replace(r#""sig""#, r#""enc""#),
            &jwk("1").replace("ES256", "HS256"),
            &jwk("1").replace("f83O", ""),
            "7",
        ];
        let json = format!(r#"{{"keys":[{}]}}"#, others.join(","));
        assert_eq!(KeySet::parse(json.as_bytes()), Ok(KeySet::default()), "its issuer has taken all keys out");
        let json = format!(r#"{{"keys":[{},{}]}}"#, others.join(","), jwk("good"));
        assert_eq!(KeySet::parse(json.as_bytes()).unwrap().candidates(None).len(), 1);
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for bad in ["", "[]", "{}", r#"{"keys":7}"#, "<html>"] {
            assert_eq!(KeySet::parse(bad.as_bytes()), Err(KeySetError::Malformed), "{bad}");
        }
        assert_eq!(KeySet::parse(&vec![b' '; MAX_KEY_SET_BYTES + 1]), Err(KeySetError::TooLarge));
    }
}
