//! Requests that this Worker makes: with a time limit, and read whole.

use std::time::Duration;

use futures::future::{Either, select};
use worker::{AbortController, Delay, Fetch, Headers, Method, Request, RequestInit, Response};

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
    init.with_headers(headers);
    Request::new_with_init(url, &init)
}

/// Sends a request and reads its answer, or says in words why there is none.
pub(crate) async fn send(request: Request) -> Result<HttpAnswer, String> {
    let controller = AbortController::default();
    let signal = controller.signal();
    let exchange = std::pin::pin!(async {
        let mut response = Fetch::Request(request).send_with_signal(&signal).await?;
        read(&mut response).await
    });
    match select(exchange, Delay::from(ANSWER_WITHIN)).await {
        Either::Left((answer, _)) => answer.map_err(|error| plain_words(&error.to_string())),
        Either::Right(_) => {
            controller.abort();
            Err(format!("no answer within {} s", ANSWER_WITHIN.as_secs()))
        }
    }
}

/// The runtime's words as part of a sentence of ours.
fn plain_words(error: &str) -> String {
    error.trim_start_matches("Error: ").trim_end_matches('.').to_owned()
}

async fn read(response: &mut Response) -> worker::Result<HttpAnswer> {
    let body = response.bytes().await?;
    Ok(HttpAnswer { status: response.status_code(), headers: response.headers().clone(), body })
}
