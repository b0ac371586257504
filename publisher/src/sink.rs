//! Sinks: who else is told of a batch, beside readers in browsers. A webhook, a chat, an application's own.
//!
//! In scope: what a sink is and is told, and how it says that it could not be told. What is due when decides `plan`;
//! `task` runs it; `delivery` is one attempt; `ledger` is what Redis remembers of it.
//! Out of scope: lists of subscribers, a queue of every change.
//!
//! A sink is told the **latest state**, at least once, and never an older one after a newer one.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use wire::{BatchId, BatchState, Position};

mod counters;
mod delivery;
mod ledger;
mod plan;
#[cfg(feature = "slack")]
mod slack;
mod task;
#[cfg(feature = "webhook")]
mod webhook;

#[cfg(feature = "slack")]
pub use slack::{Slack, SlackBuilder};
#[cfg(feature = "webhook")]
pub use webhook::{SecretError, Webhook, WebhookBuilder, WebhookSecrets};

pub use counters::SinkMetrics;
pub(crate) use task::{Sinks, name_problem};

/// Who is told of batches. Implementations write a plain `async fn deliver`; its future must be `Send`.
///
/// ```
/// use batchcast_publisher::{Event, Sink, Undelivered};
///
/// struct Mail; // The application's own.
///
/// impl Sink for Mail {
///     fn name(&self) -> &str {
///         "mail"
///     }
///     async fn deliver(&self, event: &Event) -> Result<(), Undelivered> {
///         let counts = event.state().head().counts;
///         println!("{}: {} of {} photos completed", event.id(), counts.completed, counts.total);
///         Ok(())
///     }
/// }
/// ```
pub trait Sink: Send + Sync + 'static {
    /// By what name Redis remembers what it was told, and metrics count it: 1 to 32 characters of `a-z 0-9 -`. All
    /// workers of an application give the same sink the same name, and no two sinks one name.
    fn name(&self) -> &str;

    /// What it is told; default [`Interest::Ends`].
    fn interest(&self) -> Interest {
        Interest::Ends
    }

    /// How fast, and how long it is tried; default [`Pace::default`].
    fn pace(&self) -> Pace {
        Pace::default()
    }

    /// Tells it. May be called again with the same [`Event::id`]: after an attempt that failed, or whose end was lost
    /// with the process. A delivery that takes longer than [`Pace::within`] is dropped, and tried again.
    ///
    /// # Errors
    /// [`Undelivered`] says whether to try again.
    fn deliver(&self, event: &Event) -> impl Future<Output = Result<(), Undelivered>> + Send;
}

/// Of what a sink is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Interest {
    /// Of each end of a batch. One that was opened again and ends again ends twice.
    Ends,
    /// Of ends at once, and before of what changed, merged, no more often than once in this time.
    Changes {
        /// The pause between two deliveries of one batch.
        every: Duration,
    },
}

/// How fast a sink is told, and how long it is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pace {
    /// How long one delivery may take; default 15 s, at least 10 ms.
    pub within: Duration,
    /// The pause from one delivery to the next, of whatever batch; default none: up to 8 at the same time.
    pub rest: Duration,
    /// After the first failure up to this long, then twice as long each time; default 5 s.
    pub first_pause: Duration,
    /// But no longer than this; default 10 min.
    pub longest_pause: Duration,
    /// When a state could not be delivered for so long, it is given up: logged and counted. Default 24 h.
    pub give_up_after: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            within: Duration::from_secs(15),
            rest: Duration::ZERO,
            first_pause: Duration::from_secs(5),
            longest_pause: Duration::from_secs(10 * 60),
            give_up_after: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// What a sink is told: where a batch stands. Redacted, and without an owner.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Event {
    id: String,
    state: Arc<BatchState>,
}

impl Event {
    /// The event of this state: for tests of a sink.
    pub fn new(state: BatchState) -> Self {
        // No dot: Standard Webhooks puts dots between what it signs.
        let id = format!("{}:{}", state.head().batch_id, state.position());
        Self { id, state: Arc::new(state) }
    }

    /// The same whenever the same state is told again: `BATCH:EPOCH-VERSION`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where the batch stands.
    pub fn state(&self) -> &BatchState {
        &self.state
    }

    /// The state's position. The greater is the newer.
    pub fn position(&self) -> Position {
        self.state.position()
    }

    /// Which batch.
    pub fn batch(&self) -> &BatchId {
        &self.state.head().batch_id
    }
}

/// Why a sink was not told, and whether it shall be tried again. Its words are logged: no secrets in them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
#[non_exhaustive]
pub struct Undelivered {
    why: String,
    next: Next,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Again { after: Option<Duration> },
    GiveUp,
}

impl Undelivered {
    /// It may work later.
    pub fn again(why: impl Into<String>) -> Self {
        Self { why: why.into(), next: Next::Again { after: None } }
    }

    /// It may work later, and nothing is to be sent to this sink before so long; what is more than an hour counts as
    /// one.
    pub fn again_after(why: impl Into<String>, after: Duration) -> Self {
        Self { why: why.into(), next: Next::Again { after: Some(after) } }
    }

    /// It will never work for this state.
    pub fn give_up(why: impl Into<String>) -> Self {
        Self { why: why.into(), next: Next::GiveUp }
    }

    /// Whether it shall be tried again.
    pub fn is_retried(&self) -> bool {
        self.next != Next::GiveUp
    }

    /// How long nothing shall be sent.
    pub fn retry_after(&self) -> Option<Duration> {
        match self.next {
            Next::Again { after } => after,
            Next::GiveUp => None,
        }
    }
}

type Delivery<'a> = Pin<Box<dyn Future<Output = Result<(), Undelivered>> + Send + 'a>>;

/// [`Sink`] behind a pointer, so that [`crate::Publisher`] is one type for all of them.
pub(crate) trait DynSink: Send + Sync {
    fn name(&self) -> &str;
    fn interest(&self) -> Interest;
    fn pace(&self) -> Pace;
    fn deliver<'a>(&'a self, event: &'a Event) -> Delivery<'a>;
}

/// What anyone means who asks for longer: for ever. It can be added to a time without an overflow.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl<S: Sink> DynSink for S {
    fn name(&self) -> &str {
        Sink::name(self)
    }

    fn interest(&self) -> Interest {
        match Sink::interest(self) {
            Interest::Changes { every } => Interest::Changes { every: every.min(LONGEST) },
            Interest::Ends => Interest::Ends,
        }
    }

    fn pace(&self) -> Pace {
        let pace = Sink::pace(self);
        Pace {
            within: pace.within.clamp(Duration::from_millis(10), LONGEST),
            first_pause: pace.first_pause.min(LONGEST),
            longest_pause: pace.longest_pause.min(LONGEST),
            rest: pace.rest.min(LONGEST),
            ..pace
        }
    }

    fn deliver<'a>(&'a self, event: &'a Event) -> Delivery<'a> {
        Box::pin(Sink::deliver(self, event))
    }
}

impl fmt::Debug for dyn DynSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").field("name", &self.name()).finish_non_exhaustive()
    }
}
