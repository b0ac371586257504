//! One POST, one answer: what sinks that speak HTTP share.
//!
//! In scope: the address and whether it may be asked, one connection a request, a bounded answer, what a status means.
//! Out of scope: time-outs (the sink's delivery has one), repeats, redirections, proxies, cookies.
//!
//! A connection of its own for each request: one that had waited may be cut by the other side just as it is used, and
//! then nobody knows whether the request arrived.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Collected, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};

use crate::{PublishError, Undelivered, tls};

mod address;

use address::is_public;

/// How much of an answer is read, and for how long: only its status counts, and a few words of it.
/// How long one address of a name is tried: a dead one leaves time for the next.
const CONNECTING: Duration = Duration::from_secs(3);
const MOST_ANSWER_BYTES: usize = 4 * 1024;
const ANSWER_BODY_WITHIN: Duration = Duration::from_secs(1);

/// Where is posted to. Its `Debug` shows the host alone: paths and queries hold secrets.
#[derive(Clone)]
pub(crate) struct Target {
    host: String,
    /// As it stands in the URL.
    authority: HeaderValue,
    port: u16,
    path: Uri,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    allow_private: bool,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    /// The beginning of the body, or nothing where it broke.
    pub(crate) body: Bytes,
}

/// A URL that can't be posted to; in words that do not repeat it.
fn wrong(setting: &'static str, problem: impl Into<String>) -> PublishError {
    PublishError::Config { setting, problem: problem.into() }
}

impl Target {
    /// Checks a URL. `setting` is what an error calls it.
    pub(crate) fn parse(setting: &'static str, url: &str, allow_private: bool) -> Result<Self, PublishError> {
        let uri: Uri = url.parse().map_err(|_| wrong(setting, "is no URL: https://example.com/hooks say"))?;
        let is_https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if allow_private => false,
            Some("http") => return Err(wrong(setting, "is http: use https, or allow private addresses and http")),
            _ => return Err(wrong(setting, "is no https URL: https://example.com/hooks say")),
        };
        let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        if authority.contains('@') || url.contains('#') {
            return Err(wrong(setting, "holds a user or a fragment, which are never sent: leave them out"));
        }
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        if !allow_private && host.parse().is_ok_and(|address| !is_public(address)) {
            return Err(wrong(
                setting,
                "names an address of a private network: allow private addresses, if it is meant",
            ));
        }
        let tls = is_https.then(|| secured(setting, &host)).transpose()?;
        let no_url = |_| wrong(setting, "is no URL: https://example.com/hooks say");
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        Ok(Self {
            authority: HeaderValue::from_str(authority).map_err(|_| wrong(setting, "names a host that can't be"))?,
            port: uri.port_u16().unwrap_or(if is_https { 443 } else { 80 }),
            path: path.parse().map_err(no_url)?,
            host,
            tls,
            allow_private,
        })
    }

    /// Posts, and reads the answer whatever its status is.
    ///
    /// # Errors
    /// [`Undelivered`] where there is none, to be tried again.
    pub(crate) async fn post(&self, headers: HeaderMap, body: impl Into<Bytes>) -> Result<Answer, Undelivered> {
        let request = self.request(headers, body.into());
        let stream = self.connect().await?;
        match &self.tls {
            None => exchange(stream, request).await,
            Some((config, name)) => {
                let connector = TlsConnector::from(Arc::clone(config));
                let secured = connector.connect(name.clone(), stream).await;
                exchange(secured.map_err(|error| failed("TLS", &error))?, request).await
            }
        }
    }

    fn request(&self, headers: HeaderMap, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.path.clone();
        *request.headers_mut() = headers;
        let headers = request.headers_mut();
        headers.insert(header::HOST, self.authority.clone());
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let agent = concat!("batchcast/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        request
    }

    /// What the name resolves to is checked, and that same address is connected to: a name that changes its address
    /// between two looks changes nothing.
    async fn connect(&self) -> Result<TcpStream, Undelivered> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let found: Vec<SocketAddr> = found.map_err(|error| failed("its name", &error))?.collect();
        let allowed = found.iter().filter(|address| self.allow_private || is_public(address.ip()));
        let mut last =
            Undelivered::again("its name has no address, or only those of private networks, which are refused");
        for address in allowed {
            let connecting = tokio::time::timeout(CONNECTING, TcpStream::connect(address)).await;
            match connecting.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(stream) => {
                    // What a dropped connection has not sent yet shall never arrive: something newer may have by then.
                    let ready = stream.set_nodelay(true).and_then(|()| stream.set_zero_linger());
                    ready.map_err(|error| failed("the connection", &error))?;
                    return Ok(stream);
                }
                Err(error) => last = failed("the connection", &error),
            }
        }
        Err(last)
    }
}

