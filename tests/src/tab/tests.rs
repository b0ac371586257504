//! A tab against a server of a few lines that answers each connection as its test says.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";

struct Server {
    listener: TcpListener,
}

impl Server {
    async fn start() -> (Self, TabBuilder) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/stream", listener.local_addr().unwrap());
        (Self { listener }, Tab::builder(&url).patience_scale(100.0))
    }

    /// The next request, with its connection.
    async fn request(&self) -> (String, TcpStream) {
        let (mut socket, _) = self.listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            assert_ne!(socket.read_buf(&mut bytes).await.unwrap(), 0);
        }
        (String::from_utf8(bytes).unwrap(), socket)
    }

    /// Answers the next request and closes; the request.
    async fn answer(&self, answer: &str) -> String {
        let (request, mut socket) = self.request().await;
        socket.write_all(answer.as_bytes()).await.unwrap();
        request
    }
}

fn progress(version: u64, completed: u32, full: bool) -> String {
    let photos: Vec<String> = (0..2)
        .filter(|n| full || n + 1 == completed)
        .map(|n| {
            let (status, version) = if n < completed { ("COMPLETED", version) } else { ("QUEUED", 1) };
            format!(r#"{{"photoId":"p{n}","status":"{status}","version":{version}}}"#)
        })
        .collect();
    let (queued, percent, photos) = (2 - completed, completed * 50, photos.join(","));
    format!(
        "id: 7-{version}\nevent: progress\ndata: {{\"position\":\"7-{version}\",\"status\":\"PROCESSING\",\
         \"progress\":{percent},\"counts\":{{\"total\":2,\"queued\":{queued},\"processing\":0,\"completed\":{completed},\
         \"failed\":0}},\"full\":{full},\"photos\":[{photos}]}}\n\n"
    )
}

#[tokio::test]
async fn a_lost_connection_is_resumed_after_retry_and_204_is_the_end() {
    let (server, tab) = Server::start().await;
    let tab = tab.header("x-user-id", "ann").open();
    let first = server.answer(&format!("{STREAM}retry: 50\n\n{}", progress(1, 0, true))).await;
    assert!(first.contains("\r\nAccept: text/event-stream\r\n") && first.contains("\r\nx-user-id: ann\r\n"), "{first}");
    assert!(!first.contains("Last-Event-ID"), "{first}");

    // An answer of no HTTP is a network error, too; and an event without an id does not take the last one away.
    server.answer("").await;
    let upstream = "event: upstream\ndata: {\"state\":\"stale\"}\n\n";
    let second = server.answer(&format!("{STREAM}{upstream}")).await;
    let third = server.answer(&format!("{STREAM}{}", progress(2, 1, false))).await;
    let last = server.answer("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert!(second.contains("\r\nLast-Event-ID: 7-1\r\n") && third.contains("\r\nLast-Event-ID: 7-1\r\n"));
    assert!(last.contains("\r\nLast-Event-ID: 7-2\r\n"), "{last}");

    assert_eq!(tab.until_ended().await.unwrap(), End::Finished);
    let history = tab.history();
    assert_eq!((history.connects.len(), history.opens.len(), history.events), (5, 3, 3));
    assert_eq!((history.retry, history.percent), (Duration::from_millis(50), Some(50)));
    assert_eq!(history.count("upstream", "stale"), 1);
    assert!(0 < history.resumed_bytes && history.resumed_bytes < history.bytes);
    assert_eq!(history.violations, [""; 0]);
}

#[tokio::test]
async fn an_answer_with_a_length_ends_with_it_though_the_connection_stays() {
    let (server, tab) = Server::start().await;
    let tab = tab.open();
    let (_, mut socket) = server.request().await;
    let body = format!("retry: 0\n\n{}", progress(1, 0, true));
    let head = STREAM.replacen("\r\n\r\n", &format!("\r\nContent-Length: {}\r\n\r\n", body.len()), 1);
    socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    assert!(server.answer("HTTP/1.1 204 No Content\r\n\r\n").await.contains("Last-Event-ID: 7-1"));
    assert_eq!(tab.until_ended().await.unwrap(), End::Finished);
    assert_eq!(tab.history().bytes, (head.len() + body.len()) as u64);
}

#[tokio::test]
async fn any_other_answer_ends_a_tab_for_good() {
    for (answer, status) in [
        ("HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/event-stream\r\n\r\n", 503),
        ("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n", 200),
    ] {
        let (server, tab) = Server::start().await;
        let tab = tab.open();
        server.answer(answer).await;
        assert_eq!(tab.until_ended().await.unwrap(), End::Refused(status));
    }
}

#[tokio::test]
async fn a_stopped_tab_waits_and_a_cut_one_comes_back_as_it_is_told() {
    let (server, tab) = Server::start().await;
    let tab = tab.patience_scale(1.0).stopped().open();
    assert!(tab.history().connects.is_empty());
    tab.start();
    let (_, mut held) = server.request().await;
    held.write_all(format!("{STREAM}retry: 600000\n\n{}", progress(1, 0, true)).as_bytes()).await.unwrap();
    tab.until_position("7-1".parse().unwrap()).await.unwrap();

    tab.cut(Back::AtOnce);
    let (again, _held) = server.request().await;
    assert!(again.contains("Last-Event-ID: 7-1"));
    assert_eq!(held.read(&mut [0; 8]).await.unwrap(), 0, "the first connection was closed");
    // Now it waits for its answer, then for ten minutes.
    tab.cut(Back::AfterRetry);
    tab.close();
    assert_eq!(tab.until_ended().await.unwrap(), End::Closed);
    assert_eq!(tab.history().connects.len(), 2);
}

#[tokio::test]
async fn a_paused_tab_reads_nothing_until_it_goes_on() {
    let (server, tab) = Server::start().await;
    let tab = tab.receive_buffer(4096).open();
    let (_, mut socket) = server.request().await;
    socket.write_all(format!("{STREAM}{}", progress(1, 0, true)).as_bytes()).await.unwrap();
    tab.until_position("7-1".parse().unwrap()).await.unwrap();
    tab.pause();

    // More than both sides' systems hold.
    let comment = format!(":{}\n\n", "x".repeat(64 * 1024));
    let flood = tokio::spawn(async move {
        for _ in 0..200 {
            socket.write_all(comment.as_bytes()).await.unwrap();
        }
        socket.write_all(progress(2, 1, false).as_bytes()).await.unwrap();
        socket
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!flood.is_finished(), "the writer is held up");
    let comments = tab.history().comments;
    assert!(comments < 200, "{comments}");
    tab.resume();
    tab.until_position("7-2".parse().unwrap()).await.unwrap();
    assert_eq!(tab.history().comments, 200);
}
