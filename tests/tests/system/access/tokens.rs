//! Tokens signed by a secret (HS256).

use std::time::Duration;

use anyhow::{Context, Result};
use publisher::token::{Secrets, mint};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use stack::{Stack, Viewer, lasting};

use super::{ASKED, Builder, ask, claims, closed, refusal};
use crate::feed::Feed;

const HOUR: Duration = Duration::from_secs(3_600);
/// A JSON Web Token whose header says `{"alg":"none"}`, for anna, until 2286 (RFC 7519, section 6).
const UNSIGNED: &str = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm5hIiwiZXhwIjo5OTk5OTk5OTk5fQ.";

/// All requests about anna's batch are refused with 401 and these words when they show this token.
async fn assert_refused(stack: &Stack, token: &str, words: &str) -> Result<()> {
    for (method, path) in ASKED {
        let answer = ask(stack, method, "b-anna", path).bearer_auth(token).send().await?;
        let challenge = answer.headers().get("www-authenticate").context("no challenge")?.to_str()?.to_owned();
        assert_eq!(challenge, "Bearer error=\"invalid_token\"");
        let said = refusal(answer, 401, "invalid-token").await?;
        assert!(said.contains(words) && !said.contains(token), "{path}: {said}");
    }
    let form = Client::new().post(format!("{}/api/photos/upload", stack.edge.url())).bearer_auth(token);
    assert_eq!(form.send().await?.status(), StatusCode::UNAUTHORIZED, "the photo worker refuses it, too");
    Ok(())
}

