//! An origin that is asked because Redis does not hold the batch, and is of no help.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fault_proxy::{Direction, Proxy};
use futures::future::try_join_all;
use redis::AsyncCommands as _;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use serde_json::{Value, json};
use stack::{Api, GUARD, Stack, Tab, Tabs, eventually};

use super::{SLACK, until};
use crate::context::Ctx;
use crate::uploads::Uploads;

const READERS: usize = 50;
const STREAMS: usize = 5;
/// How long the edge waits for the origin's answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long a failing origin is left alone for one batch.
const LEFT_ALONE: Duration = Duration::from_secs(5);

/// What the origin does, and what readers are told of it.
struct Trouble {
    name: &'static str,
    fault: Fault,
    words: &'static str,
}

enum Fault {
    /// Every connection is given these bytes, made from the true answer, and is closed.
    Answers(fn(&Value) -> Vec<u8>),
    /// Every connection is reset.
    Down,
    /// Connections open, but nothing comes back.
    Silent,
    /// Everything takes so much longer each way.
    Slow(Duration),
}

pub(super) async fn no_help(ctx: Ctx) -> Result<()> {
    let plan = ctx.stack().edge_var("PING_SECS", "1").plan()?;
    let proxy = ctx.proxy(plan.photo_worker()).await?;
    let stack = plan.edge_origin(proxy.address()).start().await?;

    let (mut lost, mut slowest) = (Vec::new(), Duration::ZERO);
    for trouble in troubles() {
        let batch = Lost::new(&stack).await?;
        let took = outage(&stack, &proxy, &batch, &trouble).await;
        slowest = slowest.max(took.with_context(|| format!("an origin that {}", trouble.name))?);
        lost.push(batch);
    }
    ctx.figure("ways in which the origin failed", lost.len());
    ctx.figure("readers and streams that waited at once, and requests for them", format!("{READERS} + {STREAMS}, 1"));
    ctx.time("slowest clear answer", slowest);
    ensure!(slowest <= ANSWER_WITHIN + SLACK, "an answer took {slowest:?}");

    in_time(&ctx, &stack, &proxy).await?;
    watched(&ctx, &stack, &proxy).await?;

    let before = stack.origin_reads().await?;
    try_join_all(lost.iter().map(|batch| well_again(&stack, batch))).await?;
    let asked = stack.origin_reads().await? - before;
    ensure!(asked == lost.len() as u64, "{asked} requests for {} batches", lost.len());
    ensure!(!stack.edge.log().contains("panicked"), "the edge panicked");
    Ok(())
}

fn troubles() -> Vec<Trouble> {
    let trouble = |name, fault, words| Trouble { name, fault, words };
    let answers = |name, answer, words| Trouble { name, fault: Fault::Answers(answer), words };
    vec![
        answers("answers 500", |_| http("500 Oh", "text/plain", b"oh"), "the origin answered 500"),
        answers("answers 401", |_| http("401 No", "text/plain", b"no"), "refuses ORIGIN_TOKEN (401)"),
        answers("answers with bytes that are no HTTP", |_| vec![0xff; 99], "the origin did not answer"),
        answers("closes the connection", |_| Vec::new(), "the origin did not answer"),
        answers("stops in mid-answer", cut_short, "the origin did not answer"),
        answers("answers with a page", |_| http("200 OK", "text/html", b"<h1>Hi</h1>"), "answer: not a batch state"),
        answers(
            "answers with another batch",
            |state| with(state, "batchId", "b-2".into()),
            "answered with another batch",
        ),
        answers("contradicts itself in the counts", with_other_counts, "counts do not add up"),
        answers(
            "contradicts itself in the status",
            |state| with(state, "status", "COMPLETED".into()),
            "contradicts the counts",
        ),
        answers("has a photo newer than the batch", with_newer_photo, "after its batch's"),
        trouble("resets connections", Fault::Down, "the origin did not answer"),
        trouble("never answers", Fault::Silent, "no answer within 5 s"),
        trouble("answers after 6 s", Fault::Slow(Duration::from_secs(3)), "no answer within 5 s"),
    ]
}

fn cut_short(state: &Value) -> Vec<u8> {
    let mut answer = http("200 OK", "application/json", state.to_string().as_bytes());
    answer.truncate(answer.len() - 2);
    answer
}

fn with_other_counts(state: &Value) -> Vec<u8> {
    with(state, "counts", json!({ "total": 2, "queued": 7, "processing": 0, "completed": 0, "failed": 0 }))
}

fn with_newer_photo(state: &Value) -> Vec<u8> {
    with(state, "photos", json!([{ "photoId": "photo-1", "status": "QUEUED", "version": 4_000_000 }]))
}

