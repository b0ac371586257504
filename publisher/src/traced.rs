//! Updates that belong to a trace.

use wire::{BatchId, Cause, Changes, TraceParent};

use crate::{PublishError, Published, Publisher, publisher::now_ms};

/// A [`Publisher`] whose updates belong to a trace; made by [`Publisher::traced`].
///
/// ```no_run
#[doc = include_str!("examples/publisher.txt")]
/// let traced = publisher.traced(trace); // Of the request that is answered here.
/// traced.notify(&batch);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use = "it tells nothing by itself"]
pub struct Traced<'a> {
    publisher: &'a Publisher,
    trace: Option<TraceParent>,
}

impl<'a> Traced<'a> {
    pub(crate) fn new(publisher: &'a Publisher, trace: Option<TraceParent>) -> Self {
        Self { publisher, trace }
    }

    /// [`Publisher::notify`].
    ///
    /// ```no_run
    #[doc = include_str!("examples/publisher.txt")]
    /// publisher.traced(trace).notify(&batch); // After the commit.
    /// # Ok(())
    /// # }
    /// ```
    pub fn notify(self, batch: &BatchId) {
        self.publisher.told(batch, self.cause(), false);
    }

    /// [`Publisher::notify_final`].
    ///
    /// ```no_run
    #[doc = include_str!("examples/publisher.txt")]
    /// publisher.traced(trace).notify_final(&batch); // After the commit that ended it.
    /// # Ok(())
    /// # }
    /// ```
    pub fn notify_final(self, batch: &BatchId) {
        self.publisher.told(batch, self.cause(), true);
    }

    /// [`Publisher::publish`].
    ///
    /// ```no_run
    #[doc = include_str!("examples/publisher.txt")]
    /// publisher.traced(trace).publish(Changes::full(&state, None)).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The same.
    pub async fn publish(self, changes: Changes) -> Result<Published, PublishError> {
        self.publisher.publish_for(&changes, self.cause()).await
    }

    /// [`Publisher::publish_latest`].
    ///
    /// ```no_run
    #[doc = include_str!("examples/publisher.txt")]
    /// publisher.traced(trace).publish_latest(&batch).await?; // Before the answer that opens it again.
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The same.
    pub async fn publish_latest(self, batch: &BatchId) -> Result<Published, PublishError> {
        self.publisher.publish_latest_for(batch, self.cause()).await
    }

    fn cause(self) -> Cause {
        Cause::new(now_ms(), self.trace)
    }
}
