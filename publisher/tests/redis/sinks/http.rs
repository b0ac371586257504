//! Webhook and Slack against a real HTTP server, which fails, hangs, and asks for pauses.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use batchcast_publisher::{
    BatchStatus, Event, Json, Pace, Photo, PhotoStatus, Publisher, Sink, Slack, Webhook, WebhookBuilder, WebhookSecrets,
};
use ring::hmac;
use serde_json::Value;
use stack::{GUARD, RedisServer};
use tokio::{net::TcpListener, task::JoinHandle};

use super::quick;
use crate::{
    eventually,
    source::Memory,
    states::{EPOCH, batch, photo, state},
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What the server does with a request; with those it has no orders for it is content.
enum Order {
    Answer(u16, Option<(&'static str, String)>),
    Hang,
}

#[derive(Clone)]
struct Request {
    headers: HeaderMap,
    body: String,
    at: Instant,
}

impl Request {
    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

#[derive(Default)]
struct Log {
    orders: Mutex<VecDeque<Order>>,
    requests: Mutex<Vec<Request>>,
}

struct Server {
    address: SocketAddr,
    log: Arc<Log>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(orders: impl IntoIterator<Item = Order>) -> Self {
        let log = Arc::new(Log { orders: Mutex::new(orders.into_iter().collect()), ..Log::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback(take).with_state(Arc::clone(&log));
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, log, task }
    }

    fn url(&self) -> String {
        format!("http://{}/hooks?key=url-secret", self.address)
    }

    fn requests(&self) -> Vec<Request> {
        self.log.requests.lock().unwrap().clone()
    }

    /// Waits for so many requests.
    async fn requested(&self, times: usize) -> Vec<Request> {
        let enough = async || Some(self.requests()).filter(|requests| requests.len() >= times);
        eventually("the server is asked", enough).await
    }
}

async fn take(State(log): State<Arc<Log>>, headers: HeaderMap, body: Bytes) -> Response {
    let body = String::from_utf8(body.to_vec()).unwrap();
    log.requests.lock().unwrap().push(Request { headers, body, at: Instant::now() });
    let order = log.orders.lock().unwrap().pop_front();
    match order {
        None => StatusCode::NO_CONTENT.into_response(),
        Some(Order::Hang) => std::future::pending().await,
        Some(Order::Answer(status, header)) => {
            let mut response = (StatusCode::from_u16(status).unwrap(), "some words").into_response();
            if let Some((name, value)) = header {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            response
        }
    }
}

fn webhook(url: &str) -> WebhookBuilder {
    Webhook::builder(url, WebhookSecrets::parse(SECRET).unwrap()).pace(quick()).allow_private(true)
}

/// A publisher with this sink, and one batch that ends.
async fn ended(redis: &RedisServer, source: &Memory, sink: impl Sink) -> Publisher {
    let publisher = Publisher::builder(redis.url()).source(source.clone()).sink(sink).connect().await.unwrap();
    source.commit(state(&batch("a"), EPOCH, 2, 2));
    publisher.notify_final(&batch("a"));
    publisher
}

/// By the words of the specification, not by our own code.
fn is_signed(request: &Request, secret: &str) -> bool {
    let key = BASE64_STANDARD.decode(secret.trim_start_matches("whsec_")).unwrap();
    let [id, timestamp] = ["webhook-id", "webhook-timestamp"].map(|name| request.header(name));
    let signed = format!("{id}.{timestamp}.{}", request.body);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), signed.as_bytes());
    let expected = format!("v1,{}", BASE64_STANDARD.encode(tag));
    request.header("webhook-signature").split(' ').any(|signature| signature == expected)
}

#[tokio::test]
async fn an_end_is_posted_once_and_its_signature_verifies() {
    let (redis, server) = (RedisServer::start().await.unwrap(), Server::start([]).await);
    let publisher = ended(&redis, &Memory::default(), webhook(&server.url()).build().unwrap()).await;
    let requests = server.requested(1).await;
    publisher.resync().await.unwrap();
    assert_eq!(publisher.close(GUARD).await, []);
    assert_eq!(server.requests().len(), 1);
    let request = &requests[0];
    assert!(is_signed(request, SECRET));
    assert_eq!(request.header("webhook-id"), format!("a:{EPOCH}-2"));
    assert_eq!(request.header("content-type"), "application/json");
    let age = now_secs() - request.header("webhook-timestamp").parse::<u64>().unwrap();
    assert!(age <= GUARD.as_secs(), "it is signed for now: {age}");
    let body = request.json();
    assert_eq!(
        (body["type"].as_str(), body["timestamp"].as_str()),
        (Some("batch.ended"), Some("2026-11-22T23:10:30.082Z"))
    );
    let whole: Value = serde_json::from_str(&state(&batch("a"), EPOCH, 2, 2).to_json()).unwrap();
    assert_eq!(body["data"], whole);
}

fn now_secs() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test]
async fn each_of_several_secrets_signs() {
    let server = Server::start([]).await;
    let new = "whsec_bmV3LW5ldy1uZXctbmV3LW5ldy1uZXctbmV3";
    let secrets = WebhookSecrets::parse(&format!("{SECRET} {new}")).unwrap();
    let webhook = Webhook::builder(&server.url(), secrets).allow_private(true).photos(false).build().unwrap();
    webhook.deliver(&Event::new(state(&batch("a"), EPOCH, 2, 2))).await.unwrap();
    let request = &server.requests()[0];
    assert!(is_signed(request, SECRET) && is_signed(request, new));
    assert_eq!(request.json()["data"].get("photos"), None);
}

#[tokio::test]
async fn a_server_that_fails_or_hangs_is_asked_again_with_the_same_id_and_body() {
    let orders = [Order::Answer(500, None), Order::Hang, Order::Answer(404, None)];
    let (redis, server) = (RedisServer::start().await.unwrap(), Server::start(orders).await);
    let publisher = ended(&redis, &Memory::default(), webhook(&server.url()).build().unwrap()).await;
    let requests = server.requested(4).await;
    let ids: Vec<_> = requests.iter().map(|request| (request.header("webhook-id"), &request.body)).collect();
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "{ids:?}");
    assert!(requests.iter().all(|request| is_signed(request, SECRET)));
    eventually("it is told", async || (publisher.sink_metrics()[0].delivered == 1).then_some(())).await;
    assert_eq!(publisher.sink_metrics()[0].failed, 3);
}

#[tokio::test]
async fn a_server_that_asks_for_a_pause_gets_it() {
    let orders = [Order::Answer(429, Some(("retry-after", "1".to_owned())))];
    let (redis, server) = (RedisServer::start().await.unwrap(), Server::start(orders).await);
    let _publisher = ended(&redis, &Memory::default(), webhook(&server.url()).build().unwrap()).await;
    let requests = server.requested(2).await;
    assert!(requests[1].at - requests[0].at >= Duration::from_millis(990));
}

#[tokio::test]
async fn a_server_that_wants_nothing_any_more_is_left_alone() {
    let (redis, server) = (RedisServer::start().await.unwrap(), Server::start([Order::Answer(410, None)]).await);
    let publisher = ended(&redis, &Memory::default(), webhook(&server.url()).build().unwrap()).await;
    eventually("it is given up", async || (publisher.sink_metrics()[0].gave_up == 1).then_some(())).await;
    assert_eq!(publisher.close(GUARD).await, []);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn what_can_not_be_told_for_long_is_given_up_and_counted() {
    let orders = std::iter::repeat_with(|| Order::Answer(500, None)).take(1_000);
    let (redis, server) = (RedisServer::start().await.unwrap(), Server::start(orders).await);
    let mut pace = quick();
    pace.give_up_after = Duration::from_millis(200);
    let publisher = ended(&redis, &Memory::default(), webhook(&server.url()).pace(pace).build().unwrap()).await;
    eventually("it is given up", async || (publisher.sink_metrics()[0].gave_up == 1).then_some(())).await;
    assert_eq!(publisher.close(GUARD).await, []);
}

#[tokio::test]
async fn a_redirection_is_not_followed() {
    let elsewhere = Server::start([]).await;
    let server = Server::start([Order::Answer(307, Some(("location", elsewhere.url())))]).await;
    let webhook = webhook(&server.url()).build().unwrap();
    let error = webhook.deliver(&Event::new(state(&batch("a"), EPOCH, 2, 2))).await.unwrap_err();
    assert!(error.is_retried() && error.to_string().contains("not followed"), "{error}");
    assert_eq!((server.requests().len(), elsewhere.requests().len()), (1, 0));
}

#[tokio::test]
async fn a_name_of_a_private_address_is_refused_once_it_is_resolved_unless_that_is_allowed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let deliver = async |allow: bool| {
        let webhook = webhook(&format!("https://localhost:{port}/url-secret")).allow_private(allow).build().unwrap();
        let event = Event::new(state(&batch("a"), EPOCH, 2, 2));
        tokio::select! {
            told = webhook.deliver(&event) => Err(told.unwrap_err().to_string()),
            came = listener.accept() => Ok(came.unwrap().1),
        }
    };
    let refused = deliver(false).await.unwrap_err();
    assert!(refused.contains("private networks") && !refused.contains("secret"), "{refused}");
    deliver(true).await.expect("it is connected to");
}

#[tokio::test]
async fn neither_the_owner_nor_what_is_redacted_is_posted() {
    let (redis, server) = (RedisServer::start().await.unwrap(), Server::start([]).await);
    let source = Memory::default();
    let mut shown = photo(2, PhotoStatus::Completed);
    shown.result = Json::new(&"a serial number").ok();
    let whole = state(&batch("a"), EPOCH, 2, 2);
    let photos: Vec<Photo> = whole.photos().take(1).cloned().chain([shown]).collect();
    source.commit(batchcast_publisher::BatchState::new(whole.head().clone(), photos).unwrap());
    let builder = Publisher::builder(redis.url()).source(source).redact(|photo| photo.result = None);
    let publisher = builder.sink(webhook(&server.url()).build().unwrap()).connect().await.unwrap();
    publisher.notify_final(&batch("a"));
    let body = &server.requested(1).await[0].body;
    assert!(body.contains("p00002") && !body.contains("serial") && !body.contains("user-1"), "{body}");
}

#[tokio::test]
async fn slack_gets_one_message_an_end() {
    let orders = [Order::Answer(503, None)];
    let (redis, server) = (RedisServer::start().await.unwrap(), Server::start(orders).await);
    let source = Memory::default();
    let builder = Slack::builder(&server.url()).allow_private(true).pace(quick());
    let slack = builder.page_url("https://photos.example.com/batches/{id}").build().unwrap();
    let publisher = ended(&redis, &source, slack).await;
    server.requested(2).await;
    let again = state(&batch("a"), EPOCH + 1, 3, 3);
    let mut head = again.head().clone();
    (head.status, head.counts.completed, head.counts.failed) = (BatchStatus::Partial, 2, 1);
    let failed = photo(3, PhotoStatus::Failed).with_error("<no> JPEG".to_owned());
    let photos: Vec<Photo> = again.photos().take(2).cloned().chain([failed]).collect();
    source.commit(batchcast_publisher::BatchState::new(head, photos).unwrap());
    publisher.notify_final(&batch("a"));
    server.requested(3).await;
    assert_eq!(publisher.close(GUARD).await, []);
    let link = "<https://photos.example.com/batches/a|a>";
    let first = format!(":white_check_mark: Batch {link} is completed: 2 of 2 photos completed");
    let second = format!(
        ":warning: Batch {link} is partly completed: 2 of 3 photos completed, 1 failed\n• p00003: &lt;no&gt; JPEG"
    );
    let texts: Vec<String> = server.requests().iter().map(|r| r.json()["text"].as_str().unwrap().to_owned()).collect();
    assert_eq!(texts, [first.clone(), first, second]);
}

#[tokio::test]
async fn slack_that_has_no_such_channel_any_more_is_left_alone() {
    let server = Server::start([Order::Answer(404, None)]).await;
    let slack = Slack::builder(&server.url()).allow_private(true).pace(Pace::default()).build().unwrap();
    let error = slack.deliver(&Event::new(state(&batch("a"), EPOCH, 2, 2))).await.unwrap_err();
    assert!(!error.is_retried(), "{error}");
}
