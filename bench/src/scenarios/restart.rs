//! The server of a thousand viewers is killed and started again while changes go on: how long until all are up to date,
//! and how many come back at once.

mod crowd;
mod event_source;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::Scale;
use crate::gateway;
use crate::in_turn::InTurn;
use crate::listeners::now_us;
use crate::marks::Sent;
use crate::report::{Bar, Limit, Scenario};
use crate::sample::{busiest, percentile};
use crate::world::{BATCH, Changer, Setup, Side, UPSTASH_REALTIME, World};
use crowd::Crowd;
use event_source::{DEFAULT_RETRY, Open, Story, Target};

const VIEWERS: usize = 1_000;

/// Few, so that each side keeps up with the changes while nothing is wrong.
const PHOTOS: usize = 20;
const CHANGES_A_SECOND: u32 = 10;

/// Changes before the kill, and from it on: five seconds of them.
const BEFORE: usize = 20;
const AFTER: usize = 50;

/// How long viewers are waited for, to come or to see the last change.
const PATIENCE: Duration = Duration::from_secs(30);

/// Until all must show the last change, in seconds after the kill.
const BOUND_SECS: f64 = 10.0;

const SECOND_US: u64 = 1_000_000;

/// Ours first.
const SIDES: [Side; 3] = [Side::Edge, UPSTASH_REALTIME, Side::BareObject];

const FIGURES: [(&str, &str); 12] = [
    ("from the kill until it listens again", "s"),
    ("from the kill until a viewer is up to date, median", "s"),
    ("from the kill until all are up to date", "s"),
    ("from the kill until all show the last change", "s"),
    ("viewers that never showed the last change", ""),
    ("requests for a stream in the busiest second", ""),
    ("requests for a stream in the busiest tenth of a second", ""),
    ("connections tried, until all were back", "a viewer"),
    ("from a request until its answer begins, p99", "ms"),
    ("subscriptions at the gateway afterwards", ""),
    ("requests to the gateway beside those of changes", ""),
    ("Redis' commands beside those of changes", ""),
];
/// Where in the figures those stand that are looked at here.
const UP_TO_DATE: usize = 2;
const LAST_SHOWN: usize = 3;
const BUSIEST_SECOND: usize = 5;

pub(crate) async fn run(name: &str, scale: Scale) -> Result<Scenario> {
    let measure = async |side, _| {
        let values = measure(side).await?;
        let (secs, peak) = (values[UP_TO_DATE], values[BUSIEST_SECOND]);
        println!("{side}: all are up to date {secs:.2} s after the kill; at most {peak} opens a second");
        Ok(values)
    };
    let measured = InTurn::measure(SIDES, scale.runs, measure).await?;
    let shown = measured.samples[0][LAST_SHOWN].median();
    let bar =
        Bar::of("from the kill until all 1,000 show the last change, Batchcast", shown, "s", Limit::AtMost(BOUND_SECS));
    Ok(Scenario {
        name: name.to_owned(),
        about: about(),
        sides: measured.sides(),
        figures: measured.figures(FIGURES),
        bars: vec![bar],
        missing: measured.missing,
    })
}

fn about() -> String {
    let secs = AFTER / CHANGES_A_SECOND as usize;
    format!(
        "{VIEWERS} viewers of one batch of {PHOTOS} photos, in one thread; {CHANGES_A_SECOND} changes a second, each of one \
         photo, go on while the server that they are connected to is killed and at once started again, and for {secs} s \
         after the kill. A viewer is an `EventSource`: when its stream has ended, or none could be opened, it comes back \
         after the `retry:` that it was last told, with the last id that it was given; {} s where it was told none, as in \
         Chromium (Firefox waits 5 s). So come back those of Upstash Realtime: its client leaves a stream that ended to the \
         browser, which asks for the same address with the same `last_ack`. A viewer is up to date as soon as it shows \
         all that had been committed when its new stream was answered; of the bare object, which sends no state, it is \
         said to do so when it has read a later change, whatever it has missed. The last change was made {secs} s after \
         the kill. *Beside those of changes*: less what as many changes took before the kill. What was not seen {} s \
         later counts as {} s.",
        DEFAULT_RETRY.as_secs(),
        PATIENCE.as_secs(),
        PATIENCE.as_secs()
    )
}

/// In the order of [`FIGURES`].
async fn measure(side: Side) -> Result<[f64; FIGURES.len()]> {
    let mut world = World::start(&Setup::new(side, PHOTOS)).await?;
    let sent = Sent::new(BEFORE + AFTER);
    let request = request(side, &world.request());
    let (committed, open) = (AtomicU64::new(0), AtomicU64::new(0));
    let crowd = Crowd::open(Target { address: world.address()?, request, committed, open }, VIEWERS);
    crowd.all_open(PATIENCE).await?;
    let begun = Counted::of(&world).await?;
    commit_all(&mut world.changer, 0..BEFORE, &sent, &crowd.target).await?;
    crowd.latest.all_have(BEFORE, PATIENCE).await;

    let before = Counted::of(&world).await?;
    let (server, changer) = world.server_and_changer();
    let killed_at = now_us();
    server.kill();
    let restart = async {
        server.start().await?;
        anyhow::Ok(now_us())
    };
    let commits = commit_all(changer, BEFORE..BEFORE + AFTER, &sent, &crowd.target);
    let (listens_at, ()) = tokio::try_join!(restart, commits)?;
    crowd.latest.all_have(BEFORE + AFTER, PATIENCE).await;
    let after = Counted::of(&world).await?;
    let subscriptions = gateway::figure(&world.gateway, "subscriptions").await?;
    let unseen = crowd.latest.behind(BEFORE + AFTER);
    let stories = crowd.close()?;
    world.close().await;

    let storm = Storm::of(&stories, killed_at);
    let secs = |us: u64| us as f64 / SECOND_US as f64;
    let last_shown = stories.iter().map(|story| story.shown_at).max().unwrap_or_default();
    let last_shown = if unseen == 0 { secs(last_shown.saturating_sub(killed_at)) } else { PATIENCE.as_secs_f64() };
    let beside = |figure: fn(&Counted) -> f64| {
        let each = (figure(&before) - figure(&begun)) / BEFORE as f64;
        figure(&after) - figure(&before) - each * AFTER as f64
    };
    let mut current = storm.current;
    let mut answers = storm.answers;
    Ok([
        secs(listens_at - killed_at),
        secs(percentile(&mut current, 0.5)),
        secs(percentile(&mut current, 1.0)),
        last_shown,
        unseen as f64,
        busiest(&storm.asked, SECOND_US) as f64,
        busiest(&storm.asked, SECOND_US / 10) as f64,
        storm.tries as f64 / VIEWERS as f64,
        percentile(&mut answers, 0.99) as f64 / 1e3,
        subscriptions as f64,
        beside(|counted| counted.requests),
        beside(|counted| counted.commands),
    ])
}

