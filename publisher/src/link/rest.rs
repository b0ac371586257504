//! Redis over HTTP: a POST a command, an event stream a subscription, in the words of Upstash's REST API.
//!
//! hyper's client and rustls with `ring`: `reqwest` would bring a second provider of cryptography with its TLS, between
//! which rustls can't choose.

use std::{
    collections::VecDeque,
    error::Error,
    fmt::Write as _,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited, combinators::UnsyncBoxBody};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use redis::{Cmd, RedisError, Value};
use redis_rest::{
    Encoding, Frame, Reply,
    event_stream::{Decoder, Item},
    request,
    subscribe::RESUBSCRIBED,
};
use tokio::time::Instant;
use wire::limits::{MAX_REPLY_BYTES, MAX_STATE_BYTES};

use super::{Loss, Subscription, Timeouts, Trouble};
use crate::{PublishError, RedisSettings, error::is_transport};

/// Where connections that nobody uses are closed: sooner than most servers do, which else would close them under us.
const IDLE: Duration = Duration::from_secs(15);
/// How long a stream may say nothing. The gateway's comes with a comment every 15 s.
const QUIET: Duration = Duration::from_secs(60);

type Body = UnsyncBoxBody<Bytes, String>;
type Http = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

pub(super) struct Rest {
    http: Http,
    /// Without a slash at the end.
    url: String,
    token: HeaderValue,
    timeouts: Timeouts,
    loss: Arc<Loss>,
    /// The last request was answered, and none has failed since.
    connected: AtomicBool,
}

impl Rest {
    pub(super) fn new(settings: &RedisSettings, timeouts: Timeouts, loss: Arc<Loss>) -> Result<Self, PublishError> {
        let wrong = |setting, problem: &str| PublishError::Config { setting, problem: problem.to_owned() };
        let url = settings.url.trim_end_matches('/').to_owned();
        let uri: Option<Uri> = url.parse().ok();
        let plain = |uri: &Uri| uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        if !uri.as_ref().is_some_and(plain) || url.contains('?') {
            return Err(wrong(
                "REDIS_URL",
                "not an address of Redis over HTTP; it reads https://HOST[:PORT], without a user",
            ));
        }
        let token = settings.rest_token.as_deref().ok_or_else(|| {
            wrong("UPSTASH_REDIS_REST_TOKEN", "missing: Redis over HTTP asks for a token (`RedisSettings::rest_token`)")
        })?;
        let token = HeaderValue::try_from(format!("Bearer {token}"));
        let mut token = token.map_err(|_| wrong("UPSTASH_REDIS_REST_TOKEN", "not one line of ASCII"))?;
        token.set_sensitive(true);
        let config = settings.tls.certificates().client_config();
        let config = config.map_err(|error| wrong("REDIS_CA_FILE", &format!("TLS can't be set up: {error}")))?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(timeouts.connection));
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(super::KEEPALIVE));
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().wrap_connector(tcp);
        let http = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Self { http, url, token, timeouts, loss, connected: AtomicBool::new(false) })
    }

    /// A request that fails is a loss: whether the server has run the command is not known, nor what became of those
    /// before.
    pub(super) async fn ask(&self, command: &Cmd) -> Result<Value, Trouble> {
        let within = self.timeouts.connection + self.timeouts.response;
        let answer = tokio::time::timeout(within, self.post(command)).await;
        let answer = answer.unwrap_or_else(|_| Err(Trouble::Answer(io::Error::from(io::ErrorKind::TimedOut).into())));
        match &answer {
            Err(Trouble::Answer(error) | Trouble::Connecting(error)) if is_transport(error) => {
                if self.connected.swap(false, Ordering::AcqRel) {
                    self.loss.tell();
                }
            }
            _ => {
                if !self.connected.swap(true, Ordering::AcqRel) {
                    self.loss.connected();
                }
            }
        }
        answer
    }

    async fn post(&self, command: &Cmd) -> Result<Value, Trouble> {
        let body = body_of(command).map_err(Trouble::Answer)?;
        let request = self.request(Method::POST, "/").header(header::CONTENT_TYPE, "application/json");
        let response = self.send(request.body(Full::new(body.into()))).await.map_err(Trouble::Answer)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_REPLY_BYTES).collect().await;
        let body = body.map_err(|error| Trouble::Answer(io::Error::other(error).into()))?.to_bytes();
        value_of(status, &body)
    }

    /// The messages of a channel, once the server has confirmed it.
    pub(super) async fn subscribe(&self, channel: &str) -> Result<Subscription, PublishError> {
        let opening = async {
            let request = self.request(Method::GET, &format!("/subscribe/{}", path_segment(channel)));
            let request = request.header(header::ACCEPT, "text/event-stream");
            let response = self.send(request.body(Full::default())).await;
            let response = response.map_err(|error| PublishError::from_redis("SUBSCRIBE", error))?;
            if !response.status().is_success() {
                let status = response.status();
                let body = Limited::new(response.into_body(), MAX_REPLY_BYTES).collect().await;
                let body = body.map_err(|source| PublishError::Unanswered { source })?.to_bytes();
                let trouble = value_of(status, &body).err();
                let trouble = trouble.unwrap_or_else(|| Trouble::Answer(io::Error::other("no event stream").into()));
                return Err(trouble.told("SUBSCRIBE"));
            }
            let mut stream = Stream::new(response.into_body());
            if stream.is_confirmed().await {
                return Ok(Subscription::Rest(stream));
            }
            Err(PublishError::Unanswered { source: "the subscription was ended before it began".into() })
        };
        match tokio::time::timeout(self.timeouts.connection + self.timeouts.response, opening).await {
            Ok(result) => result,
            Err(elapsed) => Err(PublishError::Unanswered { source: Box::new(elapsed) }),
        }
    }

    fn request(&self, method: Method, path: &str) -> http::request::Builder {
        Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header(header::AUTHORIZATION, self.token.clone())
            .header(header::USER_AGENT, concat!("batchcast-publisher/", env!("CARGO_PKG_VERSION")))
    }

    async fn send(&self, request: http::Result<Request<Full<Bytes>>>) -> Result<Response<Body>, RedisError> {
        let answer = self.http.request(request.map_err(io::Error::other)?).await;
        let answer = answer.map_err(|error| io::Error::other(root_cause(&error)))?;
        Ok(answer.map(|body| body.map_err(|error| root_cause(&error)).boxed_unsync()))
    }
}

