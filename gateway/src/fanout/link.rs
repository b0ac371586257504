//! The one pub/sub connection to Redis: made, watched, made again. Carries orders out and reports.

use super::ledger::{Order, Topic};
use crate::connection::{Backoff, server_error_text};
use crate::metrics::Metrics;
use crate::target::Target;
use futures::future::{BoxFuture, Fuse, FusedFuture};
use futures::{FutureExt, StreamExt};
use redis::Msg;
use redis::aio::{PubSub, PubSubSink};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

/// How long Redis may take to confirm an order.
const ORDER_TIMEOUT: Duration = Duration::from_secs(5);

/// Reports not taken up yet; beyond it the connection is read no further for the moment.
const REPORTS: usize = 1024;

/// What the connection reports, in the order in which it happened.
#[derive(Debug)]
pub(super) enum Report {
    /// A connection is being made.
    Connecting,
    /// There is a connection. Orders for it go here; those for a connection that is gone reach nobody.
    Connected(mpsc::UnboundedSender<Order>),
    /// There is none.
    Disconnected,
    /// The order was carried out.
    Done,
    /// Redis refused the order, in these words.
    Refused(String),
    Message {
        /// What it was subscribed by.
        topic: Topic,
        channel: Vec<u8>,
        payload: Vec<u8>,
    },
}

/// Keeps a connection until the reports are no longer taken. `suspect` is told of each loss.
pub(super) fn spawn(target: Target, metrics: Arc<Metrics>, suspect: Arc<Notify>) -> mpsc::Receiver<Report> {
    let (reports, receiver) = mpsc::channel(REPORTS);
    tokio::spawn(async move {
        tokio::select! {
            () = reports.closed() => {}
            () = keep_connected(&target, &metrics, &suspect, &reports) => {}
        }
    });
    receiver
}

async fn keep_connected(target: &Target, metrics: &Metrics, suspect: &Notify, reports: &mpsc::Sender<Report>) {
    let mut backoff = Backoff::default();
    loop {
        // A report that nobody takes ends this task from outside.
        let _ = reports.send(Report::Connecting).await;
        let reason = match timeout(target.connect_timeout(), target.pubsub()).await {
            Ok(Ok(pubsub)) => {
                backoff = Backoff::default();
                metrics.redis_connections.add(1);
                let reason = serve(pubsub, reports).await;
                // What ended this connection has mostly ended the other, which notices only when it is used.
                suspect.notify_one();
                reason
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no connection within {:?}", target.connect_timeout()),
        };
        tracing::warn!(reason, "no subscription connection to Redis");
        let _ = reports.send(Report::Disconnected).await;
        tokio::time::sleep(backoff.next()).await;
    }
}

/// What a task on the connection comes to.
enum Outcome {
    Report(Report),
    Lost(String),
}

/// Serves one connection until it is lost; the reason is returned.
async fn serve(pubsub: PubSub, reports: &mpsc::Sender<Report>) -> String {
    let (sink, mut messages) = pubsub.split();
    let (orders, mut next_order) = mpsc::unbounded_channel();
    let _ = reports.send(Report::Connected(orders)).await;
    // One order at a time: Redis answers in order.
    let mut task: Fuse<BoxFuture<'static, Outcome>> = Fuse::terminated();
    loop {
        let report = tokio::select! {
            message = messages.next() => match message {
                Some(message) => report_message(&message),
                None => return "Redis closed the connection".to_owned(),
            },
            outcome = &mut task, if !task.is_terminated() => match outcome {
                Outcome::Report(report) => report,
                Outcome::Lost(reason) => return reason,
            },
            Some(order) = next_order.recv(), if task.is_terminated() => {
                task = carry_out(sink.clone(), order).boxed().fuse();
                continue;
            }
        };
        let _ = reports.send(report).await;
    }
}

async fn carry_out(mut sink: PubSubSink, order: Order) -> Outcome {
    let subscribes = matches!(order, Order::Subscribe(_));
    let confirmed = async {
        let (Order::Subscribe(topics) | Order::Unsubscribe(topics)) = order;
        let patterns = matches!(topics.first(), Some(Topic::Pattern(_)));
        let names: Vec<&[u8]> = topics.iter().map(Topic::name).collect();
        match (subscribes, patterns) {
            (true, false) => sink.subscribe(names).await,
            (true, true) => sink.psubscribe(names).await,
            (false, false) => sink.unsubscribe(names).await,
            (false, true) => sink.punsubscribe(names).await,
        }
    };
    match timeout(ORDER_TIMEOUT, confirmed).await {
        Ok(Ok(())) => Outcome::Report(Report::Done),
        Ok(Err(error)) => match server_error_text(&error) {
            Some(words) if subscribes => Outcome::Report(Report::Refused(words)),
            // Whatever is still subscribed goes with the connection.
            _ => Outcome::Lost(error.to_string()),
        },
        Err(_) => Outcome::Lost(format!("Redis did not confirm within {ORDER_TIMEOUT:?}")),
    }
}

fn report_message(message: &Msg) -> Report {
    // Names are always strings of bytes, so that reading them as bytes cannot fail.
    let channel: Vec<u8> = message.get_channel().unwrap_or_default();
    let topic = if message.from_pattern() {
        Topic::Pattern(message.get_pattern().unwrap_or_default())
    } else {
        Topic::Channel(channel.clone())
    };
    Report::Message { topic, channel, payload: message.get_payload_bytes().to_vec() }
}
