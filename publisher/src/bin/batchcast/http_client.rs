//! A client of HTTP: one request, one answer; or an event stream.
//!
//! hyper's client and rustls with `ring`, as in the photo worker: `reqwest` with TLS would bring a second provider of
//! cryptography, between which rustls can't choose.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full, Limited, combinators::UnsyncBoxBody};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use redis_rest::event_stream::{Decoder, Item};
use wire::limits::{MAX_REPLY_BYTES, MAX_STATE_BYTES};

use crate::{target::Target, tls};

/// How long an answer may take where nothing else is said.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// More than the largest state takes in one event.
const MAX_EVENT_BYTES: usize = 2 * MAX_STATE_BYTES;

/// Why there is no answer; in words that hold no address and no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("no answer: {0}")]
    NoAnswer(String),
    #[error("no answer within {0:?}")]
    TooSlow(Duration),
    #[error("the answer broke off, or has more than {MAX_REPLY_BYTES} bytes")]
    Broken,
    #[error("a token holds characters that no header may: it is one line of ASCII")]
    Header,
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
}

/// A client that keeps connections.
#[derive(Debug, Clone)]
pub(crate) struct Http(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

/// What is asked.
#[derive(Debug)]
pub(crate) struct Ask {
    method: Method,
    url: String,
    bearer: Option<String>,
    headers: Vec<(HeaderName, String)>,
    body: Bytes,
    within: Duration,
}

/// What was answered.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// From before the request to the last byte of the answer.
    pub(crate) took: Duration,
}

impl Answer {
    /// A header's text; none where it is absent or no text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The words of a problem document (RFC 9457).
    pub(crate) fn detail(&self) -> Option<String> {
        #[derive(serde::Deserialize)]
        struct Problem {
            detail: String,
        }
        serde_json::from_slice(&self.body).ok().map(|Problem { detail }| detail)
    }
}

impl Ask {
    fn new(method: Method, url: String, body: Bytes) -> Self {
        Self { method, url, bearer: None, headers: Vec::new(), body, within: ANSWER_WITHIN }
    }

    pub(crate) fn get(url: String) -> Self {
        Self::new(Method::GET, url, Bytes::new())
    }

    pub(crate) fn post(url: String, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self::new(Method::POST, url, body.into()).header(header::CONTENT_TYPE, content_type)
    }

    /// With this token, if there is one.
    pub(crate) fn bearer(mut self, token: Option<&str>) -> Self {
        self.bearer = token.map(|token| format!("Bearer {token}"));
        self
    }

    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub(crate) fn within(mut self, time: Duration) -> Self {
        self.within = time;
        self
    }

    fn request(self) -> Result<Request<Full<Bytes>>, HttpError> {
        let mut request = Request::builder().method(self.method).uri(self.url);
        request = request.header(header::USER_AGENT, concat!("batchcast/", env!("CARGO_PKG_VERSION")));
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        if let Some(bearer) = self.bearer {
            let mut value = HeaderValue::try_from(bearer).map_err(|_| HttpError::Header)?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        request.body(Full::new(self.body)).map_err(|_| HttpError::Header)
    }
}

impl Http {
    /// A client for these servers; nothing is asked yet.
    ///
    /// # Errors
    /// One of them is https, and there is nothing to check its certificate by.
    pub(crate) fn for_targets<'a>(targets: impl IntoIterator<Item = &'a Target>) -> Result<Self, HttpError> {
        let config = tls::client_config(targets.into_iter().any(Target::is_https))?;
        let connector = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().build();
        Ok(Self(Client::builder(TokioExecutor::new()).build(connector)))
    }

