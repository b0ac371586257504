//! Starts the real parts, each stopped on drop, and waits for conditions instead of for time.

use anyhow::ensure;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use redis_rest::event_stream::{Decoder, Item};
use redis_rest::subscribe::RESUBSCRIBED;
use serde_json::Value;
use stack::{GUARD, RedisServer, eventually};
use std::collections::VecDeque;
use std::fs;
use std::future::Future;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use tempfile::NamedTempFile;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const TOKEN: &str = "test-token";

/// What streams send so that proxies do not take them for dead. It may come between any two events.
const KEEP_ALIVE: &str = "keep-alive";

/// Awaits `future`, and fails with what was waited for.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(GUARD, future).await.unwrap_or_else(|_| panic!("timed out waiting for {what}"))
}

/// Asks until the answer is yes. For conditions that nothing announces.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let check = async || {
        ensure!(holds().await, "not so yet");
        Ok(())
    };
    within(what, eventually(GUARD, check)).await.unwrap();
}

/// The built command, on free ports. When a test fails, it shows its log.
pub(crate) struct Gateway {
    process: Child,
    log: NamedTempFile,
    pub(crate) url: String,
    pub(crate) admin: String,
    pub(crate) http: reqwest::Client,
}

impl Gateway {
    /// Starts it and returns once it listens; Redis may be absent.
    pub(crate) fn start(redis: &RedisServer) -> Self {
        Self::start_with(redis.url(), &[])
    }

    /// Starts it with an address of Redis and further variables.
    pub(crate) fn start_with(redis_url: &str, variables: &[(&str, &str)]) -> Self {
        let log = NamedTempFile::new().unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_batchcast-gateway"))
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .env("REDIS_URL", redis_url)
            .env("GATEWAY_TOKEN", TOKEN)
            .env("LOG_LEVEL", "info")
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(log.reopen().unwrap())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut line = |prefix: &str| {
            let line = lines.next().unwrap_or_else(|| panic!("it ended: {}", fs::read_to_string(&log).unwrap()));
            let line = line.unwrap();
            line.strip_prefix(prefix).unwrap_or_else(|| panic!("{line}")).to_owned()
        };
        let (url, admin) = (line("listening on "), line("admin on "));
        Self { process, log, url, admin, http: reqwest::Client::new() }
    }

    /// Starts it and returns once it reaches Redis.
    pub(crate) async fn ready(redis: &RedisServer) -> Self {
        Self::ready_with(redis.url(), &[]).await
    }

    pub(crate) async fn ready_with(redis_url: &str, variables: &[(&str, &str)]) -> Self {
        let gateway = Self::start_with(redis_url, variables);
        gateway.await_ready().await;
        gateway
    }

    pub(crate) async fn await_ready(&self) {
        until("the gateway to be ready", async || self.admin("/readyz").await.status() == 200).await;
    }

    pub(crate) async fn admin(&self, path: &str) -> reqwest::Response {
        within(path, self.http.get(format!("{}{path}", self.admin)).send()).await.unwrap()
    }

    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let text = self.admin("/metrics").await.text().await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name} in {text}"));
        line.trim().parse().unwrap()
    }

    /// Waits until so many requests are being answered, and no answer has come.
    pub(crate) async fn await_in_flight(&self, count: u64) {
        let name = "batchcast_gateway_requests_in_flight ";
        until("requests to be in flight", async || self.metric(name).await == count).await;
    }

    /// Who asks with this token.
    pub(crate) fn caller<'a>(&'a self, token: &'a str) -> Caller<'a> {
        Caller { gateway: self, token }
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.caller(TOKEN).request(method, path)
    }

    /// Posts a body; the status and the JSON of the answer.
    pub(crate) async fn post(&self, path: &str, body: impl Into<String>) -> (u16, Value) {
        self.caller(TOKEN).post(path, body).await
    }

    /// The result of one command that succeeds.
    pub(crate) async fn result(&self, command: &Value) -> Value {
        let (status, mut answer) = self.post("/", command.to_string()).await;
        assert_eq!(status, 200, "{command}: {answer}");
        answer["result"].take()
    }

    /// Subscribes and reads the opening.
    pub(crate) async fn subscribe(&self, channel: &str) -> Stream {
        self.caller(TOKEN).subscribe(channel).await
    }

    /// Subscribes to a pattern and reads the opening.
    pub(crate) async fn psubscribe(&self, pattern: &str) -> Stream {
        self.caller(TOKEN).psubscribe(pattern).await
    }

    /// Everything it has logged so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.id().try_into().unwrap()), signal).unwrap();
    }

    /// Its exit code, once it has ended.
    pub(crate) async fn exit_code(&mut self) -> Option<i32> {
        let mut status = None;
        until("the gateway to stop", async || {
            status = self.process.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap().code()
    }

    /// Asks it to stop, as a service manager does; its exit code.
    pub(crate) async fn terminate(mut self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        self.exit_code().await
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Also after it has ended by itself, when there is nothing to kill.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("{} logged:\n{}", self.url, self.log());
        }
    }
}

