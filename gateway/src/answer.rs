//! Replies and refusals as HTTP responses.

use crate::body::Body;
use crate::fanout::SubscribeError;
use crate::upstream::Unavailable;
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use redis_rest::request::RequestError;
use redis_rest::{Encoding, Reply, reply, resp2};

/// The methods a client may use.
pub(crate) const METHODS: &str = "GET, HEAD, POST, PUT";

/// How a client wants its replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json(Encoding),
    Resp2,
}

impl Format {
    /// Reads `Upstash-Encoding` and `Upstash-Response-Format`. A value that is not known is refused: a client
    /// that asked for something else would misread what it gets.
    pub(crate) fn requested(headers: &HeaderMap) -> Result<Self, Refusal> {
        let value = |name: &str| headers.get(name).map(|value| value.as_bytes().to_ascii_lowercase());
        let encoding = match value("upstash-encoding").as_deref() {
            None => Encoding::Plain,
            Some(b"base64") => Encoding::Base64,
            Some(_) => return Err(Refusal::Bad("ERR unknown Upstash-Encoding, expected base64".into())),
        };
        match (value("upstash-response-format").as_deref(), encoding) {
            (None | Some(b"json"), encoding) => Ok(Self::Json(encoding)),
            (Some(b"resp2"), Encoding::Plain) => Ok(Self::Resp2),
            (Some(b"resp2"), Encoding::Base64) => Err(Refusal::Bad(
                "ERR Upstash-Encoding does not go together with Upstash-Response-Format: resp2".into(),
            )),
            (Some(_), _) => Err(Refusal::Bad("ERR unknown Upstash-Response-Format, expected json or resp2".into())),
        }
    }

    /// The encoding of an answer that is always JSON.
    pub(crate) fn json_encoding(self) -> Encoding {
        match self {
            Self::Json(encoding) => encoding,
            Self::Resp2 => Encoding::Plain,
        }
    }
}

/// The answer to one command: an error of Redis is a 400.
pub(crate) fn single(reply: &Reply, format: Format) -> Response<Body> {
    let status = if matches!(reply, Reply::Error(_)) { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    match format {
        Format::Json(encoding) => json(status, reply.to_body(encoding)),
        Format::Resp2 => resp2(status, std::slice::from_ref(reply)),
    }
}

/// The answer to several commands: errors are items, and the whole is a 200.
pub(crate) fn several(replies: &[Reply], format: Format) -> Response<Body> {
    match format {
        Format::Json(encoding) => json(StatusCode::OK, reply::pipeline_body(replies, encoding)),
        Format::Resp2 => resp2(StatusCode::OK, replies),
    }
}

/// A stream of server-sent events.
pub(crate) fn events(events: Body) -> Response<Body> {
    let mut response = response(StatusCode::OK, "text/event-stream", events);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    // Asks nginx and its like to pass each event on as it comes.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

fn json(status: StatusCode, body: String) -> Response<Body> {
    response(status, "application/json", Body::Whole(body.into()))
}

fn resp2(status: StatusCode, replies: &[Reply]) -> Response<Body> {
    let mut body = Vec::new();
    replies.iter().for_each(|reply| resp2::push(&mut body, reply));
    response(status, "application/octet-stream", Body::Whole(body.into()))
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Whole(Bytes::new()));
    *response.status_mut() = status;
    response
}

fn response(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Why the gateway itself says no.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// Pinned: the official client shows this text, and documentation is found by it.
    #[error(
        "WRONGPASS invalid or missing auth token. \
         See https://docs.upstash.com/redis/troubleshooting/http_unauthorized for details."
    )]
    Unauthorized,
    /// With those that are.
    #[error("method not allowed")]
    Method(&'static str),
    #[error("ERR max request size exceeded. Limit: {limit} bytes, Actual: {actual} bytes")]
    TooLarge { limit: usize, actual: usize },
    /// As Upstash: the same words whichever side is too large.
    #[error(
        "ERR max request size exceeded. Limit: {limit} bytes, Actual: {actual} bytes. This is the size of the answer; \
         the commands have been executed"
    )]
    AnswerTooLarge { limit: usize, actual: usize },
    #[error("ERR the request body did not arrive")]
    NoBody,
    #[error("ERR max concurrent requests exceeded. Limit: {limit}")]
    TooManyRequests { limit: usize },
    #[error("ERR max concurrent subscriptions exceeded. Limit: {limit}")]
    TooManySubscriptions { limit: usize },
    #[error("ERR the gateway has failed; the commands may have been executed")]
    Failed,
    #[error("{0}")]
    Bad(String),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoBody => StatusCode::REQUEST_TIMEOUT,
            Self::TooManyRequests { .. } | Self::TooManySubscriptions { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Bad(_)
            | Self::AnswerTooLarge { .. }
            | Self::Request(_)
            | Self::Subscribe(SubscribeError::Refused(_)) => StatusCode::BAD_REQUEST,
            Self::Unavailable(_) | Self::Subscribe(SubscribeError::Unavailable) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The refusal as an answer. What will pass says when to try again.
    pub(crate) fn answer(&self) -> Response<Body> {
        let status = self.status();
        if let Self::Method(allowed) = self {
            let mut response = empty(status);
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
            return response;
        }
        let mut response = json(status, Reply::Error(self.to_string()).to_body(Encoding::Plain));
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requested(headers: &[(&'static str, &'static str)]) -> Option<Format> {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        Format::requested(&headers).ok()
    }

    #[test]
    fn the_format_follows_the_headers() {
        let (encoding, format) = ("upstash-encoding", "upstash-response-format");
        assert_eq!(requested(&[]), Some(Format::Json(Encoding::Plain)));
        assert_eq!(requested(&[(encoding, "Base64")]), Some(Format::Json(Encoding::Base64)));
        assert_eq!(requested(&[(format, "json"), (encoding, "base64")]), Some(Format::Json(Encoding::Base64)));
        assert_eq!(requested(&[(format, "resp2")]), Some(Format::Resp2));
        assert_eq!(requested(&[(format, "resp2"), (encoding, "base64")]), None);
        assert_eq!(requested(&[(format, "resp3")]), None);
        assert_eq!(requested(&[(encoding, "hex")]), None);
    }

    #[test]
    fn only_an_error_of_redis_makes_a_single_answer_a_400() {
        let format = Format::Json(Encoding::Plain);
        assert_eq!(single(&Reply::Nil, format).status(), 200);
        assert_eq!(single(&Reply::Error("ERR no".into()), Format::Resp2).status(), 400);
        assert_eq!(several(&[Reply::Error("ERR no".into())], format).status(), 200);
    }
}
