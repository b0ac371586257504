//! A tab's life, in a task of its own.

use std::sync::Arc;
use std::time::Instant;

use redis_rest::event_stream::{Decoder, Event, Item};
use tokio::sync::{mpsc, watch};

use super::connection::{Answer, Arrived, Stream, request};
use super::replica::{Replica, detail};
use super::{Back, End, History, Named, TabBuilder};

/// More than the largest state takes in one event.
const MAX_EVENT_BYTES: usize = 8 * 1024 * 1024;

/// What a tab is told to do.
#[derive(Debug, Clone, Copy)]
pub(super) enum Command {
    Start,
    Read(bool),
    Cut(Back),
    Close,
}

/// What comes after a connection.
enum Next {
    Connect(Back),
    End(End),
}

pub(super) struct Run {
    tab: Arc<TabBuilder>,
    commands: mpsc::UnboundedReceiver<Command>,
    told: watch::Sender<History>,
    replica: Replica,
    reading: bool,
}

impl Run {
    pub(super) fn new(
        tab: Arc<TabBuilder>,
        commands: mpsc::UnboundedReceiver<Command>,
        told: watch::Sender<History>,
    ) -> Self {
        told.send_modify(|history| history.last_event_id.clone_from(&tab.last_event_id));
        Self { tab, commands, told, replica: Replica::default(), reading: true }
    }

    pub(super) async fn run(mut self) {
        let end = self.live().await;
        self.told.send_modify(|history| history.end = Some(end));
    }

    async fn live(&mut self) -> End {
        if self.tab.stopped
            && let Some(end) = self.wait_for_start().await
        {
            return end;
        }
        loop {
            let mut next = self.connection().await;
            self.told.send_modify(|history| history.ends.push(Instant::now()));
            while let Next::Connect(Back::AfterRetry) = next {
                next = self.retry().await;
            }
            if let Next::End(end) = next {
                return end;
            }
        }
    }

    async fn wait_for_start(&mut self) -> Option<End> {
        loop {
            match self.commands.recv().await {
                Some(Command::Start) => return None,
                Some(Command::Close) | None => return Some(End::Closed),
                Some(Command::Read(reading)) => self.reading = reading,
                Some(Command::Cut(_)) => {}
            }
        }
    }

    async fn retry(&mut self) -> Next {
        let pause = self.told.borrow().retry.div_f64(self.tab.patience_scale);
        tokio::select! {
            () = tokio::time::sleep(pause) => Next::Connect(Back::AtOnce),
            next = self.interruption() => next,
        }
    }

    async fn connection(&mut self) -> Next {
        self.told.send_modify(|history| history.connects.push(Instant::now()));
        let last_event_id = self.told.borrow().last_event_id.clone();
        let resumed = !last_event_id.is_empty();
        let tab = Arc::clone(&self.tab);
        let answer = tokio::select! {
            answer = request(&tab, &last_event_id) => answer,
            next = self.interruption() => return next,
        };
        match answer {
            Ok(Answer::Stream(stream)) => self.follow(stream, resumed).await,
            Ok(Answer::Other(204)) => Next::End(End::Finished),
            Ok(Answer::Other(status)) => Next::End(End::Refused(status)),
            Err(_) => Next::Connect(Back::AfterRetry),
        }
    }

    async fn follow(&mut self, mut stream: Stream, resumed: bool) -> Next {
        self.told.send_modify(|history| history.opens.push(Instant::now()));
        self.replica.connect();
        let mut decoder = Decoder::with_limit(MAX_EVENT_BYTES);
        loop {
            let reading = self.reading;
            tokio::select! {
                command = self.commands.recv() => if let Some(next) = self.obey(command) {
                    return next;
                },
                arrived = stream.read(), if reading => match arrived {
                    Ok(arrived) => {
                        self.take(&arrived, &mut decoder, resumed);
                        if arrived.ended {
                            return Next::Connect(Back::AfterRetry);
                        }
                    }
                    Err(_) => return Next::Connect(Back::AfterRetry),
                },
            }
        }
    }

    /// Waits for a command that ends what is under way.
    async fn interruption(&mut self) -> Next {
        loop {
            let command = self.commands.recv().await;
            if let Some(next) = self.obey(command) {
                return next;
            }
        }
    }

    fn obey(&mut self, command: Option<Command>) -> Option<Next> {
        match command {
            None | Some(Command::Close) => Some(Next::End(End::Closed)),
            Some(Command::Cut(back)) => Some(Next::Connect(back)),
            Some(Command::Read(reading)) => {
                self.reading = reading;
                None
            }
            Some(Command::Start) => None,
        }
    }

    fn take(&mut self, arrived: &Arrived, decoder: &mut Decoder, resumed: bool) {
        let mut items = Vec::new();
        decoder.decode(&arrived.body, &mut items);
        let Self { told, replica, .. } = self;
        told.send_modify(|history| {
            history.bytes += arrived.wire_bytes;
            if resumed {
                history.resumed_bytes += arrived.wire_bytes;
            }
            for item in items {
                match item {
                    Item::Event(event) => note(history, replica, &event),
                    Item::Comment(_) => history.comments += 1,
                    Item::Retry(pause) => history.retry = pause,
                    Item::TooLarge => history.violate(format!("an event of more than {MAX_EVENT_BYTES} bytes")),
                    other => history.violate(format!("something else in the stream: {other:?}")),
                }
            }
        });
    }
}

fn note(history: &mut History, replica: &mut Replica, event: &Event) {
    let now = Instant::now();
    history.events += 1;
    if !event.id.is_empty() {
        history.last_event_id.clone_from(&event.id);
    }
    if event.event != "progress" {
        history.named.push(Named { name: event.event.clone(), detail: detail(event), at: now });
    }
    for violation in replica.take(event) {
        history.violate(violation);
    }
    if let Some(shown) = replica.shown() {
        if history.position() != Some(shown.position) {
            history.positions.push((shown.position, now));
        }
        history.status = Some(shown.status);
        history.percent = Some(shown.percent);
        history.counts = Some(shown.counts);
    }
}
