//! Requests that this Worker makes: with a time limit, and read whole.

use std::time::Duration;

use futures::{
    StreamExt,
    future::{Either, select},
};
use worker::{AbortController, Delay, Fetch, Headers, Method, Request, RequestInit, RequestRedirect, Response};

/// How long Redis and the origin may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// An answer, whatever its status.
pub(crate) struct HttpAnswer {
    pub(crate) status: u16,
    pub(crate) headers: Headers,
    pub(crate) body: Vec<u8>,
}

/// A request with a bearer token. `body: None` is a GET, else a POST.
pub(crate) fn request(url: &str, token: Option<&str>, accept: &str, body: Option<&str>) -> worker::Result<Request> {
    let headers = Headers::new();
    headers.set("accept", accept)?;
    if let Some(token) = token {
        headers.set("authorization", &format!("Bearer {token}"))?;
    }
    let mut init = RequestInit::new();
    if let Some(body) = body {
        headers.set("content-type", "application/json")?;
        init.with_method(Method::Post).with_body(Some(body.into()));
    }
    // The token is for this address and no other.
    init.with_headers(headers).with_redirect(RequestRedirect::Manual);
    Request::new_with_init(url, &init)
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// None came.
    #[error("{0}")]
    NoAnswer(String),
    /// It has more bytes than are read.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
}

impl From<worker::Error> for Failure {
    fn from(error: worker::Error) -> Self {
        Self::NoAnswer(plain_words(&error.to_string()))
    }
}

/// Sends a request and reads its answer, of at most `limit` bytes.
pub(crate) async fn send(request: Request, limit: usize) -> Result<HttpAnswer, Failure> {
    let controller = AbortController::default();
    let signal = controller.signal();
    let exchange = std::pin::pin!(async {
        let mut response = Fetch::Request(request).send_with_signal(&signal).await?;
        let body = read(&mut response, limit).await?;
        Ok(HttpAnswer { status: response.status_code(), headers: response.headers().clone(), body })
    });
    match select(exchange, Delay::from(ANSWER_WITHIN)).await {
        Either::Left((answer, _)) => answer.inspect_err(|_| controller.abort()),
        Either::Right(_) => {
            controller.abort();
            Err(Failure::NoAnswer(format!("no answer within {} s", ANSWER_WITHIN.as_secs())))
        }
    }
}

/// The runtime's words as part of a sentence of ours.
pub(crate) fn plain_words(error: &str) -> String {
    error.trim_start_matches("Error: ").trim_end_matches('.').to_owned()
}

/// A body of at most `limit` bytes.
pub(crate) async fn read(response: &mut Response, limit: usize) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    let mut chunks = response.stream()?;
    while let Some(chunk) = chunks.next().await {
        body.extend(chunk?);
        if body.len() > limit {
            return Err(Failure::TooLarge(limit));
        }
    }
    Ok(body)
}
