//! The one subscription behind a room: a request to Redis over HTTP whose answer does not end.

use std::{
    cell::Cell,
    rc::{Rc, Weak},
};

use futures::StreamExt;
use hub::Input;
use redis_rest::{
    event_stream::{Decoder, Item},
    subscribe::{Frame, RESUBSCRIBED},
};
use wire::BatchId;
use worker::{AbortController, AbortSignal, Fetch, wasm_bindgen_futures::spawn_local};

use super::Object;
use crate::{log, redis::refused, request};

/// Bytes of one upstream event: the largest message, with room for what frames it.
const MAX_EVENT_BYTES: usize = wire::limits::MAX_MESSAGE_BYTES + 4 * 1024;

/// What else comes is as good as a message that is not understood: counted, and the hash is read.
const NOT_UNDERSTOOD: Input<'static> = Input::Message(b"");

/// An open subscription; dropping it ends the request.
pub(super) struct Upstream {
    controller: Option<AbortController>,
    current: Rc<Cell<bool>>,
}

impl Upstream {
    pub(super) fn open(object: &Rc<Object>, batch: &BatchId) -> Self {
        let controller = AbortController::default();
        let current = Rc::new(Cell::new(true));
        let listener = Listener { object: Rc::downgrade(object), batch: batch.clone(), current: current.clone() };
        spawn_local(listener.run(controller.signal()));
        Self { controller: Some(controller), current }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.current.set(false);
        if let Some(controller) = self.controller.take() {
            controller.abort();
        }
    }
}

/// Reads a subscription and feeds its room, as long as the room has not dropped it.
struct Listener {
    object: Weak<Object>,
    batch: BatchId,
    current: Rc<Cell<bool>>,
}

impl Listener {
    async fn run(self, signal: AbortSignal) {
        let Err(words) = self.listen(&signal).await;
        if self.current.get() {
            log::upstream_lost(&self.batch, &words);
            self.feed(Input::Lost);
        }
    }

    fn feed(&self, input: Input<'_>) {
        if let Some(object) = self.object.upgrade().filter(|_| self.current.get()) {
            object.feed(&self.batch, input);
        }
    }

    /// Never ends well: a subscription has no end of its own.
    async fn listen(&self, signal: &AbortSignal) -> Result<std::convert::Infallible, String> {
        let words = |error: worker::Error| error.to_string();
        let request = match self.object.upgrade() {
            Some(object) => object.redis.subscribe_request(&self.batch).map_err(words)?,
            None => return Err("the object is gone".into()),
        };
        let mut response = Fetch::Request(request).send_with_signal(signal).await.map_err(words)?;
        if response.status_code() != 200 {
            let body = request::read(&mut response, MAX_EVENT_BYTES).await.map_err(|failure| failure.to_string())?;
            return Err(refused(response.status_code(), &body).to_string());
        }
        let mut body = response.stream().map_err(words)?;
        let (mut decoder, mut items) = (Decoder::with_limit(MAX_EVENT_BYTES), Vec::new());
        while let Some(chunk) = body.next().await {
            decoder.decode(&chunk.map_err(words)?, &mut items);
            items.drain(..).for_each(|item| self.item(&item));
        }
        Err("the stream ended".into())
    }

    fn item(&self, item: &Item) {
        match item {
            Item::Comment(text) if text.trim() == RESUBSCRIBED => self.feed(Input::Confirmed),
            Item::Event(event) => match Frame::parse(&event.data) {
                Ok(Frame::Subscribed { .. }) => self.feed(Input::Confirmed),
                Ok(Frame::Message { payload, .. }) => {
                    #[cfg(feature = "faults")]
                    crate::panic::on_demand("panic", payload);
                    self.feed(Input::Message(payload.as_bytes()));
                }
                // Not what was subscribed to.
                Ok(_) | Err(_) => self.feed(NOT_UNDERSTOOD),
            },
            Item::Comment(_) | Item::Retry(_) => {}
            // Too large, or what a later decoder may say: something was missed.
            _ => self.feed(NOT_UNDERSTOOD),
        }
    }
}
