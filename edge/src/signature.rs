//! Checking and making signatures, by the platform's cryptography; and the key set, fetched when
//! [`wire::token::Keyring`] says so.

use std::cell::RefCell;

use futures::channel::oneshot;
use js_sys::{Promise, Uint8Array};
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};
use wire::{
    limits::MAX_KEY_SET_BYTES,
    token::{Algorithm, Claims, Key, KeySet, Keyring, Kind as TokenKind, Lookup, TokenError, Unverified, compact},
};
use worker::{Context, wasm_bindgen_futures::JsFuture};

use crate::{
    access::refused,
    clock::now,
    log,
    problem::{Kind, Problem},
    request,
    settings::Settings,
};

#[wasm_bindgen(module = "/src/crypto.js")]
extern "C" {
    #[wasm_bindgen(catch)]
    fn hmac(secret: &[u8], data: &[u8]) -> Result<Promise, JsValue>;
    #[wasm_bindgen(catch, js_name = isHmac)]
    fn is_hmac(secret: &[u8], data: &[u8], signature: &[u8]) -> Result<Promise, JsValue>;
    #[wasm_bindgen(catch, js_name = isEcdsa)]
    fn is_ecdsa(point: &[u8], data: &[u8], signature: &[u8]) -> Result<Promise, JsValue>;
}

thread_local! {
    /// The keys of `AUTH_JWKS_URL`, which is the same for all requests of an isolate.
    static KEYRING: RefCell<Keyring> = RefCell::default();
}

/// Whether one of our secrets or keys has signed the token. The algorithm decides which of the two are tried: a public
/// key never checks an HMAC.
///
/// # Errors
/// 401: there is no key for it at all. 503: the key set can't be had.
pub(crate) async fn is_signed(
    settings: &Settings,
    context: &Context,
    kind: TokenKind,
    token: &Unverified,
) -> Result<bool, Problem> {
    match (token.algorithm(), &settings.key_set_url) {
        (Algorithm::Hs256, _) if !settings.secrets.is_empty() => {
            for secret in &settings.secrets {
                let checked = is_hmac(secret.as_bytes(), token.signed(), token.signature());
                if holds(checked).await {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        (Algorithm::Es256, Some(url)) if kind == TokenKind::Access => {
            let keys = keys(url, context, token.key_id()).await?;
            if keys.is_empty() {
                return Err(refused(kind, TokenError::NoKey));
            }
            for key in keys {
                if holds(is_ecdsa(&point(&key), token.signed(), token.signature())).await {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        _ => Err(refused(kind, TokenError::NoKey)),
    }
}

/// What the platform can't check, a signature of another length say, is not signed.
async fn holds(checked: Result<Promise, JsValue>) -> bool {
    match checked {
        Ok(promise) => JsFuture::from(promise).await.is_ok_and(|good| good.is_truthy()),
        Err(_) => false,
    }
}

fn point(key: &Key) -> [u8; 65] {
    let mut point = [4; 65];
    point[1..33].copy_from_slice(&key.x);
    point[33..].copy_from_slice(&key.y);
    point
}

/// A ticket with these claims, signed with the first secret; `None`: there is none.
pub(crate) async fn sign(settings: &Settings, claims: &Claims) -> worker::Result<Option<String>> {
    let Some(secret) = settings.secrets.first() else { return Ok(None) };
    let signed = claims.to_be_signed();
    let signature = JsFuture::from(hmac(secret.as_bytes(), signed.as_bytes())?).await?;
    Ok(Some(compact(&signed, &Uint8Array::new(&signature).to_vec())))
}

async fn keys(url: &str, context: &Context, id: Option<&str>) -> Result<Vec<Key>, Problem> {
    let look_up = || KEYRING.with_borrow(|ring| ring.look_up(id, now()));
    let mut found = look_up();
    if found == Lookup::Fetch {
        KEYRING.with_borrow_mut(|ring| ring.begin(now()));
        let ((done, fetched), url) = (oneshot::channel(), url.to_owned());
        // It goes on when whoever caused it leaves: else they could keep others from fetching for a while.
        context.wait_until(async move {
            let set = fetch(&url).await.map_err(|words| log::warn(&format!("AUTH_JWKS_URL: {words}"))).ok();
            KEYRING.with_borrow_mut(|ring| ring.finish(set, now()));
            let _ = done.send(());
        });
        let _ = fetched.await;
        found = look_up();
    }
    match found {
        Lookup::Keys(keys) => Ok(keys),
        // Asked for again only if clocks jump in between.
        Lookup::Fetch | Lookup::Unavailable => {
            Err(Problem::new(Kind::Unavailable, "The keys that check tokens can't be had just now. Try again."))
        }
    }
}

async fn fetch(url: &str) -> Result<KeySet, String> {
    let request = request::request(url, None, "application/json", None).map_err(|error| error.to_string())?;
    let answer = request::send(request, MAX_KEY_SET_BYTES).await.map_err(|failure| failure.to_string())?;
    match answer.status {
        200 => KeySet::parse(&answer.body).map_err(|error| error.to_string()),
        status => Err(format!("it answers {status}")),
    }
}
