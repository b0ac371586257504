//! The application's database: the truth that every viewer must reach.
//!
//! Models head and photos of two batches, versions that rise with each commit, ends, re-openings and removals with a
//! raised epoch. Every position ever committed is remembered with its state, so that what a viewer shows can be compared
//! with what was true there. Leaves out owners and results: nothing here depends on them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use wire::{BatchId, BatchState, BatchStatus, Changes, Counts, Head, Photo, PhotoId, PhotoStatus, Position, Stored};

const EPOCH: u64 = 1_795_389_030_082;
const PHOTOS: u32 = 3;
/// So that no schedule makes states large.
const MOST_PHOTOS: usize = 6;

pub(crate) struct App {
    batches: Vec<Batch>,
    history: HashMap<(BatchId, Position), Arc<BatchState>>,
}

struct Batch {
    id: BatchId,
    epoch: u64,
    version: u64,
    cancelled: bool,
    photos: BTreeMap<PhotoId, Photo>,
    /// Photos ever added: names are not used again.
    named: u32,
}

impl App {
    pub(crate) fn new() -> Self {
        let batches = ["a", "b"].map(|name| Batch::new(BatchId::new(name).unwrap()));
        let mut app = Self { batches: batches.into(), history: HashMap::new() };
        app.ids().iter().for_each(|id| app.commit(id, 1, |batch| (0..PHOTOS).for_each(|_| batch.add())));
        app
    }

    pub(crate) fn ids(&self) -> Vec<BatchId> {
        self.batches.iter().map(|batch| batch.id.clone()).collect()
    }

    /// One commit moves a photo on. The last one ends the batch.
    pub(crate) fn work(&mut self, id: &BatchId, which: usize, fails: bool) {
        if self.is_open(id) {
            self.commit(id, 1 + which as u64 % 2, |batch| batch.advance(which, fails));
        }
    }

    /// One commit ends all photos that are left, or cancels the batch.
    pub(crate) fn end(&mut self, id: &BatchId, fails: bool, cancelled: bool) {
        if self.is_open(id) {
            self.commit(id, 1, |batch| {
                batch.cancelled = cancelled;
                if !cancelled {
                    batch.end_all(fails);
                }
            });
        }
    }

    /// Photos are added to a batch that goes on.
    pub(crate) fn grow(&mut self, id: &BatchId) {
        if self.is_open(id) {
            self.commit(id, 1, Batch::add);
        }
    }

    /// An ended batch is opened again: its first photos are to be done once more. The epoch rises; the version goes on,
    /// or begins anew.
    pub(crate) fn reopen(&mut self, id: &BatchId, anew: bool) {
        if !self.is_open(id) {
            self.commit(id, 1, |batch| {
                batch.raise_epoch(anew);
                batch.cancelled = false;
                batch.reset(2);
            });
        }
    }

    /// A photo is taken away, and the epoch raised for it.
    pub(crate) fn shrink(&mut self, id: &BatchId) {
        if self.is_open(id) && self.batch(id).photos.len() > 1 {
            self.commit(id, 1, |batch| {
                batch.raise_epoch(false);
                batch.photos.pop_first();
            });
        }
    }

    /// Everything is to be done once more, by so many commits at least.
    pub(crate) fn restart(&mut self, id: &BatchId) {
        self.commit(id, 1, |batch| {
            batch.raise_epoch(false);
            batch.cancelled = false;
            batch.add();
            batch.reset(MOST_PHOTOS);
        });
    }

    /// A photo is taken away within its epoch: who resumes does not learn of it.
    pub(crate) fn take_away(&mut self, id: &BatchId) {
        self.commit(id, 1, |batch| drop(batch.photos.pop_first()));
    }

    pub(crate) fn is_open(&self, id: &BatchId) -> bool {
        !self.state(id).is_terminal()
    }

    /// The state as it is now.
    pub(crate) fn state(&self, id: &BatchId) -> Arc<BatchState> {
        self.at(id, self.batch(id).position()).expect("each commit is remembered")
    }

    /// The state as it was at a position; `None`: it never was there.
    pub(crate) fn at(&self, id: &BatchId, position: Position) -> Option<Arc<BatchState>> {
        self.history.get(&(id.clone(), position)).cloned()
    }

