//! A worker that writes what workers of other versions write.

use anyhow::{Result, ensure};
use stack::Stack;
use wire::script::{self, Settings, UPDATE_LUA};
use wire::{BatchId, BatchStatus, Changes, Counts, Head, Photo, PhotoId, PhotoStatus, Position};

const EPOCH: u64 = 1_795_389_030_082;

/// How a worker names its form and what it adds, in heads and messages alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Present,
    /// A release that only adds.
    PresentWithMore,
    Older,
    WithoutVersion,
    Newer,
}

impl Form {
    /// In the order of their turns: the last one ends the batch.
    pub(super) const ALL: [Self; 5] =
        [Self::PresentWithMore, Self::Older, Self::Present, Self::WithoutVersion, Self::Newer];

    /// Whether a reader of version 1 has to take care.
    pub(super) fn is_foreign(self) -> bool {
        !matches!(self, Self::Present | Self::PresentWithMore)
    }

    /// Rewrites a head or a message of the present form.
    fn of(self, json: &str) -> String {
        let version = match self {
            Self::Present => r#""v":1"#,
            Self::PresentWithMore => r#""v":1,"mood":{"new":[true]}"#,
            Self::Older => r#""v":0"#,
            Self::WithoutVersion => r#""mood":"old""#,
            Self::Newer => r#""v":2,"mood":{"new":[true]}"#,
        };
        json.replacen(r#""v":1"#, version, 1)
    }
}

/// One batch, of which it completes photo after photo. It writes by the script, as workers in other languages do.
pub(super) struct Worker {
    id: BatchId,
    total: usize,
    completed: usize,
}

impl Worker {
    pub(super) fn new(id: &str, total: usize) -> Result<Self> {
        Ok(Self { id: id.parse()?, total, completed: 0 })
    }

    pub(super) fn position(&self) -> Result<Position> {
        Ok(Position::new(EPOCH, self.completed as u64 + 1)?)
    }

    /// Publishes the batch in the present form.
    pub(super) async fn begin(&self, stack: &Stack) -> Result<()> {
        let photos = (0..self.total).map(|n| photo(n, PhotoStatus::Queued, 1)).collect::<Result<_>>()?;
        self.publish(stack, Form::Present, None, photos).await
    }

    /// Completes the next photo; with the last one the batch ends.
    pub(super) async fn complete_one(&mut self, stack: &Stack, form: Form) -> Result<Position> {
        let since = self.position()?;
        self.completed += 1;
        let position = self.position()?;
        let photo = photo(self.completed - 1, PhotoStatus::Completed, position.version())?;
        self.publish(stack, form, Some(since), vec![photo]).await?;
        Ok(position)
    }

    async fn publish(&self, stack: &Stack, form: Form, since: Option<Position>, photos: Vec<Photo>) -> Result<()> {
        let changes = Changes::new(since, self.head()?, photos);
        let mut call = script::update(Settings::new("", 3_600), &changes, 0)?;
        // The message, and the head.
        for json in &mut call.args[7..9] {
            *json = form.of(json);
        }
        let mut eval = redis::cmd("EVAL");
        eval.arg(UPDATE_LUA).arg(1).arg(call.key).arg(call.args);
        let (reply, _): (String, u8) = eval.query_async(&mut stack.redis_connection().await?).await?;
        ensure!(reply == "applied", "{form:?} at {}: {reply}", changes.head.position);
        Ok(())
    }

    fn head(&self) -> Result<Head> {
        let (total, completed) = (u32::try_from(self.total)?, u32::try_from(self.completed)?);
        let status = match completed {
            0 => BatchStatus::Queued,
            _ if completed == total => BatchStatus::Completed,
            _ => BatchStatus::Processing,
        };
        let counts = Counts { total, queued: total - completed, completed, ..Counts::default() };
        let (batch_id, position, updated_at) = (self.id.clone(), self.position()?, String::new());
        Ok(Head::new(batch_id, position, status, counts, updated_at))
    }
}

fn photo(n: usize, status: PhotoStatus, version: u64) -> Result<Photo> {
    Ok(Photo::new(PhotoId::new(&format!("photo-{n:03}"))?, status, version))
}