#[tokio::test]
async fn without_a_token_nobody_is_let_in() -> Result<()> {
    let stack = closed().start().await?;
    let _feed = Feed::start_of(&stack, "anna", "b-anna", 2).await?;
    for (method, path) in ASKED {
        let answer = ask(&stack, method, "b-anna", path).send().await?;
        assert_eq!(answer.headers().get("www-authenticate").context("no challenge")?, "Bearer");
        refusal(answer, 401, "unauthorized").await?;
    }
    let post = |path: &str| Client::new().post(format!("{}{path}", stack.edge.url()));
    for path in ["/api/batches", "/api/photos/upload", "/api/batches/b-anna/retry", "/api/batches/b-anna/cancel"] {
        refusal(post(path).send().await?, 401, "unauthorized").await?;
    }
    for path in ["/api/photos/ph_1/thumbnail", "/api/projects/p/batches"] {
        refusal(stack.api().get(path).await?, 401, "unauthorized").await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_token_of_the_owner_opens_reads_streams_and_tickets() -> Result<()> {
    let stack = closed().start().await?;
    let feed = Feed::start_of(&stack, "anna", "b-anna", 2).await?;
    let token = stack.token("anna");
    let read = ask(&stack, Method::GET, "b-anna", "").bearer_auth(&token).send().await?;
    assert_eq!(read.status(), StatusCode::OK);
    assert!(!read.text().await?.contains("owner"), "the owner is not shown");
    let stream = Viewer::request(&stack.stream_url("b-anna")).bearer_auth(&token);
    assert_eq!(Viewer::open_with(stream).await?.next_of("progress").await?.id, feed.position()?.to_string());
    super::ticket(&stack, "b-anna", &token).await?;
    Ok(())
}

#[tokio::test]
async fn a_cookie_opens_as_well() -> Result<()> {
    let stack = closed().start().await?;
    let _feed = Feed::start_of(&stack, "anna", "b-anna", 2).await?;
    let cookie = |token: &str| format!("theme=dark; __Host-batchcast={token}");
    let read = ask(&stack, Method::GET, "b-anna", "").header("cookie", cookie(&stack.token("anna")));
    assert_eq!(read.send().await?.status(), StatusCode::OK);
    let read = ask(&stack, Method::GET, "b-anna", "").header("cookie", cookie(UNSIGNED));
    refusal(read.send().await?, 401, "invalid-token").await?;
    Ok(())
}

#[tokio::test]
async fn an_expired_token_is_refused() -> Result<()> {
    let stack = closed().start().await?;
    let _feed = Feed::start_of(&stack, "anna", "b-anna", 2).await?;
    let mut expired = claims("anna", &[], HOUR)?;
    expired.expires -= 3_600_000;
    assert_refused(&stack, &stack.mint(&expired), "it has expired").await
}

#[tokio::test]
async fn a_token_with_a_wrong_signature_is_refused() -> Result<()> {
    let stack = closed().start().await?;
    let _feed = Feed::start_of(&stack, "anna", "b-anna", 2).await?;
    let other = mint(
        &Secrets::parse("another secret of at least 32 bytes".replace(' ', "-").as_str())?,
        &claims("anna", &[], HOUR)?,
    );
    assert_refused(&stack, &other, "its signature is wrong").await?;
    // The claims of another's token under one's own signature.
    let (bert, anna) = (stack.token("bert"), stack.token("anna"));
    let (head, _) = anna.rsplit_once('.').context("no signature")?;
    let (_, signature) = bert.rsplit_once('.').context("no signature")?;
    assert_refused(&stack, &format!("{head}.{signature}"), "its signature is wrong").await
}

#[tokio::test]
async fn a_token_without_an_algorithm_is_refused() -> Result<()> {
    let stack = closed().start().await?;
    let _feed = Feed::start_of(&stack, "anna", "b-anna", 2).await?;
    assert_refused(&stack, UNSIGNED, "neither HS256 nor ES256").await
}

#[tokio::test]
async fn a_wrong_setting_is_named_without_a_secret_that_is_in_it() -> Result<()> {
    let address = "rediss://default:hunter2-hunter2@eu.example.com:6379";
    let stack = closed().edge_var("UPSTASH_REDIS_REST_URL", address).start().await?;
    let said = refusal(ask(&stack, Method::GET, "b", "").send().await?, 500, "misconfigured").await?;
    assert!(said.contains("UPSTASH_REDIS_REST_URL") && !said.contains("hunter2"), "{said}");
    assert!(!stack.edge.log().contains("hunter2"));
    Ok(())
}

#[tokio::test]
async fn a_method_that_is_none_of_ours_goes_no_further() -> Result<()> {
    let stack = closed().start().await?;
    let purge = Method::from_bytes(b"PURGE")?;
    let answer = Client::new().request(purge, format!("{}/api/photos/upload", stack.edge.url())).send().await?;
    refusal(answer, 405, "method-not-allowed").await?;
    Ok(())
}

#[tokio::test]
async fn a_secret_is_replaced_without_a_refusal() -> Result<()> {
    let (old, new) = ("old-secret-of-at-least-32-bytes-0", "new-secret-of-at-least-32-bytes-0");
    let both = format!("{new} {old}");
    let build = |stack: Builder| stack.edge_var("AUTH_SECRET", &both);
    let stack = build(closed()).start().await?;
    let _feed = Feed::start_of(&stack, "anna", "b-anna", 2).await?;
    for secret in [old, new] {
        let token = mint(&Secrets::parse(secret)?, &claims("anna", &[], HOUR)?);
        let read = ask(&stack, Method::GET, "b-anna", "").bearer_auth(token).send().await?;
        assert_eq!(read.status(), StatusCode::OK, "{secret}");
    }
    Ok(())
}

#[tokio::test]
async fn a_token_for_another_batch_opens_nothing_else() -> Result<()> {
    let stack = closed().start().await?;
    let _anna = Feed::start_of(&stack, "anna", "b-anna", 2).await?;
    let _shown = Feed::start_of(&stack, "anna", "b-shown", 2).await?;
    let token = stack.mint(&claims("bert", &["b-shown"], HOUR)?);
    for (path, status) in [("", 200), ("/stream", 200)] {
        let shown = ask(&stack, Method::GET, "b-shown", path).bearer_auth(&token).send().await?;
        assert_eq!(shown.status(), status, "{path}");
        let other = ask(&stack, Method::GET, "b-anna", path).bearer_auth(&token).send().await?;
        refusal(other, 404, "unknown-batch").await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_batch_that_nobody_owns_is_opened_by_name_only() -> Result<()> {
    let stack = closed().start().await?;
    let _feed = Feed::start(&stack, "b-nobody", 2).await?;
    let read = |token: String| ask(&stack, Method::GET, "b-nobody", "").bearer_auth(token).send();
    refusal(read(stack.token("anna")).await?, 404, "unknown-batch").await?;
    assert_eq!(read(stack.mint(&claims("anna", &["b-nobody"], HOUR)?)).await?.status(), StatusCode::OK);
    Ok(())
}

/// The times are those of the answers, not of the system: an unknown batch is asked for at an origin that takes its
/// time, another's is known from memory.
#[tokio::test]
async fn a_batch_of_another_user_looks_like_an_unknown_one() -> Result<()> {
    let origin = super::issuer::Server::start(Duration::from_millis(100), 404, "").await?;
    let stack = closed().edge_var("ORIGIN_URL", &origin.url()).start().await?;
    let _feed = Feed::start_of(&stack, "anna", "b-anna", 2).await?;
    let token = stack.token("bert");
    for path in ["", "/stream"] {
        let (mut others, mut unknown) = (Vec::new(), Vec::new());
        for n in 0..9 {
            for (batch, times) in
                [("b-anna".to_owned(), &mut others), (format!("b-none-{n}{}", path.len()), &mut unknown)]
            {
                let asked_at = std::time::Instant::now();
                let answer = ask(&stack, Method::GET, &batch, path).bearer_auth(&token).send().await?;
                let headers: Vec<String> = answer.headers().keys().map(ToString::to_string).collect();
                let words = refusal(answer, 404, "unknown-batch").await?;
                times.push((asked_at.elapsed(), words.replace(&batch, "ID"), headers));
            }
        }
        assert_eq!(others[0].1, unknown[0].1);
        assert_eq!(others[0].2, unknown[0].2);
        let median = |times: &mut Vec<(Duration, String, Vec<String>)>| {
            times.sort();
            times[times.len() / 2].0
        };
        let (others, unknown) = (median(&mut others), median(&mut unknown));
        assert!(others.abs_diff(unknown) < Duration::from_millis(70), "{path}: {others:?} and {unknown:?}");
    }
    assert!(origin.requests() >= 9, "the unknown ones were asked for");
    Ok(())
}

#[tokio::test]
async fn a_user_named_by_a_header_is_not_believed() -> Result<()> {
    let stack = closed().start().await?;
    let _feed = Feed::start_of(&stack, "anna", "b-anna", 2).await?;
    for (method, path) in ASKED {
        let named = ask(&stack, method, "b-anna", path).header("x-user-id", "anna");
        refusal(named.send().await?, 401, "unauthorized").await?;
    }
    let read = ask(&stack, Method::GET, "b-anna", "").header("x-user-id", "anna").bearer_auth(stack.token("bert"));
    refusal(read.send().await?, 404, "unknown-batch").await?;

    let declare = Client::new().post(format!("{}/api/batches", stack.edge.url()));
    let declare = declare.header("x-user-id", "anna").bearer_auth(stack.token("bert"));
    let body = json!({"projectId": "p", "photos": [{"name": "a.jpg", "size": 3}]});
    let made: Value = declare.json(&body).send().await?.error_for_status()?.json().await?;
    let batch = made["batchId"].as_str().context("no batch")?;
    let read = |token: String| ask(&stack, Method::GET, batch, "").bearer_auth(token).send();
    assert_eq!(read(stack.token("bert")).await?.status(), StatusCode::OK, "it is whose token made it");
    assert_eq!(read(stack.token("anna")).await?.status(), StatusCode::NOT_FOUND);
    Ok(())
}

#[tokio::test]
async fn a_token_for_all_batches_opens_each() -> Result<()> {
    let stack = closed().start().await?;
    let _feed = Feed::start_of(&stack, "anna", "b-anna", 2).await?;
    let token = stack.addresses().token;
    let read = ask(&stack, Method::GET, "b-anna", "").bearer_auth(token).send().await?;
    assert_eq!(read.status(), StatusCode::OK);
    // Without `sub` or `batches` it would open nothing, so it is none.
    let mut nobody = lasting(HOUR, publisher::token::Grant::user("x"));
    nobody.grant.subject = None;
    let read = ask(&stack, Method::GET, "b-anna", "").bearer_auth(stack.mint(&nobody)).send().await?;
    refusal(read, 401, "invalid-token").await?;
    Ok(())
}

#[tokio::test]
async fn a_user_in_any_script_owns_their_batch_also_after_redis_lost_it() -> Result<()> {
    let stack = closed().edge_var("ACTIVE_TTL_SECS", "0").start().await?;
    let user = "Änna 安娜 100% \"x\"";
    let declare = Client::new().post(format!("{}/api/batches", stack.edge.url())).bearer_auth(stack.token(user));
    let body = json!({"projectId": "p", "photos": [{"name": "a.jpg", "size": 3}]});
    let made: Value = declare.json(&body).send().await?.error_for_status()?.json().await?;
    let batch = made["batchId"].as_str().context("no batch")?;
    for emptied in [false, true] {
        if emptied {
            redis::cmd("FLUSHALL").query_async::<()>(&mut stack.redis_connection().await?).await?;
        }
        let read = |user: &str| ask(&stack, Method::GET, batch, "").bearer_auth(stack.token(user)).send();
        assert_eq!(read(user).await?.status(), StatusCode::OK, "emptied: {emptied}");
        assert_eq!(read("Anna").await?.status(), StatusCode::NOT_FOUND, "emptied: {emptied}");
    }
    Ok(())
}