/// An open event stream. Dropping it closes the connection.
pub(crate) struct Stream {
    body: Body,
    decoder: Decoder,
    items: VecDeque<Item>,
    heard: Instant,
}

impl Stream {
    fn new(body: Body) -> Self {
        let decoder = Decoder::with_limit(2 * MAX_STATE_BYTES);
        Self { body, decoder, items: VecDeque::new(), heard: Instant::now() }
    }

    async fn is_confirmed(&mut self) -> bool {
        while let Some(item) = self.item().await {
            if let Item::Event(event) = item {
                return matches!(Frame::parse(&event.data), Ok(Frame::Subscribed { .. }));
            }
        }
        false
    }

    /// The next message; `None`: the stream is over, or the server says that messages were lost. Safe to cancel.
    pub(super) async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            match self.item().await? {
                Item::Comment(words) if words == RESUBSCRIBED => return None,
                Item::Event(event) => {
                    if let Ok(Frame::Message { payload, .. }) = Frame::parse(&event.data) {
                        return Some(payload.as_bytes().to_vec());
                    }
                }
                Item::Comment(_) | Item::Retry(_) => {}
                // `TooLarge`, or what a later version knows: something was said that is lost to us.
                _ => return None,
            }
        }
    }

    /// Whether it has said anything lately, a comment at least.
    pub(super) fn was_heard(&self) -> bool {
        self.heard.elapsed() < QUIET
    }

    async fn item(&mut self) -> Option<Item> {
        loop {
            if let Some(item) = self.items.pop_front() {
                return Some(item);
            }
            let frame = self.body.frame().await?.ok()?;
            self.heard = Instant::now();
            if let Ok(bytes) = frame.into_data() {
                let mut items = Vec::new();
                self.decoder.decode(&bytes, &mut items);
                self.items.extend(items);
            }
        }
    }
}

