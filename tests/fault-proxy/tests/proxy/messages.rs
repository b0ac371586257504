//! Faults in the pub/sub messages of a Redis.

use std::sync::Arc;

use fault_proxy::MessageFaults;

use crate::plumbing::{Site, eventually, receive, send};

fn message(payload: &str) -> Vec<u8> {
    format!("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n${}\r\n{payload}\r\n", payload.len()).into_bytes()
}

fn push(payload: &str) -> Vec<u8> {
    [b">".as_slice(), &message(payload)[1..]].concat()
}

#[tokio::test]
async fn chosen_messages_are_lost_on_open_and_later_connections() {
    let site = Site::start().await;
    let (mut open, mut open_server) = site.connect().await;
    // The byte that opened this connection is no RESP, so its messages cannot be told any more.
    send(&mut open_server, &message("lost")).await;
    receive(&mut open, &message("lost")).await;

    let mut faults = MessageFaults { drop_if: Some(Arc::new(|payload| payload == b"lost")), ..Default::default() };
    let mut client = crate::plumbing::connect(site.proxy.address()).await;
    let mut server = site.accept().await;
    send(&mut server, b"+OK\r\n").await;
    receive(&mut client, b"+OK\r\n").await;
    site.proxy.messages(faults.clone());
    for part in [message("a"), push("lost"), message("lost"), push("b")].concat().chunks(7) {
        send(&mut server, part).await;
    }
    receive(&mut client, &[message("a"), push("b")].concat()).await;
    assert_eq!(site.proxy.dropped(), 2);

    faults.drop = 1.0;
    site.proxy.messages(faults);
    send(&mut server, &[message("a"), b":1\r\n".to_vec()].concat()).await;
    receive(&mut client, b":1\r\n").await;
    site.proxy.heal();
    send(&mut server, &message("lost")).await;
    receive(&mut client, &message("lost")).await;
    assert_eq!(site.proxy.dropped(), 3);
}

#[tokio::test]
async fn messages_are_doubled_and_overtake_each_other() {
    let site = Site::start().await;
    site.proxy.messages(MessageFaults { duplicate: 1.0, ..Default::default() });
    let mut client = crate::plumbing::connect(site.proxy.address()).await;
    let mut server = site.accept().await;
    send(&mut server, &message("a")).await;
    receive(&mut client, &[message("a"), message("a")].concat()).await;
    assert_eq!(site.proxy.duplicated(), 1);

    site.proxy.messages(MessageFaults { reorder: 1.0, ..Default::default() });
    send(&mut server, &[message("a"), message("b")].concat()).await;
    receive(&mut client, &[message("b"), message("a")].concat()).await;
    eventually("one was overtaken", || site.proxy.reordered() == 1).await;
}

#[tokio::test]
async fn a_message_is_not_held_back_for_ever() {
    let site = Site::start().await;
    site.proxy.messages(MessageFaults { reorder: 1.0, ..Default::default() });
    let mut client = crate::plumbing::connect(site.proxy.address()).await;
    let mut server = site.accept().await;
    send(&mut server, &message("alone")).await;
    receive(&mut client, &message("alone")).await;
    assert_eq!(site.proxy.reordered(), 0);
}
