//! Sinks: who else is told of a batch, beside readers in browsers. A webhook, a chat, an application's own.
//!
//! In scope: what a sink is and is told, and how it says that it could not be told. What is due when decides `plan`;
//! `task` runs it; `delivery` is one attempt; `ledger` is what Redis remembers of it.
//! Out of scope: lists of subscribers, a queue of every change.
//!
//! A sink is told the **latest state**, at least once, and never an older one after a newer one.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use wire::{BatchId, BatchState, Position};

use crate::builder::LONGEST;

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
    ///
    /// ```
    /// use batchcast_publisher::{Event, Sink, Undelivered};
    ///
    /// struct Mail;
    ///
    /// impl Sink for Mail {
    ///     fn name(&self) -> &str {
    ///         "mail" // Of another name, it would be told again of what "mail" knows.
    ///     }
    ///     # async fn deliver(&self, _: &Event) -> Result<(), Undelivered> { Ok(()) }
    /// }
    /// ```
    fn name(&self) -> &str;

    /// What it is told; default [`Interest::Ends`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use batchcast_publisher::{Event, Interest, Sink, Undelivered};
    ///
    /// struct Dashboard;
    ///
    /// impl Sink for Dashboard {
    ///     fn interest(&self) -> Interest {
    ///         Interest::Changes { every: Duration::from_secs(10) } // It shows how far batches have come.
    ///     }
    ///     # fn name(&self) -> &str { "dashboard" }
    ///     # async fn deliver(&self, _: &Event) -> Result<(), Undelivered> { Ok(()) }
    /// }
    /// ```
    fn interest(&self) -> Interest {
        Interest::Ends
    }

    /// How fast, and how long it is tried; default [`Pace::default`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use batchcast_publisher::{Event, Pace, Sink, Undelivered};
    ///
    /// struct Chat;
    ///
    /// impl Sink for Chat {
    ///     fn pace(&self) -> Pace {
    ///         let mut pace = Pace::default();
    ///         pace.rest = Duration::from_secs(1); // It takes a message a second.
    ///         pace
    ///     }
    ///     # fn name(&self) -> &str { "chat" }
    ///     # async fn deliver(&self, _: &Event) -> Result<(), Undelivered> { Ok(()) }
    /// }
    /// ```
    fn pace(&self) -> Pace {
        Pace::default()
    }

    /// Tells it. May be called again with the same [`Event::id`]: after an attempt that failed, or whose end was lost
    /// with the process. A delivery that takes longer than [`Pace::within`] is dropped, and tried again.
    ///
    /// ```
    /// use batchcast_publisher::{Event, Sink, Undelivered};
    ///
    /// struct Folder(std::path::PathBuf);
    ///
    /// impl Sink for Folder {
    ///     async fn deliver(&self, event: &Event) -> Result<(), Undelivered> {
    ///         let file = self.0.join(event.batch().as_str()); // A repetition writes the same again.
    ///         let written = tokio::fs::write(file, event.state().to_json()).await;
    ///         written.map_err(|error| Undelivered::again(error.to_string()))
    ///     }
    ///     # fn name(&self) -> &str { "folder" }
    /// }
    /// ```
    ///
    /// # Errors
    /// [`Undelivered`] says whether to try again.
    fn deliver(&self, event: &Event) -> impl Future<Output = Result<(), Undelivered>> + Send;
}

/// Of what a sink is told.
///
/// ```
/// use std::time::Duration;
/// use batchcast_publisher::Interest;
///
/// let mail = Interest::Ends; // One message a batch.
/// let dashboard = Interest::Changes { every: Duration::from_secs(10) };
/// ```
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
///
/// ```
/// use std::time::Duration;
/// use batchcast_publisher::Pace;
///
/// let mut pace = Pace::default();
/// pace.give_up_after = Duration::from_secs(60 * 60); // Later nobody cares any more.
/// assert_eq!(pace.within, Duration::from_secs(15));
/// ```
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
    /// When a state could not be delivered for so long, it is given up: logged and counted. Default 24 h. So far back
    /// [`Publisher::resync`](crate::Publisher::resync) looks after a restart, also where the states themselves had
    /// expired, and so long Redis remembers what was told.
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
///
/// ```
#[doc = include_str!("examples/state.txt")]
/// let counts = event.state().head().counts;
/// let mail = format!("{}: {} of {} photos are completed", event.batch(), counts.completed, counts.total);
/// assert_eq!(mail, "holiday: 1 of 2 photos are completed");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Event {
    id: String,
    state: Arc<BatchState>,
}