    /// What the publisher's source answers: one snapshot.
    pub(crate) fn changes(&self, id: &BatchId, since: Option<Position>) -> Changes {
        let state = self.state(id);
        let after = since.map_or(0, Position::version);
        let photos = state.photos().filter(|photo| photo.version > after).cloned().collect();
        Changes::new(since, state.head().clone(), photos)
    }

    /// What the origin answers.
    pub(crate) fn stored(&self, id: &BatchId) -> Stored {
        Stored::new(self.state(id), None)
    }

    fn batch(&self, id: &BatchId) -> &Batch {
        self.batches.iter().find(|batch| batch.id == *id).expect("a batch of the model")
    }

    fn commit(&mut self, id: &BatchId, by: u64, change: impl FnOnce(&mut Batch)) {
        let batch = self.batches.iter_mut().find(|batch| batch.id == *id).expect("a batch of the model");
        batch.version += by;
        change(batch);
        let state = BatchState::new(batch.head(), batch.photos.values().cloned()).expect("a state within the rules");
        self.history.insert((id.clone(), state.position()), Arc::new(state));
    }
}

impl Batch {
    fn new(id: BatchId) -> Self {
        Self { id, epoch: EPOCH, version: 0, cancelled: false, photos: BTreeMap::new(), named: 0 }
    }

    fn position(&self) -> Position {
        Position::new(self.epoch, self.version).unwrap()
    }

    fn head(&self) -> Head {
        let count = |status| {
            let with = self.photos.values().filter(|photo| photo.status == status).count();
            u32::try_from(with).unwrap()
        };
        let counts = Counts {
            total: u32::try_from(self.photos.len()).unwrap(),
            queued: count(PhotoStatus::Queued),
            processing: count(PhotoStatus::Processing),
            completed: count(PhotoStatus::Completed),
            failed: count(PhotoStatus::Failed),
        };
        let status = match counts {
            _ if self.cancelled => BatchStatus::Cancelled,
            Counts { total, queued, .. } if queued == total => BatchStatus::Queued,
            Counts { queued, processing, .. } if queued + processing > 0 => BatchStatus::Processing,
            Counts { failed: 0, .. } => BatchStatus::Completed,
            Counts { completed: 0, .. } => BatchStatus::Failed,
            _ => BatchStatus::Partial,
        };
        Head::new(self.id.clone(), self.position(), status, counts, String::new())
    }

    fn add(&mut self) {
        if self.photos.len() < MOST_PHOTOS {
            let photo_id = PhotoId::new(&format!("p{}", self.named)).unwrap();
            self.named += 1;
            let (status, version) = (PhotoStatus::Queued, self.version);
            self.photos.insert(photo_id.clone(), Photo::new(photo_id, status, version));
        }
    }

    fn set(&mut self, id: &PhotoId, status: PhotoStatus) {
        let photo = self.photos.get_mut(id).expect("a photo of the batch");
        (photo.status, photo.version) = (status, self.version);
    }

    /// The photos that are not done.
    fn left(&self) -> Vec<(PhotoId, PhotoStatus)> {
        let open = |photo: &&Photo| matches!(photo.status, PhotoStatus::Queued | PhotoStatus::Processing);
        self.photos.values().filter(open).map(|photo| (photo.photo_id.clone(), photo.status)).collect()
    }

    fn advance(&mut self, which: usize, fails: bool) {
        let left = self.left();
        let (id, status) = &left[which % left.len()];
        let next = match status {
            PhotoStatus::Queued => PhotoStatus::Processing,
            _ if fails => PhotoStatus::Failed,
            _ => PhotoStatus::Completed,
        };
        self.set(id, next);
    }

    fn end_all(&mut self, fails: bool) {
        let status = if fails { PhotoStatus::Failed } else { PhotoStatus::Completed };
        self.left().iter().for_each(|(id, _)| self.set(id, status));
    }

    fn reset(&mut self, first: usize) {
        let ids: Vec<PhotoId> = self.photos.keys().take(first).cloned().collect();
        ids.iter().for_each(|id| self.set(id, PhotoStatus::Queued));
    }

    fn raise_epoch(&mut self, anew: bool) {
        self.epoch += 1;
        if anew {
            self.version = 1;
            self.photos.values_mut().for_each(|photo| photo.version = 1);
        }
    }
}
