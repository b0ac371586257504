//! What a page holds of a batch, merged as `client/src/state.ts` does, and what it finds wrong on the way.
//!
//! The photos are expected to be listed in full: then their statuses add up to the counts after every event unless
//! something was missed.

use std::collections::HashMap;

use redis_rest::event_stream::Event;
use serde::Deserialize;
use serde_json::Value;
use wire::{BatchStatus, Counts, PhotoStatus, Position};

/// What the tab shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) position: Position,
    pub(super) status: BatchStatus,
    pub(super) percent: u8,
    pub(super) counts: Counts,
}

/// A batch as one tab holds it.
#[derive(Debug, Default)]
pub(super) struct Replica {
    shown: Option<Shown>,
    photos: HashMap<Box<str>, (u64, PhotoStatus)>,
    /// The photos by status.
    tally: Counts,
    /// The last progress of a stream. It has no position, so it waits for the `complete` that says where it stands.
    held: Option<Data>,
    /// This connection has brought `complete`.
    completed: bool,
    violations: Vec<String>,
}

/// The data of `progress` and `complete`.
#[derive(Debug, Deserialize)]
struct Data {
    position: Option<Position>,
    status: BatchStatus,
    progress: u8,
    counts: Counts,
    #[serde(default)]
    full: bool,
    #[serde(default)]
    photos: Vec<PhotoData>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PhotoData {
    photo_id: Box<str>,
    status: PhotoStatus,
    version: u64,
}

impl Replica {
    /// A new connection begins.
    pub(super) fn connect(&mut self) {
        self.completed = false;
    }

    /// What is shown; nothing before the first event.
    pub(super) fn shown(&self) -> Option<Shown> {
        self.shown
    }

    /// Takes an event and returns what is wrong with it.
    pub(super) fn take(&mut self, event: &Event) -> Vec<String> {
        if self.completed {
            self.violate(format!("{} came after complete", event.event));
        }
        if matches!(event.event.as_str(), "progress" | "complete") {
            self.completed |= event.event == "complete";
            self.read(event);
        }
        std::mem::take(&mut self.violations)
    }

    fn read(&mut self, event: &Event) {
        match serde_json::from_str::<Data>(&event.data) {
            // An id stays with the stream, so an event without a position may show an older one.
            Ok(data) if data.position.is_some_and(|position| position.to_string() != event.id) => {
                self.violate(format!("the id {} does not name the position of {}", event.id, event.data));
            }
            Ok(data) if event.event == "complete" => self.complete(&data),
            Ok(data) => self.progress(data),
            Err(error) => self.violate(format!("{} cannot be read ({error}): {}", event.event, event.data)),
        }
    }

    fn progress(&mut self, data: Data) {
        match data.position {
            None => self.held = Some(data),
            Some(position) => self.merge(position, &data, &data.photos, data.full),
        }
    }

    fn complete(&mut self, data: &Data) {
        let held = self.held.take();
        let Some(position) = data.position else {
            return self.violate("complete without a position".to_owned());
        };
        if !data.status.is_terminal() {
            self.violate(format!("complete at {position} with the status {:?}", data.status));
        }
        let (photos, full) = held.as_ref().map_or((&[][..], false), |held| (&held.photos, held.full));
        self.merge(position, data, photos, full);
    }

    fn merge(&mut self, position: Position, data: &Data, photos: &[PhotoData], full: bool) {
        let before = self.shown;
        if let Some(before) = before
            && position < before.position
        {
            return self.violate(format!("the position fell from {} to {position}", before.position));
        }
        let same_epoch = before.is_some_and(|before| before.position.epoch() == position.epoch());
        if !full && !same_epoch {
            self.violate(format!("{position} is the first of its epoch, but not the whole batch"));
        }
        self.take_photos(position, photos, full, same_epoch);
        let Data { status, progress: percent, counts, .. } = *data;
        if let Some(before) = before.filter(|_| same_epoch) {
            self.compare(before, position, data);
        }
        if self.tally != counts {
            let held = self.tally;
            self.violate(format!("at {position} the counts are {counts:?}, but the photos held are {held:?}"));
        }
        self.shown = Some(Shown { position, status, percent, counts });
    }

    fn compare(&mut self, before: Shown, position: Position, data: &Data) {
        if data.progress < before.percent && data.counts.total <= before.counts.total {
            self.violate(format!("at {position} the progress fell from {} to {}", before.percent, data.progress));
        }
        if before.status.is_terminal() && data.status != before.status {
            self.violate(format!("at {position} {:?} became {:?} within the epoch", before.status, data.status));
        }
    }

    fn take_photos(&mut self, position: Position, photos: &[PhotoData], full: bool, same_epoch: bool) {
        let known = if full { std::mem::take(&mut self.photos) } else { HashMap::new() };
        if full {
            self.tally = Counts::default();
        }
        for photo in photos {
            let PhotoData { photo_id, status, version } = photo;
            if *version > position.version() {
                self.violate(format!("{photo_id} has version {version} at {position}"));
            }
            let held = self.photos.get(photo_id).copied();
            let before = held.or_else(|| known.get(photo_id).copied());
            if let Some((newest, _)) = before.filter(|(newest, _)| same_epoch && newest > version) {
                self.violate(format!("at {position} {photo_id} fell from version {newest} to {version}"));
            }
            if held.is_some_and(|(held, _)| held > *version) {
                continue;
            }
            if let Some((_, status)) = self.photos.insert(photo_id.clone(), (*version, *status)) {
                *part(&mut self.tally, status) -= 1;
                self.tally.total -= 1;
            }
            *part(&mut self.tally, *status) += 1;
            self.tally.total += 1;
        }
    }

