//! The viewers of a room: who has been shown what, whose stream is full, who is due a keep-alive.
//!
//! A viewer is a position and an open stream. Nothing is queued for one whose stream is full: it is shown the merged
//! changes since its own position once it takes more, however many updates that covers.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    rc::Rc,
};

use wire::{BatchState, Position, event};

use crate::{
    Counters, Millis,
    io::{Output, ViewerId, Visitor},
};

/// How often viewers whose stream is full are looked at again.
const BEHIND_SWEEP: Millis = 250;
/// How long a viewer that can't take the end of the batch is waited for; it resumes by `Last-Event-ID`.
const END_PATIENCE: Millis = 30_000;
/// `retry:` is this and a random part of five times as many milliseconds as there are viewers: a thousand do not return
/// in one second.
const RETRY_BASE: Millis = 2_000;
const RETRY_PER_VIEWER: Millis = 5;
const RETRY_SPREAD: Millis = 30_000;
/// When a tab looks in again that was sent away because nothing had changed for long, in milliseconds.
pub const FORGOTTEN_RETRY: Millis = 60_000;

#[derive(Debug, Default)]
pub(crate) struct Audience {
    viewers: HashMap<ViewerId, Viewer>,
    /// How many of them are of each user.
    users: HashMap<Rc<str>, usize>,
    /// When viewers whose stream is full are looked at again.
    behind_at: Option<Millis>,
    /// No viewer has been silent for a keep-alive before this.
    keep_alive_at: Option<Millis>,
    /// No token of a viewer expires before this.
    expire_at: Option<Millis>,
    /// What was last told to everyone who could take it.
    told: Conditions,
    /// Someone does not know it yet, and is looked at again at this time.
    untold_at: Option<Millis>,
    ended_at: Option<Millis>,
    first: Option<FirstEvent>,
}

/// What viewers are told beside the batch's states.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Conditions {
    /// What is shown may be behind.
    pub(crate) stale: bool,
    /// Nothing has changed for a while.
    pub(crate) stalled: bool,
}

#[derive(Debug)]
struct Viewer {
    visitor: Visitor,
    /// What it was shown; `None`: nothing yet.
    shown: Option<Position>,
    /// An update passed by while its stream was full.
    missed: bool,
    told: Conditions,
    /// How many viewers there were when it was told when to come back.
    retry_for: usize,
    written_at: Millis,
}

/// The event that takes a newcomer to the present, encoded once for all who come meanwhile.
#[derive(Debug)]
struct FirstEvent {
    position: Position,
    bytes: Rc<str>,
}

/// The moment of a turn, and whether a viewer's stream would take more bytes in it.
#[derive(Clone, Copy)]
pub(crate) struct Moment<'a> {
    pub(crate) now: Millis,
    pub(crate) can_take: &'a dyn Fn(ViewerId) -> bool,
}

/// What a sweep goes by.
pub(crate) struct Sweep<'a> {
    pub(crate) state: &'a BatchState,
    /// The time of the earliest commit that no sweep has covered.
    pub(crate) at: Option<u64>,
    /// Only this viewer, or everyone.
    pub(crate) only: Option<ViewerId>,
    pub(crate) moment: Moment<'a>,
}

type Groups = BTreeMap<Option<Position>, Vec<ViewerId>>;

impl Audience {
    pub(crate) fn len(&self) -> usize {
        self.viewers.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.viewers.is_empty()
    }

    /// How many viewers are of this user.
    pub(crate) fn count_of(&self, user: &str) -> usize {
        self.users.get(user).copied().unwrap_or_default()
    }

    /// What everyone was last told.
    pub(crate) fn told(&self) -> Conditions {
        self.told
    }

