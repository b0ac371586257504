//! Tokens signed by an issuer's keys (ES256), which the edge fetches as a key set.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use publisher::token::{Secrets, mint};
use reqwest::{Method, Response, StatusCode};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::json;
use stack::{Stack, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::{ask, claims, closed, refusal};
use crate::feed::Feed;

const HOUR: Duration = Duration::from_secs(3_600);

/// A set is left alone for half a minute.
const UNTIL_FETCHED: Duration = Duration::from_secs(90);

/// A server that gives each request the same answer, after a while.
pub(super) struct Server {
    url: String,
    requests: Arc<AtomicUsize>,
    body: Arc<Mutex<String>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(super) async fn start(wait: Duration, status: u16, body: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let (requests, body) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(body.to_owned())));
        let (counted, answered) = (Arc::clone(&requests), Arc::clone(&body));
        let task = tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let (counted, answered) = (Arc::clone(&counted), Arc::clone(&answered));
                tokio::spawn(async move {
                    let mut request = [0; 4096];
                    if socket.read(&mut request).await.is_ok_and(|bytes| bytes > 0) {
                        counted.fetch_add(1, Ordering::SeqCst);
                        tokio::time::sleep(wait).await;
                        let body = answered.lock().map(|body| body.clone()).unwrap_or_default();
                        let head = format!(
                            "HTTP/1.1 {status} -\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                            body.len()
                        );
                        // Whoever asked may have left.
                        let _ = socket.write_all((head + &body).as_bytes()).await;
                    }
                });
            }
        });
        Ok(Self { url, requests, body, task })
    }

    pub(super) fn url(&self) -> String {
        self.url.clone()
    }

    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    fn answer(&self, body: String) {
        if let Ok(mut answered) = self.body.lock() {
            *answered = body;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A key of an issuer, with its name.
struct Key {
    id: &'static str,
    pair: EcdsaKeyPair,
}

impl Key {
    fn new(id: &'static str) -> Result<Self> {
        let (random, algorithm) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(|_| anyhow!("no key"))?;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).map_err(|error| anyhow!(error))?;
        Ok(Self { id, pair })
    }

    fn jwk(&self) -> serde_json::Value {
        let point = self.pair.public_key().as_ref();
        let (x, y) = (base64url(&point[1..33]), base64url(&point[33..]));
        json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.id, "x": x, "y": y})
    }

    fn token(&self, user: &str) -> Result<String> {
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": self.id}).to_string();
        let payload = json!({"sub": user, "exp": 9_999_999_999_u64}).to_string();
        let signed = format!("{}.{}", base64url(header.as_bytes()), base64url(payload.as_bytes()));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).map_err(|_| anyhow!("no signature"))?;
        Ok(wire::token::compact(&signed, signature.as_ref()))
    }
}

/// A token's third part is the base64url of its signature.
fn base64url(bytes: &[u8]) -> String {
    wire::token::compact("", bytes)[1..].to_owned()
}

fn key_set(keys: &[&Key]) -> String {
    json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()}).to_string()
}

async fn read(stack: &Stack, token: &str) -> Result<Response> {
    Ok(ask(stack, Method::GET, "b-anna", "").bearer_auth(token).send().await?)
}

#[tokio::test]
async fn an_issuers_keys_are_fetched_once_and_again_for_a_new_one() -> Result<()> {
    let (first, second, never) = (Key::new("first")?, Key::new("second")?, Key::new("never")?);
    let issuer = Server::start(Duration::ZERO, 200, &key_set(&[&first])).await?;
    let stack = closed().edge_var("AUTH_JWKS_URL", &issuer.url()).start().await?;
    let _feed = Feed::start_of(&stack, "anna", "b-anna", 2).await?;
    for _ in 0..5 {
        assert_eq!(read(&stack, &first.token("anna")?).await?.status(), StatusCode::OK);
    }
    assert_eq!(issuer.requests(), 1, "cached");
    refusal(read(&stack, &first.token("bert")?).await?, 404, "unknown-batch").await?;

    issuer.answer(key_set(&[&first, &second]));
    for _ in 0..5 {
        let said = refusal(read(&stack, &never.token("anna")?).await?, 401, "invalid-token").await?;
        assert!(said.contains("no key"), "{said}");
    }
    assert_eq!(issuer.requests(), 1, "the set is less than half a minute old");
    eventually(UNTIL_FETCHED, async || {
        // Strangers, as whom it counts until then, may not ask without a pause.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let status = read(&stack, &second.token("anna")?).await?.status();
        ensure!(status == StatusCode::OK, "{status}");
        Ok(())
    })
    .await?;
    assert_eq!(issuer.requests(), 2);
    assert_eq!(read(&stack, &first.token("anna")?).await?.status(), StatusCode::OK);

    issuer.answer(key_set(&[&second]));
    refusal(read(&stack, &never.token("anna")?).await?, 401, "invalid-token").await?;
    assert_eq!(issuer.requests(), 2, "what nobody has is not asked for over and over");
    Ok(())
}

