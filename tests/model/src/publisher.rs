//! The publisher: the real [`Schedule`], driven as `publisher/src/task.rs` drives it, with models of `job.rs` (read the
//! source, call the script) and `link.rs` (one connection, whose loss is told at once or noticed late).
//!
//! Models crashes with `resync` at the next start, a source that fails or is slow, calls and replies that are lost with
//! their connection, and a call that Redis executes long after the publisher gave it up. Leaves out the inbox (a notify
//! reaches the schedule at once), a Redis that answers with errors, and closing.

use std::{cell::RefCell, collections::BTreeMap, time::Duration};

use hub::Millis;
use publisher::schedule::{Job, Mark, Outcome, Schedule};
use wire::{
    BatchId, Changes,
    script::{self, Reply, Settings},
};

use crate::world::World;

const COALESCE: Duration = Duration::from_millis(50);
/// `DEFAULT_RESPONSE_TIMEOUT`.
const ANSWER_WITHIN: Millis = 5_000;
/// How long a dead connection on which nothing is sent goes unnoticed: `KEEPALIVE` and its probes in `link.rs`. Were it
/// as long as `schedule::RECENT`, what was sent last would not be verified.
const SILENCE_NOTICED: Millis = 30_000;

const SETTINGS: Settings<'_> = Settings::new("", 86_400);

thread_local! {
    /// Where the schedule takes the random shares of its pauses from; set by each world.
    static SHARES: RefCell<fastrand::Rng> = const { RefCell::new(fastrand::Rng::with_seed(0)) };
}

pub(crate) struct Publisher {
    /// Rises with each crash: what was under way before is nobody's any more.
    life: u64,
    running: bool,
    started_at: Millis,
    schedule: Schedule,
    wakes_at: Option<Millis>,
    connection: Option<Connection>,
    /// Jobs under way, by number.
    jobs: BTreeMap<u64, JobUnderWay>,
    begun: u64,
}

struct JobUnderWay {
    batch: BatchId,
    /// It has read the source and waits for Redis.
    called: bool,
}

#[derive(Clone, Copy)]
struct Connection {
    number: u64,
    /// The other side is gone, and nobody has noticed.
    dead: bool,
}

impl Publisher {
    pub(crate) fn new(now: Millis, seed: u64) -> Self {
        SHARES.set(fastrand::Rng::with_seed(seed));
        Self {
            life: 0,
            running: true,
            started_at: now,
            schedule: new_schedule(),
            wakes_at: None,
            connection: None,
            jobs: BTreeMap::new(),
            begun: 0,
        }
    }

    fn clock(&self, now: Millis) -> Duration {
        Duration::from_millis(now - self.started_at)
    }

    /// Whether everything was delivered.
    pub(crate) fn is_idle(&self) -> bool {
        self.running && self.schedule.backlog() == 0
    }
}

fn new_schedule() -> Schedule {
    Schedule::new(COALESCE, || SHARES.with_borrow_mut(fastrand::Rng::f64))
}

impl World {
    /// `Publisher::notify` and `notify_final`; nobody hears it while the publisher is down.
    pub(crate) fn notify(&mut self, batch: &BatchId, urgent: bool) {
        self.mark(batch, Mark { cause: self.now.into(), urgent, verify: false });
    }

    fn mark(&mut self, batch: &BatchId, mark: Mark) {
        if self.publisher.running {
            let now = self.publisher.clock(self.now);
            self.publisher.schedule.mark(batch, mark, now);
            self.publisher_steps();
        }
    }

    /// `Publisher::invalidate`, and then `notify`. One that is under way when the process is killed does not arrive: what
    /// it would delete late was published by the next process, and nobody would know.
    pub(crate) fn publisher_invalidates(&mut self, batch: &BatchId) {
        if !self.publisher.running {
            return;
        }
        let (batch, life, back) = (batch.clone(), self.publisher.life, self.delay());
        let there = self.delay();
        self.later(there, move |world| {
            if world.publisher.life == life && world.publisher_reaches_redis() {
                world.invalidate(&batch);
            }
            world.later(back, move |world| {
                if world.publisher.life == life {
                    world.mark(&batch, Mark { cause: world.now.into(), urgent: false, verify: true });
                    world.notify(&batch, false);
                }
            });
        });
    }