    /// A viewer came, having seen `shown`. The first thing it is told is when to come back.
    pub(crate) fn join(
        &mut self,
        id: ViewerId,
        visitor: Visitor,
        shown: Option<Position>,
        keep_alive: Millis,
        now: Millis,
        rng: &mut fastrand::Rng,
    ) -> Output {
        let (told, retry_for) = (Conditions::default(), self.len() + 1);
        self.expire_at = [self.expire_at, visitor.until].into_iter().flatten().min();
        if let Some(user) = &visitor.user {
            *self.users.entry(user.clone()).or_default() += 1;
        }
        self.viewers.insert(id, Viewer { visitor, shown, missed: false, told, retry_for, written_at: now });
        self.keep_alive_at.get_or_insert(now + keep_alive);
        if self.told != told {
            self.untold_at = Some(now);
        }
        Output::Write { to: vec![id], bytes: self.retry(rng).into() }
    }

    /// Whether the viewers have doubled since this one was last told when to come back.
    fn is_crowded(&self, id: ViewerId) -> bool {
        self.viewers.get(&id).is_some_and(|viewer| self.len() >= 2 * viewer.retry_for)
    }

    fn tell_retry(&mut self, mut viewers: Vec<ViewerId>, rng: &mut fastrand::Rng, out: &mut Vec<Output>) {
        viewers.sort_unstable();
        let all = self.len();
        for id in viewers {
            write(vec![id], &self.retry(rng), out);
            self.viewers.entry(id).and_modify(|viewer| viewer.retry_for = all);
        }
    }

    fn retry(&self, rng: &mut fastrand::Rng) -> String {
        event::retry(RETRY_BASE + rng.u64(0..=self.spread()))
    }

    /// Over how long the returns of all viewers are spread.
    fn spread(&self) -> Millis {
        (self.len() as u64 * RETRY_PER_VIEWER).min(RETRY_SPREAD)
    }

    pub(crate) fn leave(&mut self, id: ViewerId) {
        let Some(user) = self.viewers.remove(&id).and_then(|viewer| viewer.visitor.user) else { return };
        if let Some(count) = self.users.get_mut(&user) {
            *count -= 1;
            if *count == 0 {
                self.users.remove(&user);
            }
        }
    }

    /// Shows viewers what they are missing: one event for all who stand at the same position. At the batch's end they
    /// are let go.
    pub(crate) fn sweep(
        &mut self,
        sweep: &Sweep<'_>,
        rng: &mut fastrand::Rng,
        counters: &mut Counters,
        out: &mut Vec<Output>,
    ) {
        let (now, ended) = (sweep.moment.now, sweep.state.is_terminal());
        let (groups, behind) = self.group(sweep, counters);
        for (shown, mut to) in groups {
            to.sort_unstable();
            let crowded = to.iter().copied().filter(|id| self.is_crowded(*id)).collect();
            self.tell_retry(crowded, rng, out);
            let (bytes, viewers) = (self.encode(shown, sweep), to.len() as u64);
            counters.events += if ended { 2 * viewers } else { viewers };
            if let (Some(at), Some(_)) = (sweep.at, shown) {
                counters.latency(at, now, viewers);
            }
            let let_go = if ended { to.clone() } else { Vec::new() };
            out.push(Output::Write { to, bytes });
            for id in let_go {
                self.leave(id);
                out.push(Output::Close(id));
            }
        }
        if behind {
            self.behind_at = Some(now + BEHIND_SWEEP);
        } else if sweep.only.is_none() {
            self.behind_at = None;
        }
        // A batch that was re-opened has no end to wait for.
        self.ended_at = ended.then(|| self.ended_at.unwrap_or(now));
    }

    /// The viewers to be written to, by what they were shown, and whether anyone stays behind because its stream is full.
    fn group(&mut self, sweep: &Sweep<'_>, counters: &mut Counters) -> (Groups, bool) {
        let (position, ended) = (sweep.state.position(), sweep.state.is_terminal());
        let (mut groups, mut behind) = (Groups::new(), false);
        let mut visit = |id: ViewerId, viewer: &mut Viewer| {
            if viewer.shown == Some(position) && !ended {
                return;
            }
            if !(sweep.moment.can_take)(id) {
                (behind, viewer.missed) = (true, true);
                return;
            }
            counters.conflated += u64::from(std::mem::take(&mut viewer.missed));
            viewer.written_at = sweep.moment.now;
            groups.entry(viewer.shown.replace(position)).or_default().push(id);
        };
        match sweep.only {
            Some(id) => self.viewers.get_mut(&id).into_iter().for_each(|viewer| visit(id, viewer)),
            None => self.viewers.iter_mut().for_each(|(id, viewer)| visit(*id, viewer)),
        }
        (groups, behind)
    }

