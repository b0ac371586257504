//! A viewer of a batch's stream: what a browser's `EventSource` would see, one connection long.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use redis_rest::event_stream::{Decoder, Item};
use reqwest::header::ACCEPT;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::Value;

use crate::GUARD;

/// More than the largest state takes in one event.
const MAX_EVENT_BYTES: usize = 8 * 1024 * 1024;

/// An event as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The last id that the stream had given by then; empty without any.
    pub id: String,
    /// `progress`, `complete`, …
    pub event: String,
    /// The data, parsed.
    pub data: Value,
    /// When its last byte arrived.
    pub received: SystemTime,
}

/// An open stream. Dropping it closes the connection.
#[derive(Debug)]
pub struct Viewer {
    response: Response,
    decoder: Decoder,
    events: VecDeque<Seen>,
    comments: Vec<String>,
    retry: Option<Duration>,
}

impl Viewer {
    /// Opens a stream as a newcomer.
    ///
    /// # Errors
    /// When the answer is not 200; then with the answer's text.
    pub async fn open(url: &str) -> Result<Self> {
        Self::of(Self::answer(url, None).await?).await
    }

    /// Opens a stream after the event with the id `last_event_id`.
    ///
    /// # Errors
    /// When the answer is not 200; then with the answer's text.
    pub async fn resume(url: &str, last_event_id: &str) -> Result<Self> {
        Self::of(Self::answer(url, Some(last_event_id)).await?).await
    }

    /// The answer to a request for a stream, whatever it is.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn answer(url: &str, last_event_id: Option<&str>) -> Result<Response> {
        let mut request = Self::request(url);
        if let Some(id) = last_event_id {
            request = request.header("Last-Event-ID", id);
        }
        Self::send(request).await
    }

    /// A request for the stream at `url`, to which a caller can add headers. Viewers share no connection.
    pub fn request(url: &str) -> RequestBuilder {
        Client::new().get(url).header(ACCEPT, "text/event-stream")
    }

    /// Opens the stream that this asks for.
    ///
    /// # Errors
    /// When the answer is not 200; then with the answer's text.
    pub async fn open_with(request: RequestBuilder) -> Result<Self> {
        Self::of(Self::send(request).await?).await
    }

    async fn send(request: RequestBuilder) -> Result<Response> {
        let answer = tokio::time::timeout(GUARD, request.send()).await;
        answer.with_context(|| format!("no answer for {GUARD:?}"))?.context("no answer")
    }

    async fn of(response: Response) -> Result<Self> {
        let status = response.status();
        if status != StatusCode::OK {
            bail!("the stream answers {status}: {}", response.text().await.unwrap_or_default());
        }
        Ok(Self {
            response,
            decoder: Decoder::with_limit(MAX_EVENT_BYTES),
            events: VecDeque::new(),
            comments: Vec::new(),
            retry: None,
        })
    }

    /// The next event; `None` when the server has ended the stream.
    ///
    /// # Errors
    /// When nothing comes for [`GUARD`], the connection breaks, or the event's data is not JSON.
    pub async fn next(&mut self) -> Result<Option<Seen>> {
        tokio::time::timeout(GUARD, self.next_unguarded()).await.with_context(|| format!("no event for {GUARD:?}"))?
    }

    /// The next event of this name, past others.
    ///
    /// # Errors
    /// As [`Viewer::next`], and when the stream ends before.
    pub async fn next_of(&mut self, event: &str) -> Result<Seen> {
        loop {
            let seen = self.next().await?.with_context(|| format!("the stream ended before {event:?}"))?;
            if seen.event == event {
                return Ok(seen);
            }
        }
    }

    /// All further events, until the server ends the stream.
    ///
    /// # Errors
    /// As [`Viewer::next`].
    pub async fn rest(&mut self) -> Result<Vec<Seen>> {
        let mut events = Vec::new();
        while let Some(seen) = self.next().await? {
            events.push(seen);
        }
        Ok(events)
    }

    /// The comments so far, keep-alives among them.
    #[must_use]
    pub fn comments(&self) -> &[String] {
        &self.comments
    }

    /// How long the server last asked to wait before reconnecting.
    #[must_use]
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// Waits for more bytes, whatever they hold: an event, a comment, a `retry`.
    ///
    /// # Errors
    /// As [`Viewer::next`], and when the stream ends.
    pub async fn advance(&mut self) -> Result<()> {
        let bytes = tokio::time::timeout(GUARD, self.response.chunk()).await;
        let bytes = bytes.with_context(|| format!("nothing came for {GUARD:?}"))?.context("the stream broke")?;
        self.take(&bytes.context("the stream ended")?, SystemTime::now())
    }

    async fn next_unguarded(&mut self) -> Result<Option<Seen>> {
        while self.events.is_empty() {
            let Some(bytes) = self.response.chunk().await.context("the stream broke")? else {
                return Ok(None);
            };
            self.take(&bytes, SystemTime::now())?;
        }
        Ok(self.events.pop_front())
    }

    fn take(&mut self, bytes: &[u8], received: SystemTime) -> Result<()> {
        let mut items = Vec::new();
        self.decoder.decode(bytes, &mut items);
        for item in items {
            match item {
                Item::TooLarge => bail!("an event of more than {MAX_EVENT_BYTES} bytes"),
                Item::Comment(comment) => self.comments.push(comment),
                Item::Retry(wait) => self.retry = Some(wait),
                Item::Event(event) => {
                    let data = serde_json::from_str(&event.data)
                        .with_context(|| format!("the data of {:?} is not JSON: {}", event.event, event.data))?;
                    self.events.push_back(Seen { id: event.id, event: event.event, data, received });
                }
                other => bail!("something else in the stream: {other:?}"),
            }
        }
        Ok(())
    }
}
