//! Starts the real parts, each stopped on drop, and waits for conditions instead of for time.

use anyhow::ensure;
use redis_rest::event_stream::{Decoder, Item};
use serde_json::Value;
use stack::{GUARD, RedisServer, eventually};
use std::collections::VecDeque;
use std::future::Future;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

pub(crate) const TOKEN: &str = "test-token";

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

/// The built command, on free ports.
pub(crate) struct Gateway {
    process: Child,
    pub(crate) url: String,
    pub(crate) admin: String,
    pub(crate) http: reqwest::Client,
}

impl Gateway {
    /// Starts it and returns once it listens; Redis may be absent.
    pub(crate) fn start(redis: &RedisServer) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_batchcast-gateway"))
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--redis-url", redis.url()])
            .env("GATEWAY_TOKEN", TOKEN)
            .env("LOG_LEVEL", "error")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut line = |prefix: &str| {
            let line = lines.next().expect("the gateway starts").unwrap();
            line.strip_prefix(prefix).unwrap_or_else(|| panic!("{line}")).to_owned()
        };
        let (url, admin) = (line("listening on "), line("admin on "));
        Self { process, url, admin, http: reqwest::Client::new() }
    }

    /// Starts it and returns once it reaches Redis.
    pub(crate) async fn ready(redis: &RedisServer) -> Self {
        let gateway = Self::start(redis);
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

    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method.parse().unwrap(), format!("{}{path}", self.url)).bearer_auth(TOKEN)
    }

    /// Posts a body; the status and the JSON of the answer.
    pub(crate) async fn post(&self, path: &str, body: impl Into<String>) -> (u16, Value) {
        json(self.request("POST", path).body(body.into())).await
    }

    /// Subscribes and reads the opening.
    pub(crate) async fn subscribe(&self, channel: &str) -> Stream {
        let request = self.request("POST", &format!("/subscribe/{channel}")).body("[]");
        let response = within("the subscription", request.send()).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut stream = Stream { response, decoder: Decoder::default(), items: VecDeque::new() };
        assert_eq!(stream.data().await, format!("subscribe,{channel},1"));
        assert_eq!(stream.comment().await, "keep-alive");
        stream
    }

    /// Asks it to stop, as a service manager does; its exit code.
    pub(crate) async fn terminate(mut self) -> Option<i32> {
        let kill = format!("kill -TERM {}", self.process.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        let mut status = None;
        until("the gateway to stop", async || {
            status = self.process.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap().code()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Also after it has ended by itself, when there is nothing to kill.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) async fn json(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = within("an answer", request.send()).await.unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap())
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

    pub(crate) async fn data(&mut self) -> String {
        match self.next().await {
            Some(Item::Event(event)) => event.data,
            other => panic!("expected an event, got {other:?}"),
        }
    }

    pub(crate) async fn comment(&mut self) -> String {
        match self.next().await {
            Some(Item::Comment(text)) => text,
            other => panic!("expected a comment, got {other:?}"),
        }
    }
}