    fn encode(&mut self, shown: Option<Position>, sweep: &Sweep<'_>) -> Rc<str> {
        if sweep.state.is_terminal() {
            return event::ending(sweep.state, shown, sweep.at).into();
        }
        if shown.is_some() {
            return event::progress(sweep.state, shown, sweep.at).into();
        }
        let position = sweep.state.position();
        match &self.first {
            Some(first) if first.position == position => first.bytes.clone(),
            _ => {
                let bytes: Rc<str> = event::progress(sweep.state, None, None).into();
                self.first = Some(FirstEvent { position, bytes: bytes.clone() });
                bytes
            }
        }
    }

    /// There is nothing to show now; the next change is swept to everyone.
    pub(crate) fn put_off(&mut self) {
        self.behind_at = None;
    }

    /// Everyone is to be shown everything again (the batch was invalidated).
    pub(crate) fn show_everything(&mut self) {
        self.first = None;
        self.viewers.values_mut().for_each(|viewer| viewer.shown = None);
    }

    /// Tells what is true of the room to those who do not know it and can take it.
    pub(crate) fn tell(
        &mut self,
        conditions: Conditions,
        moment: Moment<'_>,
        counters: &mut Counters,
        out: &mut Vec<Output>,
    ) {
        if conditions == self.told && self.untold_at.is_none_or(|at| moment.now < at) {
            return;
        }
        let (mut stale, mut live, mut stalled, mut left_out) = (Vec::new(), Vec::new(), Vec::new(), false);
        for (id, viewer) in self.viewers.iter_mut().filter(|(_, viewer)| viewer.told != conditions) {
            if !(moment.can_take)(*id) {
                left_out = true;
                continue;
            }
            if viewer.told.stale != conditions.stale {
                if conditions.stale { &mut stale } else { &mut live }.push(*id);
            }
            if conditions.stalled && !viewer.told.stalled {
                stalled.push(*id);
            }
            (viewer.told, viewer.written_at) = (conditions, moment.now);
        }
        for (mut to, bytes) in [(stale, event::UPSTREAM_STALE), (live, event::UPSTREAM_LIVE), (stalled, event::STALLED)]
        {
            counters.events += to.len() as u64;
            to.sort_unstable();
            write(to, bytes, out);
        }
        self.told = conditions;
        self.untold_at = left_out.then_some(moment.now + BEHIND_SWEEP);
    }

    /// The batch is gone: tells it and ends every stream.
    pub(crate) fn dismiss(&mut self, moment: Moment<'_>, counters: &mut Counters, out: &mut Vec<Output>) {
        let ids = self.drain();
        let to: Vec<ViewerId> = ids.iter().copied().filter(|id| (moment.can_take)(*id)).collect();
        counters.events += to.len() as u64;
        write(to, event::GONE, out);
        out.extend(ids.into_iter().map(Output::Close));
    }

    /// Nothing has changed for long: everyone is sent away, to look in later. They do not all come back at once. Who has
    /// seen all carries that along, so that nobody has to remember it.
    pub(crate) fn forget(
        &mut self,
        position: Position,
        moment: Moment<'_>,
        rng: &mut fastrand::Rng,
        counters: &mut Counters,
        out: &mut Vec<Output>,
    ) {
        let spread = self.spread();
        let up_to_date: BTreeSet<ViewerId> =
            self.viewers.iter().filter(|(_, viewer)| viewer.shown == Some(position)).map(|(id, _)| *id).collect();
        for id in self.drain() {
            if (moment.can_take)(id) {
                let retry = event::retry(FORGOTTEN_RETRY + rng.u64(0..=spread));
                let idle = up_to_date.contains(&id).then(|| event::idle(position));
                counters.events += u64::from(idle.is_some());
                write(vec![id], &(retry + &idle.unwrap_or_default()), out);
            }
            counters.forgotten += 1;
            out.push(Output::Close(id));
        }
    }