/// What a viewer of this side asks, whenever it opens its stream.
fn request(side: Side, request: &str) -> String {
    if side != UPSTASH_REALTIME {
        return request.to_owned();
    }
    // As the library's client: what came after the moment at which it connected first.
    let query = format!("?last_ack_batch%3A{BATCH}={} HTTP/1.1", now_us() / 1_000);
    request.replacen(" HTTP/1.1", &query, 1)
}

/// Makes these changes at the scenario's pace, and says of each that it is committed.
async fn commit_all(changer: &mut Changer, numbers: Range<usize>, sent: &Sent, target: &Target) -> Result<()> {
    let begun = Instant::now();
    for (nth, number) in (1..).zip(numbers) {
        tokio::time::sleep_until((begun + Duration::from_secs(1) * nth / CHANGES_A_SECOND).into()).await;
        changer.change(number, sent).await?;
        target.committed.store(number as u64 + 1, Ordering::Relaxed);
    }
    Ok(())
}

/// What is counted before and after.
struct Counted {
    /// Requests that the gateway has answered.
    requests: f64,
    /// Commands that Redis has run, those of scripts counted.
    commands: f64,
}

impl Counted {
    async fn of(world: &World) -> Result<Self> {
        let requests = gateway::figure(&world.gateway, "requests_total").await?;
        let stats = world.redis.run::<String>(&["INFO", "commandstats"]).await?;
        Ok(Self { requests: requests as f64, commands: commands(&stats) as f64 })
    }
}

/// How many commands Redis has run, by its own words; but for those by which a connection begins, lives and is asked for
/// these words.
fn commands(stats: &str) -> u64 {
    let count = |line: &str| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        let own = ["info", "hello", "ping", "client"].iter().any(|own| name.split('|').next() == Some(own));
        rest.split_once(',')?.0.parse::<u64>().ok().filter(|_| !own)
    };
    stats.lines().filter_map(count).sum()
}

/// How the viewers came back. Times are microseconds.
#[derive(Debug, Default)]
struct Storm {
    /// When streams were asked for, in order.
    asked: Vec<u64>,
    /// How long each answer took to begin.
    answers: Vec<u64>,
    /// From the kill, how long each viewer took to be up to date.
    current: Vec<u64>,
    /// Connections that were tried.
    tries: usize,
}

impl Storm {
    fn of(stories: &[Story], killed_at: u64) -> Self {
        let mut storm = Self::default();
        for story in stories {
            let opens: Vec<&Open> = story.opens.iter().filter(|open| open.asked_at >= killed_at).collect();
            storm.asked.extend(opens.iter().map(|open| open.asked_at));
            storm.answers.extend(opens.iter().map(|open| open.answered_at - open.asked_at));
            let current = opens.iter().find_map(|open| open.current_at);
            storm.current.push(current.map_or(PATIENCE.as_micros() as u64, |at| at - killed_at));
            storm.tries += story.tries.iter().filter(|at| **at >= killed_at).count();
        }
        storm.asked.sort_unstable();
        storm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_those_that_somebody_meant() {
        let stats = "# Commandstats\r\ncmdstat_eval:calls=3,usec=1,\r\ncmdstat_info:calls=9,usec=1,\r\n\
                     cmdstat_client|setinfo:calls=9,usec=1,\r\ncmdstat_hset:calls=4,usec=1,\r\n";
        assert_eq!(commands(stats), 7);
    }

    #[test]
    fn a_viewer_is_up_to_date_in_the_first_stream_that_made_it_so() {
        let open = |asked_at, current_at| Open { asked_at, answered_at: asked_at + 5, current_at };
        let opens = vec![open(10, Some(20)), open(110, None), open(140, Some(150))];
        let back = Story { tries: vec![10, 105, 110, 140], opens, ..Story::default() };
        let storm = Storm::of(&[back, Story::default()], 100);
        assert_eq!((storm.asked, storm.answers, storm.tries), (vec![110, 140], vec![5, 5], 3));
        assert_eq!(storm.current, [50, PATIENCE.as_micros() as u64]);
    }

    #[test]
    fn only_the_peer_that_replays_is_asked_to() {
        let plain = "GET /batches/b/stream HTTP/1.1\r\nhost: bench\r\n\r\n";
        assert_eq!(request(Side::Edge, plain), plain);
        let theirs = request(UPSTASH_REALTIME, plain);
        assert!(theirs.starts_with("GET /batches/b/stream?last_ack_batch%3Ab-bench="), "{theirs}");
        assert!(theirs.ends_with(" HTTP/1.1\r\nhost: bench\r\n\r\n"), "{theirs}");
    }
}