/// The command as the body of a request. All that the publisher says is text.
fn body_of(command: &Cmd) -> Result<String, RedisError> {
    let words = command.args_iter().map(|argument| match argument {
        redis::Arg::Simple(bytes) => str::from_utf8(bytes).ok(),
        _ => None,
    });
    let words: Option<Vec<&str>> = words.collect();
    Ok(request::command(words.ok_or_else(|| io::Error::other("an argument that is no text"))?))
}

/// What an answer means: Redis' own, or no answer at all where the server could not ask it.
fn value_of(status: StatusCode, body: &[u8]) -> Result<Value, Trouble> {
    let reply = Reply::from_body(body, Encoding::Plain);
    let words = match reply {
        Ok(Reply::Error(words)) => words,
        Ok(reply) if status.is_success() => return Ok(value(reply)),
        _ => "an answer that is none of Redis over HTTP".to_owned(),
    };
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Err(Trouble::Connecting((redis::ErrorKind::AuthenticationFailed, "not let in", words).into()))
        }
        StatusCode::BAD_REQUEST => Err(Trouble::Answer(server_error(&words))),
        // Too many requests, or Redis is away: it passes.
        _ => Err(Trouble::Answer(io::Error::other(format!("{words} ({status})")).into())),
    }
}

/// As the library would have read it from Redis itself.
fn server_error(words: &str) -> RedisError {
    let line = format!("-{}\r\n", words.replace(['\r', '\n'], " "));
    match redis::parse_redis_value(line.as_bytes()).and_then(Value::extract_error) {
        Err(error) => error,
        Ok(_) => io::Error::other("an error that is none").into(),
    }
}

fn value(reply: Reply) -> Value {
    match reply {
        Reply::Nil | Reply::Error(_) => Value::Nil,
        Reply::Int(number) => Value::Int(number),
        Reply::Status(text) => Value::SimpleString(text),
        Reply::Bulk(bytes) => Value::BulkString(bytes),
        Reply::Array(items) => Value::Array(items.into_iter().map(value).collect()),
    }
}

/// What may not stand in a segment of a path is percent-encoded.
fn path_segment(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut path, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            path.push(char::from(byte));
        } else {
            let _ = write!(path, "%{byte:02X}"); // Writing to a string never fails.
        }
        path
    })
}

/// What was at the bottom of it: `client error (Connect)` alone helps nobody.
fn root_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use redis::{ErrorKind, ServerErrorKind};

    use super::*;

    fn trouble(status: u16, body: &str) -> PublishError {
        value_of(StatusCode::from_u16(status).unwrap(), body.as_bytes()).unwrap_err().told("EVALSHA")
    }

    #[test]
    fn an_answer_is_redis_own_or_none_at_all() {
        let value = value_of(StatusCode::OK, br#"{"result":["applied",0]}"#).unwrap();
        assert_eq!(value, Value::Array(vec![Value::BulkString(b"applied".to_vec()), Value::Int(0)]));
        assert!(matches!(trouble(400, r#"{"error":"NOPERM no"}"#), PublishError::Rejected { .. }));
        assert!(matches!(trouble(401, r#"{"error":"Unauthorized"}"#), PublishError::NotAdmitted { .. }));
        for (status, body) in
            [(503, r#"{"error":"ERR away"}"#), (429, r#"{"error":"slow down"}"#), (200, "<html>"), (502, "")]
        {
            assert!(matches!(trouble(status, body), PublishError::Unanswered { .. }), "{status} {body}");
        }
    }

    #[test]
    fn an_error_has_the_kind_that_it_has_over_tcp() {
        let kind = |words| server_error(words).kind();
        assert_eq!(kind("NOSCRIPT No matching script."), ErrorKind::Server(ServerErrorKind::NoScript));
        assert_eq!(kind("READONLY You can't write"), ErrorKind::Server(ServerErrorKind::ReadOnly));
        assert!(!is_transport(&server_error("ERR line\r\nbreak")));
    }

    #[test]
    fn a_channel_is_one_segment_of_a_path() {
        assert_eq!(path_segment("batch:a-1"), "batch:a-1");
        assert_eq!(path_segment("é/?#%"), "%C3%A9%2F%3F%23%25");
    }
}
