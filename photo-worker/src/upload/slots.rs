//! How many uploads are taken at the same time, of one user and of all. Each writes up to 512 MiB to disk before anything
//! is judged: without a bound, one good token fills it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::problem::AppError;

/// Uploads of all users: together they hold 32 GiB on disk at the very most.
const MAX_UPLOADS: usize = 64;

/// Uploads of one user: the live page sends three, so two of its tabs and some room. It takes eight users to keep all
/// others out.
pub(crate) const MAX_UPLOADS_PER_USER: usize = 8;

/// How long an upload waits for others to end: longer than most take, shorter than a page's patience with one that
/// stands still.
const WAIT: Duration = Duration::from_secs(10);

/// The places for uploads.
#[derive(Debug)]
pub(crate) struct Slots {
    free: Semaphore,
    /// How many each user has; who has none is not in it.
    taken: Mutex<HashMap<String, usize>>,
}

/// The place of one upload, free again on drop.
#[derive(Debug)]
pub(crate) struct Slot<'a> {
    _of_user: Option<Counted<'a>>,
    _of_all: SemaphorePermit<'a>,
}

#[derive(Debug)]
struct Counted<'a> {
    slots: &'a Slots,
    user: String,
}

impl Default for Slots {
    fn default() -> Self {
        Self { free: Semaphore::new(MAX_UPLOADS), taken: Mutex::default() }
    }
}

impl Slots {
    /// A place for one more upload of this user. Without a name (the token of an application, for all batches; or a
    /// developer) only all uploads are counted.
    ///
    /// # Errors
    /// 429: the user has as many as one may have. 503: none gets free in time.
    pub(crate) async fn take(&self, user: Option<&str>) -> Result<Slot<'_>, AppError> {
        // Before the wait: who waits is counted too, so nobody stands in the line more often than that either.
        let of_user = user.map(|user| self.count(user)).transpose()?;
        let free = tokio::time::timeout(WAIT, self.free.acquire()).await;
        // It is never closed.
        let of_all = free.ok().and_then(Result::ok).ok_or(AppError::Busy)?;
        Ok(Slot { _of_user: of_user, _of_all: of_all })
    }

    fn count(&self, user: &str) -> Result<Counted<'_>, AppError> {
        let mut taken = self.taken();
        let count = taken.entry(user.to_owned()).or_default();
        if *count == MAX_UPLOADS_PER_USER {
            return Err(AppError::TooManyUploads);
        }
        *count += 1;
        Ok(Counted { slots: self, user: user.to_owned() })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let mut taken = self.slots.taken();
        if let Some(count) = taken.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn take<'a>(slots: &'a Slots, user: Option<&str>, count: usize) -> Vec<Slot<'a>> {
        let mut taken = Vec::new();
        for _ in 0..count {
            taken.push(slots.take(user).await.unwrap());
        }
        taken
    }

    #[tokio::test]
    async fn one_user_has_few_at_the_same_time_whatever_others_have() {
        let slots = Slots::default();
        let mut annas = take(&slots, Some("anna"), MAX_UPLOADS_PER_USER).await;
        assert!(matches!(slots.take(Some("anna")).await, Err(AppError::TooManyUploads)));
        drop(take(&slots, Some("bert"), MAX_UPLOADS_PER_USER).await);
        drop(take(&slots, None, MAX_UPLOADS_PER_USER + 1).await);
        annas.pop();
        annas.push(slots.take(Some("anna")).await.unwrap());
        drop(annas);
        assert!(slots.taken().is_empty(), "who has none is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_none_free_waits_and_not_for_ever() {
        let slots = Slots::default();
        let mut all = take(&slots, None, MAX_UPLOADS).await;
        assert!(matches!(slots.take(Some("anna")).await, Err(AppError::Busy)));
        assert!(slots.taken().is_empty());
        let freed = async {
            tokio::time::sleep(WAIT / 2).await;
            all.pop();
        };
        let (waited, ()) = tokio::join!(slots.take(Some("anna")), freed);
        assert!(waited.is_ok());
    }
}
