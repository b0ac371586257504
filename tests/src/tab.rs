//! A tab: an `EventSource` that lives through any number of connections, and a page behind it that checks what it is
//! told. Cheap enough for hundreds in one process.
//!
//! It follows [WHATWG HTML, "Server-sent events"][spec]: only 200 with `text/event-stream` is a stream, any other answer
//! ends it for good; where a connection cannot be made, breaks or ends it comes back after `retry`, with the last id it
//! was given. As in all browsers, and unlike in the text of that section, the last id outlives a connection that gives
//! none.
//!
//! [spec]: https://html.spec.whatwg.org/multipage/server-sent-events.html

mod connection;
mod history;
mod replica;
mod run;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use wire::Position;

use crate::GUARD;
pub use history::{End, History, Named};
use run::{Command, Run};

/// Settings of a tab; see [`Tab::builder`].
#[derive(Debug, Clone)]
pub struct TabBuilder {
    url: String,
    headers: Vec<(String, String)>,
    last_event_id: String,
    patience_scale: f64,
    receive_buffer: Option<u32>,
    stopped: bool,
}

impl TabBuilder {
    /// Sends a header with every request, such as `x-user-id`.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Begins as one that returns, with this `Last-Event-ID`.
    #[must_use]
    pub fn last_event_id(mut self, id: &str) -> Self {
        self.last_event_id = id.to_owned();
        self
    }

    /// Divides every pause before a reconnection, to save a test's time.
    #[must_use]
    pub fn patience_scale(mut self, divisor: f64) -> Self {
        self.patience_scale = divisor;
        self
    }

    /// Bounds what the system receives ahead of the reading, in bytes: a paused tab then holds the server up early.
    /// On loopback, with its segments of 64 KiB, less than 256 KiB may keep one that reads on waiting for minutes.
    #[must_use]
    pub fn receive_buffer(mut self, bytes: u32) -> Self {
        self.receive_buffer = Some(bytes);
        self
    }

    /// Does not connect before [`Tab::start`].
    #[must_use]
    pub fn stopped(mut self) -> Self {
        self.stopped = true;
        self
    }

    /// The tab. Needs a running tokio.
    #[must_use]
    pub fn open(self) -> Tab {
        let (commands, orders) = mpsc::unbounded_channel();
        let (told, history) = watch::channel(History::default());
        let task = tokio::spawn(Run::new(Arc::new(self), orders, told).run());
        Tab { commands, history, task }
    }
}

/// When a tab whose connection was cut comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Back {
    /// After the pause that the server asked for, as a browser does.
    AfterRetry,
    /// At once, as a person who reloads.
    AtOnce,
}

/// An open tab, closed on drop.
#[derive(Debug)]
pub struct Tab {
    commands: mpsc::UnboundedSender<Command>,
    history: watch::Receiver<History>,
    task: JoinHandle<()>,
}

impl Tab {
    /// Opens a tab on the stream at `url`.
    #[must_use]
    pub fn open(url: &str) -> Self {
        Self::builder(url).open()
    }

    /// A tab on the stream at `url`, an address with `http`.
    #[must_use]
    pub fn builder(url: &str) -> TabBuilder {
        TabBuilder {
            url: url.to_owned(),
            headers: Vec::new(),
            last_event_id: String::new(),
            patience_scale: 1.0,
            receive_buffer: None,
            stopped: false,
        }
    }

    /// Connects a tab that was made [stopped](TabBuilder::stopped).
    pub fn start(&self) {
        self.command(Command::Start);
    }

    /// Stops reading from the connection, as a slow viewer does. It may take what is on its way already.
    pub fn pause(&self) {
        self.command(Command::Read(false));
    }

    /// Goes on reading.
    pub fn resume(&self) {
        self.command(Command::Read(true));
    }

    /// Drops the connection, or the attempt or the wait for one, as a failing network does.
    pub fn cut(&self, back: Back) {
        self.command(Command::Cut(back));
    }

    /// Closes the tab for good.
    pub fn close(&self) {
        self.command(Command::Close);
    }

    /// What it has lived through so far. Let go of it before awaiting anything: the tab waits meanwhile.
    #[must_use]
    pub fn history(&self) -> watch::Ref<'_, History> {
        self.history.borrow()
    }

    /// Waits until `check` holds, at most [`GUARD`].
    ///
    /// # Errors
    /// When it does not, or can no longer because the tab has ended; then with what the tab has lived through.
    pub async fn until(&self, what: &str, check: impl FnMut(&History) -> bool) -> Result<()> {
        self.until_within(GUARD, what, check).await
    }

    /// Waits until `check` holds, at most `guard`.
    ///
    /// # Errors
    /// As [`Tab::until`].
    pub async fn until_within(&self, guard: Duration, what: &str, check: impl FnMut(&History) -> bool) -> Result<()> {
        let mut history = self.history.clone();
        let reached = tokio::time::timeout(guard, history.wait_for(check)).await;
        match reached.map(|reached| reached.is_ok()) {
            Ok(true) => Ok(()),
            Ok(false) => bail!("the tab ended before {what}: {}", *self.history()),
            Err(_) => bail!("a tab waits since {guard:?} for {what}: {}", *self.history()),
        }
    }

    /// Waits until it shows this position or a later one; the time at which it did first.
    ///
    /// # Errors
    /// As [`Tab::until`].
    pub async fn until_position(&self, position: Position) -> Result<Instant> {
        self.until(&format!("position {position}"), |history| history.reached(position).is_some()).await?;
        self.history().reached(position).context("reached, but not any more")
    }

    /// Waits for an event other than `progress`, from the tab's beginning on; `detail` is the `state` of `upstream`
    /// events and empty for others.
    ///
    /// # Errors
    /// As [`Tab::until`].
    pub async fn until_event(&self, name: &str, detail: &str) -> Result<Instant> {
        self.until(&format!("{name} {detail}"), |history| history.first(name, detail).is_some()).await?;
        self.history().first(name, detail).context("seen, but not any more")
    }

    /// Waits until it has ended for good.
    ///
    /// # Errors
    /// As [`Tab::until`].
    pub async fn until_ended(&self) -> Result<End> {
        self.until("its end", |history| history.end.is_some()).await?;
        self.history().end.clone().context("ended, but not any more")
    }

    fn command(&self, command: Command) {
        // One that has ended for good obeys nothing more.
        let _ = self.commands.send(command);
    }
}

impl Drop for Tab {
    fn drop(&mut self) {
        self.task.abort();
    }
}
