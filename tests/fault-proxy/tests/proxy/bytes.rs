//! Faults in what becomes of bytes on the way.

use std::time::{Duration, Instant};

use fault_proxy::Direction;
use tokio::time::timeout;

use crate::plumbing::{QUIET, Site, eventually, receive, receive_nothing, send};

#[tokio::test]
async fn swallowed_bytes_to_the_client_are_counted_and_never_come() {
    let site = Site::start().await;
    let (mut client, mut server) = site.connect().await;
    assert_eq!(site.proxy.swallow(Direction::ToClient), 1);
    send(&mut server, b"lost").await;
    eventually("four bytes are swallowed", || site.proxy.swallowed() == 4).await;
    send(&mut client, b"the other way").await;
    receive(&mut server, b"the other way").await;
    site.proxy.heal();
    send(&mut server, b"lost, too").await;
    eventually("more is swallowed, healed or not", || site.proxy.swallowed() == 13).await;
    drop(server);
    receive_nothing(&mut client).await;
    site.connect().await;
    assert_eq!(site.proxy.connections(), 2);
}

#[tokio::test]
async fn swallowed_bytes_to_the_server_are_counted_and_never_come() {
    let site = Site::start().await;
    let (mut client, mut server) = site.connect().await;
    site.proxy.swallow(Direction::ToServer);
    send(&mut client, &[b'x'; 1 << 20]).await;
    eventually("all is swallowed", || site.proxy.swallowed() == 1 << 20).await;
    send(&mut server, b"the other way").await;
    receive(&mut client, b"the other way").await;
    receive_nothing(&mut server).await;
}

#[tokio::test]
async fn only_connections_with_the_needle_are_swallowed() {
    let site = Site::start().await;
    let (mut subscriber, mut subscriber_server) = site.connect().await;
    let (mut other, mut other_server) = site.connect().await;
    for (client, server, request) in [
        (&mut subscriber, &mut subscriber_server, b"GET /subscribe/7"),
        (&mut other, &mut other_server, b"GET /publish/7/x"),
    ] {
        // In two parts: the needle need not come in one piece.
        for part in request.chunks(8) {
            send(client, part).await;
            receive(server, part).await;
        }
    }
    assert_eq!(site.proxy.swallow_matching(Direction::ToClient, b"/subscribe/"), 1);
    send(&mut subscriber_server, b"event").await;
    eventually("the event is swallowed", || site.proxy.swallowed() == 5).await;
    send(&mut other_server, b"done").await;
    receive(&mut other, b"done").await;
    receive_nothing(&mut subscriber).await;
}

#[tokio::test]
async fn a_stall_holds_bytes_back_until_resumed() {
    let site = Site::start().await;
    let (mut client, mut server) = site.connect().await;
    site.proxy.stall(Direction::ToClient);
    send(&mut server, b"late").await;
    receive_nothing(&mut client).await;
    assert_eq!(site.proxy.bytes_to_client(), 1);
    send(&mut client, b"the other way").await;
    receive(&mut server, b"the other way").await;
    site.proxy.resume(Direction::ToClient);
    receive(&mut client, b"late").await;
}

#[tokio::test]
async fn a_stall_builds_up_back_pressure_and_loses_nothing() {
    let site = Site::start().await;
    site.proxy.stall(Direction::ToServer);
    let client = crate::plumbing::connect(site.proxy.address()).await;
    let mut server = site.accept().await;
    let mut sent = 0;
    while timeout(QUIET, client.writable()).await.is_ok() {
        sent += client.try_write(&[b'x'; 4096]).unwrap_or(0);
        assert!(sent < 256 << 20, "no back-pressure");
    }
    assert_eq!(site.proxy.bytes_to_server(), 0);
    site.proxy.heal();
    receive(&mut server, &vec![b'x'; sent]).await;
}

#[tokio::test]
async fn a_delay_is_latency_and_keeps_order() {
    let site = Site::start().await;
    let (mut client, mut server) = site.connect().await;
    let latency = Duration::from_secs(1);
    site.proxy.delay(latency);
    let start = Instant::now();
    // Ten chunks, surely more than one for the proxy: one after the other they would take up to ten times as long.
    for chunk in b"0123456789".chunks(1) {
        send(&mut server, chunk).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    receive(&mut client, b"0123456789").await;
    assert!(start.elapsed() >= latency);
    assert!(start.elapsed() < 8 * latency, "{:?}", start.elapsed());

    let start = Instant::now();
    send(&mut client, b"back").await;
    receive(&mut server, b"back").await;
    assert!(start.elapsed() >= latency);
}

#[tokio::test]
async fn healing_lets_delayed_bytes_leave_at_once() {
    let site = Site::start().await;
    let (mut client, mut server) = site.connect().await;
    site.proxy.delay(Duration::MAX);
    send(&mut server, b"tomorrow").await;
    receive_nothing(&mut client).await;
    site.proxy.heal();
    receive(&mut client, b"tomorrow").await;
}

#[tokio::test]
async fn trickled_bytes_take_their_time_and_healing_ends_it() {
    let site = Site::start().await;
    let (mut client, mut server) = site.connect().await;
    site.proxy.trickle(1_000);
    let start = Instant::now();
    send(&mut server, &[b'x'; 500]).await;
    receive(&mut client, &[b'x'; 500]).await;
    assert!(start.elapsed() >= Duration::from_millis(450), "{:?}", start.elapsed());

    site.proxy.trickle(1);
    send(&mut server, &[b'y'; 5_000]).await;
    receive(&mut client, b"y").await;
    site.proxy.heal();
    receive(&mut client, &[b'y'; 4_999]).await;
}

#[tokio::test]
async fn much_data_passes_unchanged_with_every_byte_counted() {
    let site = Site::start().await;
    let (mut client, mut server) = site.connect().await;
    let data: Vec<u8> = (0..8_u32 << 20).map(|at| (at % 251) as u8).collect();
    tokio::join!(
        async {
            send(&mut server, &data).await;
            receive(&mut server, &data).await;
        },
        async {
            receive(&mut client, &data).await;
            send(&mut client, &data).await;
        }
    );
    eventually("all is counted", || site.proxy.bytes_to_client() == (8 << 20) + 1).await;
}