#[tokio::test]
async fn a_public_key_checks_no_hmac() -> Result<()> {
    let key = Key::new("k")?;
    let set = key_set(&[&key]);
    let issuer = Server::start(Duration::ZERO, 200, &set).await?;
    for secret in ["", "a-secret-that-is-set-as-well-0123456789"] {
        let stack = closed().edge_var("AUTH_JWKS_URL", &issuer.url()).edge_var("AUTH_SECRET", secret).start().await?;
        let _feed = Feed::start_of(&stack, "anna", "b-anna", 2).await?;
        assert_eq!(read(&stack, &key.token("anna")?).await?.status(), StatusCode::OK);
        let (jwk, x) = (key.jwk().to_string(), key.jwk()["x"].to_string());
        let point = key.pair.public_key().as_ref();
        let public: [&[u8]; 4] = [set.as_bytes(), jwk.as_bytes(), x.as_bytes(), point];
        for bytes in public {
            let secret = publisher::token::Secret::new(bytes)?;
            let forged = mint(&Secrets::from(secret), &claims("anna", &[], HOUR)?);
            refusal(read(&stack, &forged).await?, 401, "invalid-token").await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn without_a_secret_there_are_no_tickets() -> Result<()> {
    let key = Key::new("k")?;
    let issuer = Server::start(Duration::ZERO, 200, &key_set(&[&key])).await?;
    let stack = closed().edge_var("AUTH_JWKS_URL", &issuer.url()).edge_var("AUTH_SECRET", "").start().await?;
    let asked = ask(&stack, Method::POST, "b-anna", "/ticket").bearer_auth(key.token("anna")?).send().await?;
    assert!(refusal(asked, 501, "tickets-unavailable").await?.contains("AUTH_SECRET"));
    Ok(())
}

#[tokio::test]
async fn an_issuer_that_does_not_answer_is_no_reason_to_give_up() -> Result<()> {
    let key = Key::new("k")?;
    let issuer = Server::start(Duration::ZERO, 500, "").await?;
    let stack = closed().edge_var("AUTH_JWKS_URL", &issuer.url()).start().await?;
    let _feed = Feed::start_of(&stack, "anna", "b-anna", 2).await?;
    let answer = read(&stack, &key.token("anna")?).await?;
    assert!(answer.headers().contains_key("retry-after"));
    refusal(answer, 503, "unavailable").await?;
    let stream = stack::Viewer::request(&stack.stream_url("b-anna")).bearer_auth(key.token("anna")?);
    let mut viewer = stack::Viewer::open_with(stream).await?;
    assert_eq!(viewer.next().await?.map(|seen| seen.event), Some("busy".to_owned()));
    assert_eq!(issuer.requests(), 1, "it is left alone for a moment");
    Ok(())
}

#[tokio::test]
async fn a_token_for_another_audience_or_by_another_issuer_is_refused() -> Result<()> {
    let stack = closed().edge_var("AUTH_AUDIENCE", "batchcast").edge_var("AUTH_ISSUER", "us").start().await?;
    let _feed = Feed::start_of(&stack, "anna", "b-anna", 2).await?;
    for (audience, issuer, words) in [("batchcast", "us", ""), ("other", "us", "aud"), ("batchcast", "them", "iss")] {
        let mut claims = claims("anna", &[], HOUR)?;
        (claims.audience, claims.issuer) = (vec![audience.to_owned()], Some(issuer.to_owned()));
        let answer = read(&stack, &stack.mint(&claims)).await?;
        if words.is_empty() {
            assert_eq!(answer.status(), StatusCode::OK);
            // Its tickets name the same, so that no other deployment with the same secret takes them.
            let ticket = super::ticket(&stack, "b-anna", &stack.mint(&claims)).await?;
            stack::Viewer::open(&format!("{}?ticket={ticket}", stack.stream_url("b-anna"))).await?;
        } else {
            assert!(refusal(answer, 401, "invalid-token").await?.contains(words));
        }
    }
    Ok(())
}
