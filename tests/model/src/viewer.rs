//! A viewer: an `EventSource` as the HTML standard has it, and a page that merges what it is sent as
//! `client/src/state.ts` does.
//!
//! Models `Last-Event-ID` (from `id:` lines, kept over connections), `retry:`, the return after a cut, 204, and the
//! doubt that a page with an `EventSource` needs: after a minute without an event it reads the batch, and opens a new one
//! when there is news.
//! After `complete` it does what an `EventSource` alone would do: come back, and be told by 204 that there is no more.
//! Leaves out the growing pauses between doubts and the visibility of tabs.
//!
//! Each event is judged when it arrives: see [`Viewer::event`].

use std::collections::BTreeMap;

use hub::Millis;
use redis_rest::event_stream::{Decoder, Event, Item};
use serde::Deserialize;
use wire::{BatchId, BatchState, BatchStatus, Counts, Photo, PhotoId, Position, Seen};

use crate::{app::App, world::World};

/// After so long without an event a page that can't see keep-alives asks.
pub(crate) const SILENCE: Millis = 60_000;
/// What browsers wait before a stream has told them otherwise.
const FIRST_RETRY: Millis = 3_000;

pub(crate) struct Viewer {
    pub(crate) batch: BatchId,
    pub(crate) state: Standing,
    pub(crate) page: Page,
    last_event_id: Option<Seen>,
    retry: Millis,
    /// Counts signs of life: a doubt is dropped when there was one since.
    heard: u64,
    connection: Reading,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Between two connections.
    Away,
    /// On this connection, answered or not.
    On(u32),
    /// 204: it has seen the end, and does not come back.
    Ended,
    /// The tab was closed.
    Left,
}

/// One connection as its reader sees it.
#[derive(Default)]
struct Reading {
    decoder: Decoder,
    position: Option<Position>,
    completes: usize,
}

/// What is on the screen.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) position: Option<Position>,
    pub(crate) head: Option<(BatchStatus, Counts)>,
    pub(crate) photos: BTreeMap<PhotoId, Photo>,
    /// The last progress of a stream waits for the `complete` that says where it stands.
    held: Option<Progress>,
}

#[derive(Debug, Clone, Deserialize)]
struct Progress {
    position: Option<Position>,
    status: BatchStatus,
    counts: Counts,
    #[serde(default)]
    full: bool,
    #[serde(default)]
    photos: Vec<Photo>,
}

impl Viewer {
    pub(crate) fn new(batch: BatchId) -> Self {
        Self {
            batch,
            state: Standing::Away,
            page: Page::default(),
            last_event_id: None,
            retry: FIRST_RETRY,
            heard: 0,
            connection: Reading::default(),
        }
    }

    /// What must be true of every event:
    /// - On one connection positions rise. One is repeated only as the whole state (after an invalidation).
    /// - `complete` comes once, shows an end, and nothing comes after it.
    /// - What the page shows never falls, and is what the application had at that position, photo for photo.
    ///
    /// Over several connections the positions sent may fall: when Redis has lost its newest writes, or has not got them
    /// yet from a publisher that is away, whoever returns is shown what there is. The page ignores that, as every
    /// client is told to.
    fn event(&mut self, event: &Event, app: &App) {
        assert_eq!(self.connection.completes, 0, "an event after complete: {event:?}");
        if let Ok(id) = event.id.parse() {
            self.last_event_id = Some(id);
        }
        match event.event.as_str() {
            "progress" => self.progress(parse(event), app),
            "complete" => {
                let complete = parse(event);
                self.connection.completes += 1;
                assert!(is_terminal(&complete), "complete of an open batch: {event:?}");
                self.rises(&complete, complete.position.expect("complete has a position"));
                assert!(self.page.held.is_some(), "complete without a last progress");
                self.page.complete(&complete, app, &self.batch);
            }
            "upstream" | "stalled" | "idle" | "busy" => {}
            other => panic!("not an event of these schedules: {other}"),
        }
    }

    fn progress(&mut self, progress: Progress, app: &App) {
        let Some(position) = progress.position else {
            assert!(is_terminal(&progress), "a progress without a position before the end");
            self.page.held = Some(progress);
            return;
        };
        assert!(!is_terminal(&progress), "an end with a position, but not by complete");
        self.rises(&progress, position);
        self.page.advance(position, &progress, &progress.photos, progress.full, app, &self.batch);
    }

    fn rises(&mut self, progress: &Progress, position: Position) {
        let before = self.connection.position.replace(position);
        let again = Some(position) == before && (progress.full || is_terminal(progress));
        assert!(Some(position) > before || again, "on one connection, {position} after {before:?}");
    }
}

impl Page {
    fn complete(&mut self, complete: &Progress, app: &App, batch: &BatchId) {
        let held = self.held.take().expect("held");
        let position = complete.position.expect("complete has a position");
        assert_eq!((held.status, held.counts), (complete.status, complete.counts));
        self.advance(position, complete, &held.photos, held.full, app, batch);
    }

