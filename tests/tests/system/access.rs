//! Nobody gets in where they don't belong: tokens, tickets, origins, limits, and what others have put into Redis.
//!
//! All but the development switch's tests run a stack that is closed, as in production.

mod abuse;
mod crowds;
mod foreign;
mod issuer;
mod origins;
mod photos;
mod renewal;
mod rights;
mod secrets;
mod shown;
mod tickets;
mod tokens;

use std::time::Duration;

use anyhow::{Context, Result};
use publisher::token::{Batches, Claims, Grant};
use reqwest::multipart::{Form, Part};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use stack::{Builder, Stack, lasting};

/// A system that lets nobody in without a token.
fn closed() -> Builder {
    Stack::builder().bare().closed()
}

/// What is asked of the edge about one batch, as the rows of the tests name it.
const ASKED: [(Method, &str); 3] = [(Method::GET, ""), (Method::GET, "/stream"), (Method::POST, "/ticket")];

/// A request about a batch; `path` follows its id.
fn ask(stack: &Stack, method: Method, batch: &str, path: &str) -> RequestBuilder {
    Client::new().request(method, format!("{}/api/batches/{batch}{path}", stack.edge.url()))
}

/// The claims of a user's token for these batches, good for so long.
fn claims(user: &str, batches: &[&str], time: Duration) -> Result<Claims> {
    let batches = batches.iter().map(|id| id.parse()).collect::<Result<_, _>>()?;
    Ok(lasting(time, Grant::new(user.to_owned(), Batches::These(batches))))
}

/// The words of an answer that must be a problem of this status and type.
async fn refusal(response: Response, status: u16, kind: &str) -> Result<String> {
    let (url, found) = (response.url().clone(), response.status().as_u16());
    let problem: Value = response.json().await.with_context(|| format!("{url}: {found}, no problem document"))?;
    let expected = format!("urn:batchcast:problem:{kind}");
    assert_eq!((found, problem["type"].as_str()), (status, Some(&*expected)), "{url}: {problem}");
    problem["detail"].as_str().map(str::to_owned).context("no detail")
}

/// A ticket for a batch, by a token.
async fn ticket(stack: &Stack, batch: &str, token: &str) -> Result<String> {
    let answer = ask(stack, Method::POST, batch, "/ticket").bearer_auth(token).send().await?;
    assert_eq!(answer.status(), 201);
    let answer: Value = answer.json().await?;
    answer["ticket"].as_str().map(str::to_owned).context("no ticket")
}

/// Declares photos of these names as the user of `token`; the ids of the batch and of its photos.
async fn declare(stack: &Stack, token: &str, names: &[&str]) -> Result<(String, Vec<String>)> {
    let photos: Vec<Value> = names.iter().map(|name| json!({"name": name, "size": 10})).collect();
    let post = Client::new().post(format!("{}/api/batches", stack.edge.url())).bearer_auth(token);
    let made = post.json(&json!({"projectId": "p", "photos": photos})).send().await?.error_for_status()?;
    let made: Value = made.json().await?;
    let ids = made["photoIds"].as_array().context("no ids")?.iter().filter_map(|id| Some(id.as_str()?.to_owned()));
    Ok((made["batchId"].as_str().context("no id")?.to_owned(), ids.collect()))
}

async fn upload(stack: &Stack, token: &str, batch: &str, photo: &str, name: &str, bytes: Vec<u8>) -> Result<Response> {
    let form = Form::new()
        .text("projectId", "p")
        .text("batchId", batch.to_owned())
        .text("photoId", photo.to_owned())
        .part("file", Part::bytes(bytes).file_name(name.to_owned()));
    let post = Client::new().post(format!("{}/api/photos/upload", stack.edge.url())).bearer_auth(token);
    Ok(post.multipart(form).send().await?)
}
