//! `/monitor`: every command that Redis runs, as a stream of server-sent events.
//!
//! Each stream has a connection of its own: Redis stops answering anything else on one that monitors.

use crate::fanout::mailbox::mailbox;
use crate::fanout::{KEEP_ALIVE, MAILBOX_BYTES};
use crate::seats::Held;
use crate::target::Target;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use redis_rest::subscribe::KEEP_ALIVE_BYTES;
use tokio::sync::watch;
use tokio::time::{Instant, interval_at, timeout};

/// The most streams at the same time: each makes Redis slower.
pub(crate) const MAX_MONITORS: usize = 16;

/// What a stream opens with. Pinned: with quotes, as Upstash sends it.
const OPENING: &str = "data: \"OK\"\n\n";

/// Begins to monitor. `held` is dropped when the stream ends, which it does when `closing` becomes true.
///
/// # Errors
/// Why not, in words for logs.
pub(crate) async fn monitor(
    target: &Target,
    held: Held,
    mut closing: watch::Receiver<bool>,
) -> Result<impl Stream<Item = Bytes> + Send + 'static, String> {
    let connecting = timeout(target.connect_timeout(), target.monitor()).await;
    let monitor = connecting.map_err(|_| "no connection in time".to_owned())?.map_err(|error| error.to_string())?;
    let (sender, receiver) = mailbox(MAILBOX_BYTES);
    let _ = sender.push(OPENING.into());
    tokio::spawn(async move {
        let _held = held;
        let mut lines = monitor.into_on_message::<String>();
        let mut keep_alive = interval_at(Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
        loop {
            let piece = tokio::select! {
                line = lines.next() => match line {
                    // Redis writes a command on one line, with what is not printable escaped.
                    Some(line) => Bytes::from(format!("data: {line}\n\n")),
                    None => return,
                },
                () = sender.closed() => return,
                _ = closing.wait_for(|closing| *closing) => return,
                _ = keep_alive.tick() => Bytes::from_static(KEEP_ALIVE_BYTES.as_bytes()),
            };
            if sender.push(piece).is_err() {
                tracing::warn!("closed a monitor that does not keep up");
                return;
            }
        }
    });
    Ok(receiver)
}