    /// As `mergeProgress` of `client/src/state.ts`.
    fn advance(
        &mut self,
        position: Position,
        head: &Progress,
        photos: &[Photo],
        full: bool,
        app: &App,
        batch: &BatchId,
    ) {
        let truth = app.at(batch, position).unwrap_or_else(|| panic!("{position} was never committed"));
        if full {
            assert!(photos.iter().eq(truth.photos()), "full, but not all there was at {position}");
        }
        if Some(position) < self.position {
            return;
        }
        let before = if full { std::mem::take(&mut self.photos) } else { self.photos.clone() };
        for photo in photos {
            let known = self.photos.get(&photo.photo_id);
            if known.is_none_or(|known| known.version <= photo.version) {
                self.photos.insert(photo.photo_id.clone(), photo.clone());
            }
        }
        let same_epoch = self.position.is_some_and(|before| before.epoch() == position.epoch());
        let fell = |photo: &&Photo| self.photos.get(&photo.photo_id).is_some_and(|now| now.version < photo.version);
        if let Some(fell) = before.values().find(fell).filter(|_| same_epoch) {
            panic!("photo {fell:?} went backwards at {position}");
        }
        (self.position, self.head) = (Some(position), Some((head.status, head.counts)));
        self.is(&truth);
    }

    /// That the page shows this state.
    pub(crate) fn is(&self, truth: &BatchState) {
        let position = truth.position();
        assert_eq!(self.position, Some(position));
        assert_eq!(self.head, Some((truth.head().status, truth.head().counts)), "at {position}");
        assert!(self.photos.values().eq(truth.photos()), "at {position} shows {:?}", self.photos);
    }
}

fn parse(event: &Event) -> Progress {
    serde_json::from_str(&event.data).unwrap_or_else(|error| panic!("{error}: {event:?}"))
}

fn is_terminal(progress: &Progress) -> bool {
    progress.status.is_terminal()
}

impl World {
    /// The `EventSource` opens a connection.
    pub(crate) fn connect_viewer(&mut self, index: usize) {
        let connection = self.next_connection();
        let viewer = &mut self.viewers[index];
        if matches!(viewer.state, Standing::Ended | Standing::Left) {
            return;
        }
        viewer.state = Standing::On(connection);
        viewer.connection = Reading::default();
        viewer.page.held = None;
        let (batch, seen) = (viewer.batch.clone(), viewer.last_event_id);
        self.trace(|| format!("viewer {index}: connects ({connection}), having seen {seen:?}"));
        self.heard(index);
        let there = self.delay();
        self.later(there, move |world| world.viewer_arrives(connection, index, &batch, seen));
    }

    pub(crate) fn is_on(&self, index: usize, connection: u32) -> bool {
        self.viewers[index].state == Standing::On(connection)
    }

    /// Bytes of a stream arrive.
    pub(crate) fn viewer_receives(&mut self, index: usize, connection: u32, bytes: &str) {
        if !self.is_on(index, connection) {
            return;
        }
        let mut items = Vec::new();
        self.viewers[index].connection.decoder.decode(bytes.as_bytes(), &mut items);
        for item in items {
            self.trace(|| format!("viewer {index}: gets {item:?}"));
            match item {
                Item::Event(event) => {
                    self.viewers[index].event(&event, &self.app);
                    self.heard(index);
                }
                Item::Retry(retry) => self.viewers[index].retry = u64::try_from(retry.as_millis()).unwrap(),
                Item::Comment(_) => {}
                other => panic!("not what a room writes: {other:?}"),
            }
        }
    }

    /// The stream ended, well or not: the `EventSource` comes back after its pause.
    pub(crate) fn viewer_loses(&mut self, index: usize, connection: u32) {
        if self.is_on(index, connection) {
            let pause = self.viewers[index].retry;
            self.viewers[index].state = Standing::Away;
            self.trace(|| format!("viewer {index}: lost connection {connection}"));
            self.later(pause, move |world| {
                if world.viewers[index].state == Standing::Away {
                    world.connect_viewer(index);
                }
            });
        }
    }

    /// 204.
    pub(crate) fn viewer_is_done(&mut self, index: usize, connection: u32) {
        if self.is_on(index, connection) {
            let viewer = &mut self.viewers[index];
            assert!(viewer.page.head.is_some_and(|(status, _)| status.is_terminal()), "204 without an end");
            viewer.state = Standing::Ended;
        }
    }

    /// A sign of life; the next doubt comes a minute later.
    fn heard(&mut self, index: usize) {
        self.viewers[index].heard += 1;
        let heard = self.viewers[index].heard;
        self.later(SILENCE, move |world| {
            if world.viewers[index].heard == heard {
                world.doubt(index);
            }
        });
    }

    fn doubt(&mut self, index: usize) {
        let Standing::On(connection) = self.viewers[index].state else { return };
        self.heard(index);
        let (heard, there) = (self.viewers[index].heard, self.delay());
        self.later(there, move |world| world.reader_arrives(index, connection, heard));
    }

    /// The answer to a doubt; `None`: 503.
    pub(crate) fn viewer_reads(&mut self, index: usize, connection: u32, heard: u64, read: Option<Position>) {
        let viewer = &mut self.viewers[index];
        if viewer.state != Standing::On(connection) || viewer.heard != heard {
            return;
        }
        if read.is_some() && read != viewer.page.position {
            // A new EventSource: it has no Last-Event-ID.
            viewer.last_event_id = None;
            self.viewer_turns_away(connection);
            self.connect_viewer(index);
        }
    }
}