    /// What `Publisher::invalidate` and `batchcast invalidate` do to Redis.
    pub(crate) fn invalidate(&mut self, batch: &BatchId) {
        self.slot(batch).invalidated = true;
        self.call_script(&script::invalidate(SETTINGS, batch));
    }

    /// The process is killed. It is started again by [`World::start_publisher`].
    pub(crate) fn crash_publisher(&mut self) {
        self.publisher.life += 1;
        self.publisher.running = false;
        self.publisher.connection = None;
        self.publisher.jobs.clear();
    }

    /// A new process, which marks all unsettled batches: here all, since none has ended a day ago.
    pub(crate) fn start_publisher(&mut self) {
        if self.publisher.running {
            return;
        }
        let now = self.now;
        let publisher = &mut self.publisher;
        (publisher.schedule, publisher.started_at, publisher.wakes_at) = (new_schedule(), now, None);
        publisher.running = true;
        self.app.ids().iter().for_each(|batch| self.notify(batch, false));
    }

    /// The connection breaks. `told`: the publisher learns of it at once; else by an answer that does not come, or by
    /// the kernel.
    pub(crate) fn break_publishers_connection(&mut self, told: bool) {
        let Some(connection) = &mut self.publisher.connection else { return };
        connection.dead = true;
        let number = connection.number;
        if told {
            return self.connection_lost(number);
        }
        self.later(SILENCE_NOTICED, move |world| world.connection_lost(number));
    }

    /// As `Task::lost`; what was under way on the connection is answered by nobody.
    fn connection_lost(&mut self, number: u64) {
        if self.publisher.connection.is_none_or(|connection| connection.number != number) {
            return;
        }
        self.publisher.connection = None;
        let jobs_first = self.rng.bool();
        if !jobs_first {
            self.verify_recent();
        }
        let jobs: Vec<u64> =
            self.publisher.jobs.iter().filter(|(_, job)| job.called).map(|(number, _)| *number).collect();
        jobs.into_iter().for_each(|job| self.job_ends(job, Outcome::Unreachable));
        if jobs_first {
            self.verify_recent();
        }
        self.publisher_steps();
    }

    fn verify_recent(&mut self) {
        let (at, now) = (self.now, self.publisher.clock(self.now));
        self.publisher.schedule.connection_lost(at, now);
    }

    /// As `Task::step`.
    fn publisher_steps(&mut self) {
        let now = self.publisher.clock(self.now);
        for job in self.publisher.schedule.start_due(now) {
            self.job_begins(job);
        }
        let Some(wake) = self.publisher.schedule.next_wake() else { return };
        let at = self.publisher.started_at + u64::try_from(wake.as_micros().div_ceil(1_000)).unwrap();
        let at = at.max(self.now + 1);
        if self.publisher.wakes_at.is_none_or(|earlier| earlier > at) {
            self.publisher.wakes_at = Some(at);
            let life = self.publisher.life;
            self.later(at - self.now, move |world| {
                if world.publisher.life == life && world.publisher.wakes_at == Some(at) {
                    world.publisher.wakes_at = None;
                    world.publisher_steps();
                }
            });
        }
    }

    fn job_begins(&mut self, job: Job) {
        self.publisher.begun += 1;
        let (number, life) = (self.publisher.begun, self.publisher.life);
        self.publisher.jobs.insert(number, JobUnderWay { batch: job.batch.clone(), called: false });
        let (there, back, storing) = (self.delay(), self.delay(), self.storing.clone());
        self.later(there, move |world| {
            // The snapshot is taken now, and may be old when it arrives.
            let read = world.source_answers().then(|| read(world, &job));
            world.later(back, move |world| {
                if world.publisher.life == life && world.publisher.jobs.contains_key(&number) {
                    world.source_read(number, &job, read);
                }
                drop(storing);
            });
        });
    }