/// Asks with one token.
#[derive(Clone, Copy)]
pub(crate) struct Caller<'a> {
    gateway: &'a Gateway,
    token: &'a str,
}

impl Caller<'_> {
    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let url = format!("{}{path}", self.gateway.url);
        self.gateway.http.request(method.parse().unwrap(), url).bearer_auth(self.token)
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<String>) -> (u16, Value) {
        json(self.request("POST", path).body(body.into())).await
    }

    pub(crate) async fn subscribe(&self, channel: &str) -> Stream {
        self.subscribed("subscribe", channel).await
    }

    pub(crate) async fn psubscribe(&self, pattern: &str) -> Stream {
        self.subscribed("psubscribe", pattern).await
    }

    async fn subscribed(&self, route: &str, name: &str) -> Stream {
        let mut stream = self.open(&format!("/{route}/{name}")).await;
        assert_eq!(stream.data().await, format!("{route},{name},1"));
        assert_eq!(stream.comment().await, KEEP_ALIVE);
        stream
    }

    /// Opens a stream.
    pub(crate) async fn open(&self, path: &str) -> Stream {
        let response = within("the stream", self.request("POST", path).body("[]").send()).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Stream { response, decoder: Decoder::default(), items: VecDeque::new() }
    }
}

pub(crate) async fn json(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = within("an answer", request.send()).await.unwrap();
    let status = response.status().as_u16();
    // Guarded, too: a stream that should have been refused never ends.
    (status, within("the end of an answer", response.json()).await.unwrap())
}

/// The text of an error that Redis or the gateway answered with.
pub(crate) fn error(answer: &Value) -> &str {
    answer["error"].as_str().unwrap_or_else(|| panic!("no error: {answer}"))
}

/// An open subscription.
pub(crate) struct Stream {
    response: reqwest::Response,
    decoder: Decoder,
    items: VecDeque<Item>,
}

impl Stream {
    /// The next event or comment; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Item> {
        while self.items.is_empty() {
            let chunk = within("the next event", self.response.chunk()).await.unwrap()?;
            let mut items = Vec::new();
            self.decoder.decode(&chunk, &mut items);
            self.items.extend(items);
        }
        self.items.pop_front()
    }

    /// The data of the next event.
    pub(crate) async fn data(&mut self) -> String {
        within("the next event", async {
            loop {
                match self.next().await {
                    Some(Item::Event(event)) => return event.data,
                    Some(Item::Comment(text)) if text == KEEP_ALIVE => {}
                    other => panic!("expected an event, got {other:?}"),
                }
            }
        })
        .await
    }

    pub(crate) async fn comment(&mut self) -> String {
        match self.next().await {
            Some(Item::Comment(text)) => text,
            other => panic!("expected a comment, got {other:?}"),
        }
    }

    /// Reads up to the comment that says that the subscription was made anew.
    pub(crate) async fn resubscribed(&mut self) {
        within("the subscription to be made anew", async {
            loop {
                match self.comment().await.as_str() {
                    RESUBSCRIBED => return,
                    KEEP_ALIVE => {}
                    other => panic!("expected the subscription to be made anew, got {other:?}"),
                }
            }
        })
        .await;
    }

    /// Reads up to the end.
    pub(crate) async fn ended(&mut self) {
        within("the end of the stream", async { while self.next().await.is_some() {} }).await;
    }

    /// The bytes of the stream as they are, up to and with the next empty line.
    pub(crate) async fn raw_event(mut self) -> String {
        let mut text = String::new();
        while !text.ends_with("\n\n") {
            let chunk = within("the next event", self.response.chunk()).await.unwrap().expect("the stream goes on");
            text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
        text
    }
}

/// HTTP by hand, for what the client library hides or cannot do.
pub(crate) struct Wire<S>(pub(crate) S);

impl Wire<TcpStream> {
    pub(crate) async fn connect(gateway: &Gateway) -> Self {
        let address = gateway.url.split_once("://").unwrap().1;
        Self(TcpStream::connect(address).await.unwrap())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Sends requests, each a request line and a body.
    pub(crate) async fn send(&mut self, requests: &[(&str, &str)]) {
        let text = |(line, body): &(&str, &str)| {
            let length = body.len();
            format!(
                "{line}\r\nHost: gateway\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {length}\r\n\r\n{body}"
            )
        };
        let text: String = requests.iter().map(text).collect();
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// All that comes up to and with `end`.
    pub(crate) async fn until(&mut self, end: &str) -> String {
        let mut read = Vec::new();
        within(end, async {
            while !read.ends_with(end.as_bytes()) {
                let length = self.0.read_buf(&mut read).await.unwrap();
                assert!(length > 0, "it ended with {}", String::from_utf8_lossy(&read));
            }
        })
        .await;
        String::from_utf8(read).unwrap()
    }
}