    fn violate(&mut self, words: String) {
        self.violations.push(words);
    }
}

/// The `state` of an `upstream` event, otherwise empty.
pub(super) fn detail(event: &Event) -> String {
    let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
    data["state"].as_str().unwrap_or_default().to_owned()
}

fn part(counts: &mut Counts, status: PhotoStatus) -> &mut u32 {
    match status {
        PhotoStatus::Queued => &mut counts.queued,
        PhotoStatus::Processing => &mut counts.processing,
        PhotoStatus::Completed => &mut counts.completed,
        PhotoStatus::Failed => &mut counts.failed,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn photo(id: &str, status: &str, version: u64) -> Value {
        json!({ "photoId": id, "status": status, "version": version })
    }

    /// `counts`: queued and completed.
    fn data(position: &str, status: &str, counts: (u32, u32), photos: &[Value]) -> Value {
        let (queued, completed) = counts;
        let total = queued + completed;
        let progress = (100 * completed).checked_div(total).unwrap_or(0);
        let counts = json!({ "total": total, "queued": queued, "processing": 0, "completed": completed, "failed": 0 });
        json!({ "position": position, "status": status, "progress": progress, "counts": counts, "photos": photos })
    }

    fn full(mut data: Value) -> Value {
        data["full"] = true.into();
        data
    }

    fn event(name: &str, data: &Value) -> Event {
        let id = data["position"].as_str().unwrap_or_default().to_owned();
        Event::new(id, name, data.to_string())
    }

    /// A replica of two photos at 7-2, of which the first is done.
    fn begun() -> Replica {
        let mut replica = Replica::default();
        let photos = [photo("a", "COMPLETED", 2), photo("b", "QUEUED", 1)];
        let violations = replica.take(&event("progress", &full(data("7-2", "PROCESSING", (1, 1), &photos))));
        assert_eq!(violations, [""; 0]);
        replica
    }

    /// Takes a `progress`, which is found wrong for the words given.
    fn wrong(replica: &mut Replica, data: &Value, words: &str) {
        let violations = replica.take(&event("progress", data));
        assert!(violations.len() == 1 && violations[0].contains(words), "{words:?}: {violations:?}");
    }

    #[test]
    fn the_last_progress_stands_where_complete_says() {
        let mut replica = begun();
        let mut last = data("", "COMPLETED", (0, 2), &[photo("b", "COMPLETED", 3)]);
        last.as_object_mut().unwrap().remove("position");
        assert_eq!(replica.take(&event("progress", &last)), [""; 0]);
        assert_eq!(replica.shown().unwrap().percent, 50);
        assert_eq!(replica.take(&event("complete", &data("7-3", "COMPLETED", (0, 2), &[]))), [""; 0]);
        let shown = replica.shown().unwrap();
        assert_eq!((shown.position.to_string().as_str(), shown.percent), ("7-3", 100));

        let again = replica.take(&event("upstream", &json!({ "state": "live" })));
        assert!(again[0].contains("after complete"), "{again:?}");
        replica.connect();
        assert_eq!(replica.take(&event("upstream", &json!({ "state": "live" }))), [""; 0]);
    }

    #[test]
    fn a_change_that_was_missed_shows_in_the_counts() {
        wrong(&mut begun(), &data("7-4", "PROCESSING", (0, 2), &[]), "the photos held are");
    }

    #[test]
    fn positions_and_versions_of_photos_do_not_fall() {
        wrong(&mut begun(), &data("7-1", "QUEUED", (2, 0), &[]), "the position fell");
        wrong(&mut begun(), &data("7-3", "PROCESSING", (1, 1), &[photo("a", "COMPLETED", 1)]), "a fell from version 2");
        let older = [photo("a", "COMPLETED", 1), photo("b", "QUEUED", 1)];
        wrong(&mut begun(), &full(data("7-3", "PROCESSING", (1, 1), &older)), "a fell from version 2");
        wrong(&mut begun(), &data("7-3", "PROCESSING", (1, 1), &[photo("b", "QUEUED", 4)]), "version 4 at 7-3");
    }

    #[test]
    fn progress_falls_only_where_there_is_more_to_do() {
        wrong(&mut begun(), &data("7-3", "PROCESSING", (2, 0), &[photo("a", "QUEUED", 3)]), "the progress fell");
        let more = data("7-3", "PROCESSING", (2, 1), &[photo("c", "QUEUED", 3)]);
        assert_eq!(begun().take(&event("progress", &more)), [""; 0]);
    }

    #[test]
    fn a_new_epoch_begins_anew_and_whole() {
        let photos = [photo("a", "QUEUED", 1)];
        assert_eq!(begun().take(&event("progress", &full(data("8-1", "QUEUED", (1, 0), &photos)))), [""; 0]);
        let part = data("8-1", "QUEUED", (1, 1), &[]);
        let violations = begun().take(&event("progress", &part));
        assert!(violations[0].contains("not the whole batch"), "{violations:?}");
    }

    #[test]
    fn what_cannot_be_read_is_a_violation_and_no_panic() {
        let garbage = Event::new("", "progress", "{");
        assert!(begun().take(&garbage)[0].contains("cannot be read"));
        let mut elsewhere = event("progress", &data("7-3", "PROCESSING", (1, 1), &[]));
        elsewhere.id = "7-2".into();
        assert!(begun().take(&elsewhere)[0].contains("does not name"));
    }
}