    /// As `job::attempt`, from the answer of the source on.
    fn source_read(&mut self, number: u64, job: &Job, read: Option<Changes>) {
        let Some(changes) = read else { return self.job_ends_now(number, Outcome::Failed) };
        if job.since == Some(changes.head.position) && !job.mark.verify {
            return self.job_ends_now(number, Outcome::Unchanged);
        }
        let Some(connection) = self.connect() else {
            let refused = self.delay();
            return self.later(refused, move |world| world.job_ends_now(number, Outcome::Unreachable));
        };
        self.publisher.jobs.entry(number).and_modify(|job| job.called = true);
        self.later(ANSWER_WITHIN, move |world| {
            if world.publisher.jobs.contains_key(&number) {
                world.connection_lost(connection.number);
            }
        });
        let call = script::update(SETTINGS, &changes, job.mark.cause).expect("the application keeps the rules");
        let delivered =
            Outcome::Delivered { position: changes.head.position, ended: changes.head.status.is_terminal() };
        let (there, storing) = (self.delay(), self.storing.clone());
        let reaches = !connection.dead;
        self.later(there, move |world| {
            drop(storing);
            if reaches && world.publisher_reaches_redis() {
                let reply = world.call_script(&call);
                world.reply_leaves(number, connection, conclude(reply, delivered));
            }
        });
    }

    fn connect(&mut self) -> Option<Connection> {
        if self.publisher.connection.is_none() && self.publisher_reaches_redis() {
            self.publisher.connection = Some(Connection { number: self.publisher.begun, dead: false });
        }
        self.publisher.connection
    }

    fn reply_leaves(&mut self, number: u64, connection: Connection, outcome: Outcome) {
        if self.lose_reply() {
            if self.rng.bool() {
                self.connection_lost(connection.number);
            }
            return;
        }
        let back = self.delay();
        self.later(back, move |world| {
            let present = world.publisher.connection;
            if present.is_some_and(|present| present.number == connection.number && !present.dead) {
                world.job_ends_now(number, outcome);
            }
        });
    }

    fn job_ends_now(&mut self, number: u64, outcome: Outcome) {
        self.job_ends(number, outcome);
        self.publisher_steps();
    }

    /// As `Task::ended`.
    fn job_ends(&mut self, number: u64, outcome: Outcome) {
        if let Some(JobUnderWay { batch, .. }) = self.publisher.jobs.remove(&number) {
            self.trace(|| format!("publisher: job {number} of {batch} ends: {outcome:?}"));
            let now = self.publisher.clock(self.now);
            self.publisher.schedule.finish(&batch, outcome, now);
            if self.publisher.schedule.take_writes_lost() {
                self.resync_after_loss();
            }
        }
    }

    /// As `Task::resync`: the source says what is unsettled, or fails.
    fn resync_after_loss(&mut self) {
        let (life, there) = (self.publisher.life, self.delay());
        self.later(there, move |world| {
            if world.publisher.life == life && world.source_answers() {
                let mark = Mark { cause: world.now.into(), urgent: false, verify: true };
                world.app.ids().iter().for_each(|batch| world.mark(batch, mark));
            }
        });
    }
}

/// As `job::read`: photos counted from another epoch are read again as a whole.
fn read(world: &World, job: &Job) -> Changes {
    let changes = world.app.changes(&job.batch, job.since);
    let mixed = changes.since.is_some_and(|since| since.epoch() != changes.head.position.epoch());
    if mixed { world.app.changes(&job.batch, None) } else { changes }
}

/// As `job::conclude`, of an answer.
fn conclude(reply: Reply, delivered: Outcome) -> Outcome {
    match reply {
        Reply::NeedsFull => Outcome::NeedsFull,
        Reply::Finished => Outcome::Forget,
        Reply::Stale | Reply::Applied | Reply::Filled | Reply::Present | Reply::Invalidated => delivered,
    }
}