    fn drain(&mut self) -> Vec<ViewerId> {
        self.users.clear();
        let mut ids: Vec<ViewerId> = self.viewers.drain().map(|(id, _)| id).collect();
        ids.sort_unstable();
        ids
    }

    /// Breaks the silence of streams that were quiet for `keep_alive`. A viewer beside whom the viewers have doubled is
    /// told anew when to come back.
    pub(crate) fn keep_alive(
        &mut self,
        keep_alive: Millis,
        moment: Moment<'_>,
        rng: &mut fastrand::Rng,
        out: &mut Vec<Output>,
    ) {
        let Moment { now, can_take } = moment;
        if self.keep_alive_at.is_none_or(|at| now < at) {
            return;
        }
        let mut silent = Vec::new();
        for (id, viewer) in &mut self.viewers {
            if now >= viewer.written_at + keep_alive && can_take(*id) {
                viewer.written_at = now;
                silent.push(*id);
            }
        }
        silent.sort_unstable();
        let (crowded, quiet) = silent.into_iter().partition(|id| self.is_crowded(*id));
        write(quiet, event::KEEP_ALIVE, out);
        self.tell_retry(crowded, rng, out);
        // A viewer whose stream is full is not asked again before another whole span.
        let due = self.viewers.values().map(|viewer| viewer.written_at + keep_alive).filter(|at| *at > now);
        self.keep_alive_at = (!self.is_empty()).then(|| due.min().unwrap_or(now + keep_alive));
    }

    /// Ends the streams whose token has expired. With another one their viewers go on where they were.
    pub(crate) fn expire(&mut self, moment: Moment<'_>, counters: &mut Counters, out: &mut Vec<Output>) {
        if self.expire_at.is_none_or(|at| moment.now < at) {
            return;
        }
        let has_expired = |viewer: &Viewer| viewer.visitor.until.is_some_and(|at| moment.now >= at);
        let mut ids: Vec<ViewerId> =
            self.viewers.iter().filter(|(_, viewer)| has_expired(viewer)).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids.iter().for_each(|id| self.leave(*id));
        counters.expired += ids.len() as u64;
        let to: Vec<ViewerId> = ids.iter().copied().filter(|id| (moment.can_take)(*id)).collect();
        counters.events += to.len() as u64;
        write(to, event::AUTH_EXPIRED, out);
        out.extend(ids.into_iter().map(Output::Close));
        self.expire_at = self.viewers.values().filter_map(|viewer| viewer.visitor.until).min();
    }

    /// Viewers whose stream is full are not looked at before this.
    pub(crate) fn rest(&mut self, until: Millis) {
        self.behind_at = self.behind_at.map(|at| at.max(until));
    }

    /// Whether viewers whose stream was full are to be looked at now.
    pub(crate) fn is_behind_due(&self, now: Millis) -> bool {
        self.behind_at.is_some_and(|at| now >= at)
    }

    /// Cuts those who could not be shown the batch's end for long enough.
    pub(crate) fn lose_patience(&mut self, now: Millis, out: &mut Vec<Output>) {
        if self.ended_at.is_some_and(|at| now >= at + END_PATIENCE) {
            out.extend(self.drain().into_iter().map(Output::Cut));
        }
    }

    pub(crate) fn wake_at(&self) -> Option<Millis> {
        if self.viewers.is_empty() {
            return None;
        }
        let patience = self.ended_at.map(|at| at + END_PATIENCE);
        let untold_at = self.untold_at.filter(|_| patience.is_none());
        [self.behind_at, self.keep_alive_at, self.expire_at, untold_at, patience].into_iter().flatten().min()
    }
}

fn write(to: Vec<ViewerId>, bytes: &str, out: &mut Vec<Output>) {
    if !to.is_empty() {
        out.push(Output::Write { to, bytes: bytes.into() });
    }
}