    /// Asks, and reads the whole answer. A redirection is not followed.
    ///
    /// # Errors
    /// [`HttpError`]: there is none.
    pub(crate) async fn ask(&self, ask: Ask) -> Result<Answer, HttpError> {
        let (within, begun) = (ask.within, Instant::now());
        let asking = async {
            let response = self.send(ask).await?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_REPLY_BYTES).collect().await.map_err(|_| HttpError::Broken)?;
            Ok(Answer {
                status: head.status.as_u16(),
                headers: head.headers,
                body: body.to_bytes(),
                took: begun.elapsed(),
            })
        };
        tokio::time::timeout(within, asking).await.unwrap_or(Err(HttpError::TooSlow(within)))
    }

    /// Opens an event stream; an answer that is none comes back whole.
    ///
    /// # Errors
    /// As [`Http::ask`].
    pub(crate) async fn stream(&self, ask: Ask) -> Result<Result<Events, Answer>, HttpError> {
        let (within, begun) = (ask.within, Instant::now());
        let opening = async {
            let response = self.send(ask.header(header::ACCEPT, "text/event-stream")).await?;
            let (head, body) = response.into_parts();
            let kind = head.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
            if head.status.is_success() && kind.starts_with("text/event-stream") {
                return Ok(Ok(Events { body, decoder: Decoder::with_limit(MAX_EVENT_BYTES), items: VecDeque::new() }));
            }
            let body = Limited::new(body, MAX_REPLY_BYTES).collect().await.map_err(|_| HttpError::Broken)?.to_bytes();
            Ok(Err(Answer { status: head.status.as_u16(), headers: head.headers, body, took: begun.elapsed() }))
        };
        tokio::time::timeout(within, opening).await.unwrap_or(Err(HttpError::TooSlow(within)))
    }

    async fn send(&self, ask: Ask) -> Result<Response<Body>, HttpError> {
        let answer = self.0.request(ask.request()?).await.map_err(|error| HttpError::NoAnswer(root_cause(&error)))?;
        Ok(answer.map(|body| body.map_err(|error| root_cause(&error)).boxed_unsync()))
    }
}

type Body = UnsyncBoxBody<Bytes, String>;

/// What was at the bottom of it: `client error (Connect)` alone helps nobody.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// An open event stream. Dropping it closes the connection.
pub(crate) struct Events {
    body: Body,
    decoder: Decoder,
    items: VecDeque<Item>,
}

impl Events {
    /// What comes next, as long as it takes; `None`: the server has ended the stream.
    ///
    /// # Errors
    /// The stream broke: why.
    pub(crate) async fn next(&mut self) -> Result<Option<Item>, String> {
        loop {
            if let Some(item) = self.items.pop_front() {
                return Ok(Some(item));
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            if let Ok(bytes) = frame?.into_data() {
                let mut items = Vec::new();
                self.decoder.decode(&bytes, &mut items);
                self.items.extend(items);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    #[tokio::test]
    async fn an_event_stream_is_read_in_any_cut_and_a_refusal_comes_back_whole() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target: Target = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let server = tokio::spawn(async move {
            for answer in [
                &[
                    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\nid: 1-2\nev",
                    "ent: progress\ndata: {}\n\n",
                ][..],
                &["HTTP/1.1 503 No\r\ncontent-length: 22\r\n\r\n{\"detail\":\"not today\"}"],
            ] {
                let mut connection = listener.accept().await.unwrap().0;
                let mut asked = Vec::new();
                while !asked.ends_with(b"\r\n\r\n") {
                    asked.push(connection.read_u8().await.unwrap());
                }
                for piece in answer {
                    connection.write_all(piece.as_bytes()).await.unwrap();
                    connection.flush().await.unwrap();
                }
            }
        });
        let http = Http::for_targets([&target]).unwrap();
        let mut events = http.stream(Ask::get(target.at("/"))).await.unwrap().ok().unwrap();
        let Some(Item::Event(event)) = events.next().await.unwrap() else { panic!("no event") };
        assert_eq!((event.id.as_str(), event.event.as_str()), ("1-2", "progress"));
        assert_eq!(events.next().await, Ok(None));
        let refusal = http.stream(Ask::get(target.at("/"))).await.unwrap().err().unwrap();
        assert_eq!((refusal.status, refusal.detail().as_deref()), (503, Some("not today")));
        server.await.unwrap();
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_told_by_its_cause_and_a_bad_token_by_name() {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let target: Target = format!("http://{free}").parse().unwrap();
        let http = Http::for_targets([&target]).unwrap();
        let refused = http.ask(Ask::get(target.at("/"))).await.unwrap_err().to_string();
        assert!(refused.contains("refused"), "{refused}");
        let bad = http.ask(Ask::get(target.at("/")).bearer(Some("a\nb"))).await.unwrap_err();
        assert_eq!(bad, HttpError::Header);
    }
}
