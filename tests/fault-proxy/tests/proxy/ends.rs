//! Faults in how connections begin and end.

use fault_proxy::{Direction, Proxy};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use crate::plumbing::{
    GUARD, Site, connect, eventually, receive, receive_nothing, receive_reset, receive_to_end, send,
};

#[tokio::test]
async fn clean_forwarding_passes_bytes_and_each_end() {
    let site = Site::start().await;
    let (mut client, mut server) = site.connect().await;
    assert_eq!(site.proxy.connections(), 1);
    send(&mut client, b"question").await;
    client.shutdown().await.unwrap();
    receive_to_end(&mut server, b"question").await;
    send(&mut server, b"answer").await;
    drop(server);
    receive_to_end(&mut client, b"answer").await;
    eventually("the connection is forgotten", || site.proxy.connections() == 0).await;
    assert_eq!(site.proxy.accepted(), 1);
    assert_eq!((site.proxy.bytes_to_server(), site.proxy.bytes_to_client()), (9, 7));
}

#[tokio::test]
async fn a_reset_by_one_side_reaches_the_other() {
    let site = Site::start().await;
    let (client, mut server) = site.connect().await;
    client.set_zero_linger().unwrap();
    drop(client);
    receive_reset(&mut server).await;
}

#[tokio::test]
async fn without_upstream_the_client_is_reset() {
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let proxy = Proxy::start(0, unused).await.unwrap();
    receive_reset(&mut connect(proxy.address()).await).await;
    assert_eq!(proxy.connections(), 0);
}

#[tokio::test]
async fn a_cut_resets_open_connections_and_no_later_ones() {
    let site = Site::start().await;
    let (mut client, mut server) = site.connect().await;
    let (mut other, _other_server) = site.connect().await;
    assert_eq!(site.proxy.cut(), 2);
    assert_eq!(site.proxy.connections(), 0);
    receive_reset(&mut client).await;
    receive_reset(&mut server).await;
    receive_reset(&mut other).await;
    site.connect().await;
    assert_eq!(site.proxy.cuts(), 2);
}

#[tokio::test]
async fn while_down_every_connection_is_reset() {
    let site = Site::start().await;
    let (mut client, _server) = site.connect().await;
    assert_eq!(site.proxy.down(), 1);
    receive_reset(&mut client).await;
    receive_reset(&mut connect(site.proxy.address()).await).await;
    assert_eq!((site.proxy.accepted(), site.proxy.refused()), (1, 1));
    site.proxy.up();
    site.connect().await;
    site.proxy.down();
    site.proxy.heal();
    site.connect().await;
}

#[tokio::test]
async fn dropping_the_proxy_ends_connections_and_frees_the_port() {
    let site = Site::start().await;
    let (mut client, mut server) = site.connect().await;
    let address = site.proxy.address();
    drop(site.proxy);
    receive_reset(&mut client).await;
    receive_reset(&mut server).await;
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_answer_is_given_to_new_connections_without_upstream() {
    let site = Site::start().await;
    let (mut open, mut open_server) = site.connect().await;
    site.proxy.answer("HTTP/1.1 200 OK\r\n\r\nnonsense");
    let mut client = connect(site.proxy.address()).await;
    send(&mut client, b"GET / HTTP/1.1\r\n\r\n").await;
    receive_to_end(&mut client, b"HTTP/1.1 200 OK\r\n\r\nnonsense").await;
    send(&mut open, b"a").await;
    receive(&mut open_server, b"a").await;
    site.proxy.heal();
    // The next connection upstream is this one: the answered client never came there.
    site.connect().await;
}

#[tokio::test]
async fn an_answer_waits_until_the_client_has_sent_something() {
    let site = Site::start().await;
    site.proxy.answer("x");
    let mut client = connect(site.proxy.address()).await;
    receive_nothing(&mut client).await;
    assert_eq!(site.proxy.cut(), 1);
    receive_reset(&mut client).await;
}

#[tokio::test]
async fn a_connection_is_cut_before_the_needle_even_across_chunks() {
    let site = Site::start().await;
    let (mut open, mut open_server) = site.connect().await;
    site.proxy.cut_before("needle");
    let (mut later, mut later_server) = site.connect().await;
    for (client, server) in [(&mut open, &mut open_server), (&mut later, &mut later_server)] {
        send(server, b"some hay, nee").await;
        receive(client, b"some hay, ").await;
        send(server, b"dle and more").await;
        receive_to_end(client, b"").await;
        receive_reset(server).await;
    }
    assert_eq!((site.proxy.cuts_before(), site.proxy.cuts(), site.proxy.connections()), (2, 2, 0));
}

#[tokio::test]
async fn limited_times_to_cut_are_used_up_and_let_go_what_others_hold_back() {
    let site = Site::start().await;
    let (mut first, mut first_server) = site.connect().await;
    let (mut other, mut other_server) = site.connect().await;
    site.proxy.cut_before_times("needle", 1);
    send(&mut other_server, b"a nee").await;
    receive(&mut other, b"a ").await;
    send(&mut first_server, b"a needle").await;
    receive_to_end(&mut first, b"a ").await;
    receive(&mut other, b"nee").await;
    send(&mut other_server, b"dle, a needle").await;
    receive(&mut other, b"dle, a needle").await;
    assert_eq!(site.proxy.cuts_before(), 1);
}

#[tokio::test]
async fn healing_lets_the_needle_pass() {
    let site = Site::start().await;
    let (mut client, mut server) = site.connect().await;
    site.proxy.cut_before("needle");
    send(&mut server, b"a nee").await;
    receive(&mut client, b"a ").await;
    site.proxy.heal();
    receive(&mut client, b"nee").await;
    send(&mut server, b"dle, needle").await;
    receive(&mut client, b"dle, needle").await;
    assert_eq!(site.proxy.cuts_before(), 0);
}

#[tokio::test]
async fn a_half_open_connection_does_not_tell_that_one_side_is_gone() {
    let site = Site::start().await;
    let (client, mut server) = site.connect().await;
    assert_eq!(site.proxy.swallow(Direction::ToServer), 1);
    drop(client);
    // The first bytes provoke a reset from the client's side, which must not come through either.
    let provoking = async {
        while site.proxy.swallowed() == 0 {
            send(&mut server, b"still there?").await;
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(GUARD, provoking).await.expect("no reset");
    receive_nothing(&mut server).await;
    assert_eq!(site.proxy.connections(), 1);
    site.proxy.cut();
    receive_reset(&mut server).await;
}