impl Event {
    /// The event of this state: for tests of a sink.
    ///
    /// ```
    #[doc = include_str!("examples/state.txt")]
    /// let event = Event::new(state); // What a test of a sink passes to `deliver`.
    /// assert!(event.state().is_terminal());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(state: BatchState) -> Self {
        // No dot: Standard Webhooks puts dots between what it signs.
        let id = format!("{}:{}", state.head().batch_id, state.position());
        Self { id, state: Arc::new(state) }
    }

    /// The same whenever the same state is told again: `BATCH:EPOCH-VERSION`.
    ///
    /// ```
    #[doc = include_str!("examples/state.txt")]
    /// assert_eq!(event.id(), "holiday:7-4"); // By this a receiver knows a repetition.
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where the batch stands.
    ///
    /// ```
    #[doc = include_str!("examples/state.txt")]
    /// let failed: Vec<_> = event.state().photos().filter_map(|photo| photo.error.as_deref()).collect();
    /// assert_eq!(failed, ["not a JPEG"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn state(&self) -> &BatchState {
        &self.state
    }

    /// The state's position. The greater is the newer.
    ///
    /// ```
    #[doc = include_str!("examples/state.txt")]
    /// let shown = Position::new(7, 3)?; // What the receiver was told last.
    /// assert!(event.position() > shown, "else it is left as it is");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn position(&self) -> Position {
        self.state.position()
    }

    /// Which batch.
    ///
    /// ```
    #[doc = include_str!("examples/state.txt")]
    /// let page = format!("https://photos.example.com/batches/{}", event.batch());
    /// assert!(page.ends_with("/holiday"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn batch(&self) -> &BatchId {
        &self.state.head().batch_id
    }
}

/// Why a sink was not told, and whether it shall be tried again. Its words are logged: no secrets in them.
///
/// ```
/// use batchcast_publisher::Undelivered;
///
/// fn judge(status: u16) -> Result<(), Undelivered> {
///     match status {
///         200..=299 => Ok(()),
///         410 => Err(Undelivered::give_up("it wants nothing any more")),
///         _ => Err(Undelivered::again(format!("it answers {status}"))),
///     }
/// }
/// assert_eq!(judge(503).map_err(|error| error.is_retried()), Err(true));
/// ```
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
    ///
    /// ```
    /// use batchcast_publisher::Undelivered;
    ///
    /// let error = Undelivered::again("the mail server is away");
    /// assert!(error.is_retried());
    /// ```
    pub fn again(why: impl Into<String>) -> Self {
        Self { why: why.into(), next: Next::Again { after: None } }
    }

    /// It may work later, and nothing is to be sent to this sink before so long; what is more than an hour counts as
    /// one.
    ///
    /// ```
    /// use std::time::Duration;
    /// use batchcast_publisher::Undelivered;
    ///
    /// let retry_after = Duration::from_secs(30); // As the answer's header says.
    /// let error = Undelivered::again_after("too many requests", retry_after);
    /// assert_eq!(error.retry_after(), Some(retry_after));
    /// ```
    pub fn again_after(why: impl Into<String>, after: Duration) -> Self {
        Self { why: why.into(), next: Next::Again { after: Some(after) } }
    }

    /// It will never work for this state.
    ///
    /// ```
    /// use batchcast_publisher::Undelivered;
    ///
    /// let error = Undelivered::give_up("nobody has this address");
    /// assert!(!error.is_retried());
    /// ```
    pub fn give_up(why: impl Into<String>) -> Self {
        Self { why: why.into(), next: Next::GiveUp }
    }

    /// Whether it shall be tried again.
    ///
    /// ```
    /// use batchcast_publisher::Undelivered;
    ///
    /// // What a test of a sink checks.
    /// let (away, gone) = (Undelivered::again("503"), Undelivered::give_up("410"));
    /// assert_eq!((away.is_retried(), gone.is_retried()), (true, false));
    /// ```
    pub fn is_retried(&self) -> bool {
        self.next != Next::GiveUp
    }

    /// How long nothing shall be sent.
    ///
    /// ```
    /// use std::time::Duration;
    /// use batchcast_publisher::Undelivered;
    ///
    /// let minute = Duration::from_secs(60);
    /// assert_eq!(Undelivered::again_after("429", minute).retry_after(), Some(minute));
    /// assert_eq!(Undelivered::again("503").retry_after(), None); // As the sink's pace says.
    /// ```
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
