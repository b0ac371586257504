//! Viewers' streams: opening, writing, whether one is full, ending, and noticing that one is gone.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::{Rc, Weak},
};

use hub::{FORGOTTEN_RETRY, ViewerId};
use js_sys::{Array, Function, Uint8Array};
use wasm_bindgen::{JsCast, JsValue, prelude::Closure, prelude::wasm_bindgen};
use web_sys::{AbortSignal, ReadableStream, ReadableStreamDefaultController};
use wire::{BatchId, BatchState, Position, event};
use worker::{Request, Response};

use super::Object;
use crate::reply;

/// Bytes that may wait in a stream. Above, its viewer is shown merged changes later instead.
const HIGH_WATER_MARK: f64 = 64.0 * 1024.0;
/// Smaller chunks are copied rather than remembered.
const WORTH_SHARING: usize = 1024;
/// When a client that was shown the end of a batch would come back, if it did.
const ENDED_RETRY: u64 = 2_000;

#[wasm_bindgen(module = "/src/stream.js")]
extern "C" {
    #[wasm_bindgen(catch, js_name = openStream)]
    fn open_stream(id: u32, high_water_mark: f64, gone: &Function, signal: &AbortSignal) -> Result<Array, JsValue>;
}

pub(super) struct Streams {
    open: RefCell<HashMap<ViewerId, Stream>>,
    opened: Cell<u32>,
    /// The last large thing written, outside wasm: newcomers that come together are written the same.
    last_chunk: RefCell<Option<(Rc<str>, Uint8Array)>>,
    /// Called by the runtime when a stream is gone; one for all.
    gone: Closure<dyn Fn(u32)>,
}

struct Stream {
    controller: ReadableStreamDefaultController,
    batch: BatchId,
}

impl Streams {
    pub(super) fn new(object: Weak<Object>) -> Self {
        let gone = Closure::wrap(Box::new(move |id| {
            if let Some(object) = object.upgrade() {
                object.viewer_left(ViewerId(id));
            }
        }) as Box<dyn Fn(u32)>);
        Self { open: RefCell::default(), opened: Cell::new(0), last_chunk: RefCell::default(), gone }
    }

    /// How many streams are open.
    pub(super) fn len(&self) -> usize {
        self.open.borrow().len()
    }

    /// A new stream, to be written to at once and returned as the request's response.
    pub(super) fn open(&self, batch: &BatchId, request: &Request) -> worker::Result<(ViewerId, ReadableStream)> {
        let id = self.opened.get().wrapping_add(1);
        self.opened.set(id);
        let signal = request.inner().signal();
        let pair = open_stream(id, HIGH_WATER_MARK, self.gone.as_ref().unchecked_ref(), &signal)?;
        let (body, controller) = (pair.get(0).unchecked_into(), pair.get(1).unchecked_into());
        self.open.borrow_mut().insert(ViewerId(id), Stream { controller, batch: batch.clone() });
        Ok((ViewerId(id), body))
    }

    /// Whether a viewer's stream would take more bytes now. One that broke would: writing to it finds that out.
    pub(super) fn can_take(&self, viewer: ViewerId) -> bool {
        let open = self.open.borrow();
        let waiting = open.get(&viewer).map(|stream| stream.controller.desired_size());
        waiting.is_some_and(|size| size.is_none_or(|size| size > 0.0))
    }

    /// Writes the same bytes to viewers: they leave wasm once. Returns the viewers whose stream turned out to be gone.
    pub(super) fn write(&self, viewers: &[ViewerId], bytes: &Rc<str>) -> Vec<ViewerId> {
        let chunk = self.chunk(bytes);
        let mut open = self.open.borrow_mut();
        let mut gone = Vec::new();
        for viewer in viewers {
            let written = open.get(viewer).map(|stream| stream.controller.enqueue_with_chunk(&chunk));
            if written.is_some_and(|result| result.is_err()) {
                open.remove(viewer);
                gone.push(*viewer);
            }
        }
        gone
    }

    fn chunk(&self, bytes: &Rc<str>) -> Uint8Array {
        let mut last = self.last_chunk.borrow_mut();
        match &*last {
            Some((same, chunk)) if Rc::ptr_eq(same, bytes) => chunk.clone(),
            _ => {
                let chunk = Uint8Array::from(bytes.as_bytes());
                if bytes.len() >= WORTH_SHARING {
                    *last = Some((bytes.clone(), chunk.clone()));
                }
                chunk
            }
        }
    }

    /// Ends a stream once what was written has left.
    pub(super) fn close(&self, viewer: ViewerId) {
        if let Some(stream) = self.open.borrow_mut().remove(&viewer) {
            // Fails only for a stream that is gone already.
            let _ = stream.controller.close();
        }
    }

    /// Ends a stream now; what waits in it is lost.
    pub(super) fn cut(&self, viewer: ViewerId) {
        if let Some(stream) = self.open.borrow_mut().remove(&viewer) {
            stream.controller.error_with_e(&"the end was not read in time".into());
        }
    }

    /// Forgets a stream that is gone; its batch, unless it was forgotten before.
    pub(super) fn forget(&self, viewer: ViewerId) -> Option<BatchId> {
        self.open.borrow_mut().remove(&viewer).map(|stream| stream.batch)
    }
}

/// The stream of a viewer that looks in again at a batch of which nothing has been heard for long.
pub(super) fn idle(position: Position) -> worker::Result<Response> {
    reply::short_stream(event::retry(FORGOTTEN_RETRY) + &event::idle(position))
}

/// The stream of a batch that has ended. Whoever comes with the final position has seen `complete`: 204 stops an
/// `EventSource`. Anyone else gets the rest.
pub(super) fn ended(state: &BatchState, seen: Option<Position>) -> worker::Result<Response> {
    if seen == Some(state.position()) {
        return reply::nothing_more();
    }
    reply::short_stream(event::retry(ENDED_RETRY) + &event::ending(state, seen, None))
}
