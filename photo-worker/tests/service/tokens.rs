//! Tokens, and the issuer of those that a public key checks.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{Router, http::StatusCode, routing::get};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use publisher::token::{Batches, Claims, Grant, Secrets, mint};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

pub(crate) const SECRET: &str = "a-secret-for-tests-of-more-than-32-bytes";

/// Milliseconds since the Unix epoch, far away.
pub(crate) const LATE: u64 = 9_999_999_999_000;

pub(crate) fn claims(grant: Grant) -> Claims {
    Claims::new(grant, LATE)
}

/// A token by [`SECRET`].
pub(crate) fn token(grant: Grant) -> String {
    mint(&Secrets::parse(SECRET).unwrap(), &claims(grant))
}

/// Of no user, for these batches.
pub(crate) fn shown(batches: Batches) -> Grant {
    Grant::new(None, batches)
}

pub(crate) fn to_be_signed(header: &Value, claims: &Value) -> String {
    [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".")
}

pub(crate) fn compact(signed: &str, signature: &[u8]) -> String {
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A key pair for ES256.
pub(crate) struct Pair {
    kid: &'static str,
    pair: EcdsaKeyPair,
}

impl Pair {
    pub(crate) fn new(kid: &'static str) -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
        Self { kid, pair }
    }

    /// A token for a user, with the `kid` of this pair.
    pub(crate) fn token(&self, user: &str) -> String {
        self.token_named(self.kid, user)
    }

    pub(crate) fn token_named(&self, kid: &str, user: &str) -> String {
        let signed = to_be_signed(&json!({ "alg": "ES256", "kid": kid }), &json!({ "sub": user, "exp": LATE / 1000 }));
        compact(&signed, self.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap().as_ref())
    }

    pub(crate) fn public(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    fn jwk(&self) -> Value {
        let [x, y] = [1..33, 33..65].map(|range| URL_SAFE_NO_PAD.encode(&self.public()[range]));
        json!({ "kty": "EC", "crv": "P-256", "kid": self.kid, "x": x, "y": y })
    }
}

pub(crate) fn jwks(pairs: &[&Pair]) -> String {
    json!({ "keys": pairs.iter().map(|pair| pair.jwk()).collect::<Vec<_>>() }).to_string()
}

/// A server of a key set that counts how often it is asked.
pub(crate) struct Issuer {
    address: SocketAddr,
    answer: Arc<Mutex<(StatusCode, String)>>,
    asked: Arc<AtomicUsize>,
}

impl Issuer {
    pub(crate) async fn start(pairs: &[&Pair]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(Mutex::new((StatusCode::OK, jwks(pairs))));
        let asked = Arc::new(AtomicUsize::new(0));
        let (its_answer, its_asked) = (Arc::clone(&answer), Arc::clone(&asked));
        let serve = move || {
            its_asked.fetch_add(1, Ordering::SeqCst);
            let answer = its_answer.lock().unwrap().clone();
            async { answer }
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/jwks.json", get(serve))).await });
        Self { address, answer, asked }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/jwks.json", self.address)
    }

    pub(crate) fn answers(&self, status: StatusCode, body: String) {
        *self.answer.lock().unwrap() = (status, body);
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}