fn secured(setting: &'static str, host: &str) -> Result<(Arc<ClientConfig>, ServerName<'static>), PublishError> {
    let config = tls::client_config(true).map_err(|error| wrong(setting, error.to_string()))?;
    let name = ServerName::try_from(host.to_owned()).map_err(|_| wrong(setting, "names a host that can't be"))?;
    Ok((Arc::new(config), name))
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answer, Undelivered>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| failed("HTTP", &error))?;
    let asking = async {
        let response = sender.send_request(request).await.map_err(|error| failed("HTTP", &error))?;
        let (head, body) = response.into_parts();
        let body = tokio::time::timeout(ANSWER_BODY_WITHIN, beginning(body)).await.unwrap_or_default();
        Ok(Answer { status: head.status, headers: head.headers, body })
    };
    // In this task, not in one of its own: dropping this future drops the connection.
    let driving = async {
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        answer = asking => answer,
        () = driving => Err(Undelivered::again("the connection was lost")),
    }
}

async fn beginning(body: hyper::body::Incoming) -> Bytes {
    Limited::new(body, MOST_ANSWER_BYTES).collect().await.map(Collected::to_bytes).unwrap_or_default()
}

impl Answer {
    /// Delivered by any 2xx; everything else is tried again, and by 410 (Gone) never.
    pub(crate) fn judge(&self) -> Result<(), Undelivered> {
        let status = self.status.as_u16();
        match self.status {
            _ if self.status.is_success() => Ok(()),
            StatusCode::GONE => Err(Undelivered::give_up("it answers 410: it wants nothing any more")),
            _ if self.status.is_redirection() => Err(Undelivered::again(format!(
                "it answers {status}, and redirections are not followed: name the new URL"
            ))),
            _ => Err(match self.retry_after(SystemTime::now()) {
                Some(after) => Undelivered::again_after(format!("it answers {status}, and asks for {after:?}"), after),
                None => Undelivered::again(format!("it answers {status}")),
            }),
        }
    }

    /// `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date.
    fn retry_after(&self, now: SystemTime) -> Option<Duration> {
        let text = self.headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
        if let Ok(secs) = text.parse() {
            return Some(Duration::from_secs(secs));
        }
        httpdate::parse_http_date(text).ok()?.duration_since(now).ok()
    }
}

/// What was at the bottom of it, which holds no address.
fn failed(step: &str, error: &dyn std::error::Error) -> Undelivered {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    Undelivered::again(format!("{step} failed: {cause}"))
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("host", &self.host).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(url: &str) -> String {
        Target::parse("url", url, false).unwrap_err().to_string()
    }

    #[test]
    fn a_url_that_may_not_be_asked_is_refused_in_words_that_do_not_repeat_it() {
        for (url, words) in [
            ("", "no URL"),
            ("example.com/secret", "no URL"),
            ("ftp://example.com/secret", "no https URL"),
            ("http://example.com/secret", "use https"),
            ("https://user:secret@example.com/", "a user"),
            ("https://example.com/#secret", "a fragment"),
            ("https://127.0.0.1/secret", "private network"),
            ("https://[::ffff:10.0.0.1]/secret", "private network"),
            ("https://169.254.169.254/secret", "private network"),
        ] {
            let problem = problem(url);
            assert!(problem.contains(words) && !problem.contains("secret"), "{url}: {problem}");
        }
        let target = Target::parse("url", "http://127.0.0.1:81/secret?token=secret", true).unwrap();
        assert_eq!((target.port, target.path.to_string().as_str()), (81, "/secret?token=secret"));
        assert!(!format!("{target:?}").contains("secret"));
    }

    #[test]
    fn an_answer_says_whether_and_when_to_try_again() {
        let answer = |status: u16, after: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            after.map(|after| headers.insert(header::RETRY_AFTER, HeaderValue::from_static(after)));
            Answer { status: StatusCode::from_u16(status).unwrap(), headers, body: Bytes::new() }.judge()
        };
        assert_eq!([answer(200, None), answer(204, None)], [Ok(()), Ok(())]);
        let secs = |secs| Some(Duration::from_secs(secs));
        for (status, header, after) in
            [(500, None, None), (404, None, None), (429, Some("30"), secs(30)), (503, Some("soon"), None)]
        {
            let error = answer(status, header).unwrap_err();
            assert_eq!((error.is_retried(), error.retry_after()), (true, after), "{status}");
        }
        assert!(answer(302, None).unwrap_err().to_string().contains("not followed"));
        assert!(!answer(410, None).unwrap_err().is_retried());
        let now = httpdate::parse_http_date("Sun, 29 Nov 2026 11:00:00 GMT").unwrap();
        let mut dated = Answer { status: StatusCode::OK, headers: HeaderMap::new(), body: Bytes::new() };
        dated.headers.insert(header::RETRY_AFTER, HeaderValue::from_static("Sun, 29 Nov 2026 11:00:07 GMT"));
        assert_eq!(dated.retry_after(now), secs(7));
    }
}