fn with(state: &Value, field: &str, value: Value) -> Vec<u8> {
    let mut state = state.clone();
    state[field] = value;
    http("200 OK", "application/json", state.to_string().as_bytes())
}

fn http(status: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// A batch that only the origin knows.
struct Lost {
    uploads: Uploads,
    /// What the origin says of it.
    state: Value,
}

impl Lost {
    async fn new(stack: &Stack) -> Result<Self> {
        let uploads = Uploads::create_at(stack, stack.photo_worker.url(), 2).await?;
        lose(stack, &uploads).await?;
        let state = uploads.state().await?;
        Ok(Self { uploads, state })
    }
}

/// Deletes what Redis holds of the batch, once it holds it.
async fn lose(stack: &Stack, uploads: &Uploads) -> Result<()> {
    until("Redis does not hold it", async || {
        let deleted: u64 = stack.redis_connection().await?.del(key(uploads)).await?;
        Ok(deleted == 1)
    })
    .await
}

async fn is_stored(stack: &Stack, uploads: &Uploads) -> Result<bool> {
    Ok(stack.redis_connection().await?.exists(key(uploads)).await?)
}

fn key(uploads: &Uploads) -> String {
    format!("batch:progress:{}", uploads.id())
}

/// Many readers and viewers come at once while the origin is in trouble: how long the last of them waited.
async fn outage(stack: &Stack, proxy: &Proxy, batch: &Lost, trouble: &Trouble) -> Result<Duration> {
    let id = batch.uploads.id();
    // Connections of the trouble before would not know of this one.
    until("connections are still open", async || Ok(proxy.connections() == 0)).await?;
    let requests = || proxy.accepted() + proxy.refused();
    let before = requests();
    match &trouble.fault {
        Fault::Answers(answer) => proxy.answer(answer(&batch.state)),
        Fault::Down => drop(proxy.down()),
        Fault::Silent => proxy.stall(Direction::ToClient),
        Fault::Slow(each_way) => proxy.delay(*each_way),
    }
    let (api, begun) = (stack.api(), Instant::now());
    let readers = (0..READERS).map(|_| refused_reader(&api, id, trouble.words));
    let streams = (0..STREAMS).map(|_| busy_stream(stack, id));
    let (readers, ()) = tokio::try_join!(try_join_all(readers), async { try_join_all(streams).await.map(drop) })?;
    // Who comes within the next seconds is told the same, and asks nobody.
    refused_reader(&api, id, trouble.words).await?;
    let asked = requests() - before;
    proxy.heal();
    // It is one, unless this machine was so busy that the origin was not to be left alone any more.
    let since_first = readers.iter().min().context("no readers")?.elapsed();
    let most = 1 + since_first.as_secs() / (LEFT_ALONE.as_secs() - 1);
    ensure!((1..=most).contains(&asked), "{asked} requests to the origin, {since_first:?} after the first answer");
    ensure!(!is_stored(stack, &batch.uploads).await?, "nonsense was stored in Redis");
    let last = readers.into_iter().max().context("no readers")?;
    Ok(last - begun)
}

/// Reads a batch that nobody can tell of: 503, in words that name the cause. When it was answered.
async fn refused_reader(api: &Api, id: &str, words: &str) -> Result<Instant> {
    let answer = api.get(&format!("/api/batches/{id}")).await?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body = answer.text().await?;
    let answered = Instant::now();
    ensure!(status == 503, "a reader was answered {status}: {body}");
    ensure!(headers.get(RETRY_AFTER).is_some_and(|value| value == "5"), "no Retry-After: {headers:?}");
    ensure!(headers.get(CONTENT_TYPE).is_some_and(|value| value == "application/problem+json"), "{headers:?}");
    let problem: Value = serde_json::from_str(&body)?;
    ensure!(problem["type"] == "urn:batchcast:problem:unavailable", "{body}");
    let detail = problem["detail"].as_str().unwrap_or_default();
    ensure!(detail.contains("Redis does not hold the batch") && detail.contains(words), "not the cause: {body}");
    Ok(answered)
}

/// Opens the stream of such a batch: a browser is told to come back.
async fn busy_stream(stack: &Stack, id: &str) -> Result<()> {
    let mut viewer = stack.view(id).await?;
    viewer.next_of("busy").await?;
    ensure!(viewer.next().await?.is_none(), "the stream goes on after `busy`");
    let retry = viewer.retry().context("no retry")?;
    ensure!((3..=7).contains(&retry.as_secs()), "told to come back after {retry:?}");
    Ok(())
}

/// An origin that answers late, but in time: everyone who waits gets the state of one request.
async fn in_time(ctx: &Ctx, stack: &Stack, proxy: &Proxy) -> Result<()> {
    let Lost { uploads, state } = Lost::new(stack).await?;
    let before = stack.origin_reads().await?;
    proxy.delay(Duration::from_millis(1_500));
    let api = stack.api();
    let readers = try_join_all((0..READERS).map(|_| api.read(uploads.id()))).await?;
    let asked = stack.origin_reads().await? - before;
    proxy.heal();
    ctx.time("slowest of the readers of an origin that answers after 3 s", slowest(&readers));
    ensure!(asked == 1, "{asked} requests to a slow origin");
    let waited = |read: &&stack::Read| (read.cache.as_str(), read.source.as_str()) == ("MISS", "origin");
    ensure!(readers.iter().filter(waited).count() > READERS / 2, "too few have waited");
    for read in &readers {
        // On a busy machine one may come after the answer.
        let told = waited(&read) || read.cache == "HIT";
        ensure!(told && read.status == 200 && read.body == state, "a reader was told {read:?}");
    }
    Ok(())
}

fn slowest(reads: &[stack::Read]) -> Duration {
    reads.iter().map(|read| read.took).max().unwrap_or_default()
}

/// Batches that people watch while Redis loses them and the origin talks nonsense. One has been watched before, the
/// other's viewers come only now.
async fn watched(ctx: &Ctx, stack: &Stack, proxy: &Proxy) -> Result<()> {
    let before = Uploads::create_at(stack, stack.photo_worker.url(), 2).await?;
    let shown = before.position().await?;
    let open = |uploads: &Uploads| Tabs::open(10, &Tab::builder(&stack.stream_url(uploads.id())));
    let watching = open(&before);
    watching.until_position(shown).await?;

    // Were it believed, viewers would see the batch end.
    let mut ended = before.state().await?;
    ended["position"] = format!("{}-999999", shown.epoch()).into();
    ended["status"] = "COMPLETED".into();
    proxy.answer(http("200 OK", "application/json", ended.to_string().as_bytes()));
    // Those that are open know the true origin.
    proxy.cut();
    let (begun, asked) = (Instant::now(), proxy.accepted());
    lose(stack, &before).await?;
    let Lost { uploads: later, .. } = Lost::new(stack).await?;
    let coming = open(&later);
    coming.until_event("busy", "").await?;
    let late = open(&before);
    late.until_position(shown).await?;
    // The room has heard it twice.
    let words = ["origin failed", "contradicts the counts", before.id()];
    let heard = |line: &&str| words.iter().all(|word| line.contains(word));
    until("not heard twice", async || Ok(stack.edge.log().lines().filter(heard).count() > 1)).await?;
    let (took, asked) = (begun.elapsed(), proxy.accepted() - asked);
    let read = stack.api().read(before.id()).await?;
    ensure!(read.status == 200 && read.cache == "STALE", "a reader is told {read:?}");
    ensure!(read.body["position"] == shown.to_string(), "a reader is told {read:?}");
    ctx.figure(
        "requests to an origin that talks nonsense, for 30 viewers",
        format!("{asked} in {:.0} s", took.as_secs_f64()),
    );
    // The room asks, and those who come: each at most once in that time.
    let most = 2 * (took.as_secs() / LEFT_ALONE.as_secs() + 2);
    ensure!(asked <= most, "{asked} requests in {took:?}");
    for uploads in [&before, &later] {
        ensure!(!is_stored(stack, uploads).await?, "nonsense was stored in Redis");
    }

    let healed = Instant::now();
    proxy.heal();
    let well = coming.until_position(later.position().await?).await?;
    ctx.time("who was told `busy` is shown the batch, after the origin is well, in", well - healed);
    until("Redis does not hold it", async || is_stored(stack, &before).await).await?;
    for (uploads, tabs) in [(&before, &watching), (&before, &late), (&later, &coming)] {
        uploads.upload_all().await?;
        tabs.until_finished().await?;
        let end = uploads.position().await?;
        ensure!(tabs.iter().all(|tab| tab.history().position() == Some(end)), "not all tabs show the end, {end}");
        tabs.check()?;
    }
    Ok(())
}

/// The origin is well again: the batch is told, and stored.
async fn well_again(stack: &Stack, batch: &Lost) -> Result<()> {
    eventually(GUARD, async || {
        let read = stack.api().read(batch.uploads.id()).await?;
        ensure!(read.status == 200 && read.body == batch.state, "still told {read:?}");
        ensure!(is_stored(stack, &batch.uploads).await?, "it is not stored in Redis");
        Ok(())
    })
    .await
}
