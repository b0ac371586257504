//! `batchcast status`: the batches that Redis holds, and how they are.

use std::io::Write as _;

use anstyle::{AnsiColor, Style};
use batchcast_publisher::{BatchId, BatchState, BatchStatus, Head, Position};
use clap::Args;
use futures::{StreamExt as _, stream};
use http::header;
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use wire::keys::{self, field};

use crate::{
    Failure,
    http_client::{Ask, Http},
    redis_client::{Redis, RedisFailure},
    target::Target,
    time::{now_ms, short},
    watch::status_word,
};

pub(crate) const EXIT_CODES: &str = "\
Columns:
  AGE  since the application last changed the batch, by its own clock
  LAG  versions by which Redis is behind the origin, where --origin is given; `epoch`: in another epoch, `unknown`: the
       origin does not know the batch, `?`: it did not say
  TTL  until Redis forgets the batch

Exit codes:
  0  done
  1  Redis does not answer, or answers no
  2  the arguments are wrong
  7  Redis does not hold one of the batches named";

/// Keys that Redis looks at a step of SCAN, and batches that are asked for together.
const TOGETHER: usize = 500;
/// Questions to the origin at the same time.
const ORIGIN_QUESTIONS: usize = 8;

#[derive(Args)]
pub(crate) struct Order {
    /// Only these batches, open or not. Without any: all that are open
    #[arg(value_name = "ID")]
    batches: Vec<BatchId>,
    /// Those that have ended, too
    #[arg(long, conflicts_with = "batches")]
    all: bool,
    /// Ask this origin where each batch stands, and show by how many versions Redis is behind. Shows it ORIGIN_TOKEN
    #[arg(long, value_name = "URL", env = "ORIGIN_URL")]
    origin: Option<Target>,
    /// Print a JSON object a batch and line
    #[arg(long)]
    json: bool,
}

/// One batch.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    batch_id: BatchId,
    /// `UNKNOWN`: Redis does not hold it. `UNREADABLE`: what stands there is no batch that can be read.
    #[serde(serialize_with = "word")]
    status: Held,
    position: Option<Position>,
    progress: Option<u8>,
    completed: Option<u32>,
    failed: Option<u32>,
    total: Option<u32>,
    /// Seconds since the application last changed it, by its own clock.
    age_secs: Option<u64>,
    /// Seconds until Redis forgets it.
    ttl_secs: Option<u64>,
    /// What the origin says; absent where it was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<Origin>,
}

/// What Redis holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Batch(BatchStatus),
    Unknown,
    Unreadable,
}

impl Held {
    fn word(self) -> &'static str {
        match self {
            Self::Batch(status) => status_word(status),
            Self::Unknown => "UNKNOWN",
            Self::Unreadable => "UNREADABLE",
        }
    }
}

/// How Redis stands beside the origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "answer")]
enum Origin {
    /// Where the batch stands there, and by how many versions Redis is behind it; none: in another epoch.
    Known { position: Position, lag: Option<u64> },
    /// It does not know the batch.
    Unknown,
    /// It did not say.
    Failed { why: String },
}

fn word<S: Serializer>(held: &Held, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(held.word())
}

pub(crate) async fn run(redis_url: &str, prefix: &str, order: &Order) -> Result<u8, Failure> {
    let mut redis = Redis::connect(redis_url, prefix).await?;
    let named = !order.batches.is_empty();
    let batches = if named { order.batches.clone() } else { scan(&mut redis).await? };
    let mut rows = Vec::new();
    for some in batches.chunks(TOGETHER) {
        rows.extend(read(&mut redis, some).await?);
    }
    rows.retain(|row| named || is_listed(row.status, order.all));
    if let Some(origin) = &order.origin {
        rows = ask_origin(origin, rows).await?;
    }
    rows.sort_by(|a, b| b.age_secs.cmp(&a.age_secs).then_with(|| a.batch_id.cmp(&b.batch_id)));
    print(&rows, order)?;
    let is_missing = named && rows.iter().any(|row| row.status == Held::Unknown);
    Ok(if is_missing { 7 } else { 0 })
}

/// What is shown where no batch is named. What can't be read needs somebody's eyes; what vanished meanwhile does not.
fn is_listed(held: Held, all: bool) -> bool {
    match held {
        Held::Batch(status) => all || !status.is_terminal(),
        Held::Unreadable => true,
        Held::Unknown => false,
    }
}

/// The ids of all batches. SCAN, step by step: unlike KEYS it does not hold Redis up. It may name a key twice.
async fn scan(redis: &mut Redis) -> Result<Vec<BatchId>, RedisFailure> {
    // No character of a prefix or an id means something in a pattern.
    let before = format!("{}batch:progress:", redis.prefix);
    let (mut cursor, mut batches) = ("0".to_owned(), Vec::new());
    loop {
        let mut step = redis::cmd("SCAN");
        step.arg(&cursor).arg("MATCH").arg(format!("{before}*")).arg("COUNT").arg(TOGETHER);
        let (next, keys): (String, Vec<Vec<u8>>) = step.query_async(&mut redis.connection).await?;
        batches
            .extend(keys.iter().filter_map(|key| BatchId::new(str::from_utf8(key).ok()?.strip_prefix(&before)?).ok()));
        cursor = next;
        if cursor == "0" {
            batches.sort_unstable();
            batches.dedup();
            return Ok(batches);
        }
    }
}

async fn read(redis: &mut Redis, batches: &[BatchId]) -> Result<Vec<Row>, RedisFailure> {
    let mut pipeline = redis::pipe();
    pipeline.ignore_errors();
    for batch in batches {
        let key = keys::hash(&redis.prefix, batch);
        pipeline.cmd("HGET").arg(&key).arg(field::HEAD).cmd("TTL").arg(&key);
    }
    let replies: Vec<redis::RedisResult<redis::Value>> = pipeline.query_async(&mut redis.connection).await?;
    let (pairs, _) = replies.as_chunks::<2>();
    let now = now_ms();
    let row = |(batch, [head, ttl]): (&BatchId, &[redis::RedisResult<redis::Value>; 2])| {
        let head = match head {
            Ok(value) => redis::from_redis_value::<Option<Vec<u8>>>(value.clone()).unwrap_or_default(),
            // Something else than a hash stands there.
            Err(error) if error.code() == Some("WRONGTYPE") => Some(Vec::new()),
            Err(error) => return Err(error.clone().into()),
        };
        // -1: it has none, -2: it is gone. Without the right to ask, none is shown.
        let ttl = ttl.as_ref().ok().and_then(|value| redis::from_redis_value::<i64>(value.clone()).ok());
        Ok(row_of(batch, head.as_deref(), ttl.and_then(|secs| u64::try_from(secs).ok()), now))
    };
    batches.iter().zip(pairs).map(row).collect()
}

/// `head`: the field of this name, none where nothing is stored. `now` is in milliseconds since the Unix epoch.
fn row_of(batch: &BatchId, head: Option<&[u8]>, ttl_secs: Option<u64>, now: u64) -> Row {
    let read = head.map(Head::from_json);
    let status = match &read {
        None => Held::Unknown,
        Some(Ok(head)) if head.batch_id == *batch => Held::Batch(head.status),
        Some(_) => Held::Unreadable,
    };
    let head = read.and_then(Result::ok).filter(|_| status != Held::Unreadable);
    let changed = head.as_ref().and_then(|head| head.updated_at.parse::<Timestamp>().ok());
    let age = changed.map(|at| now.saturating_sub(u64::try_from(at.as_millisecond()).unwrap_or(0)) / 1_000);
    let counts = head.as_ref().map(|head| head.counts);
    Row {
        batch_id: batch.clone(),
        status,
        position: head.as_ref().map(|head| head.position),
        progress: head.as_ref().map(Head::progress),
        completed: counts.map(|counts| counts.completed),
        failed: counts.map(|counts| counts.failed),
        total: counts.map(|counts| counts.total),
        age_secs: age,
        ttl_secs: ttl_secs.filter(|_| status != Held::Unknown),
        origin: None,
    }
}

async fn ask_origin(origin: &Target, rows: Vec<Row>) -> Result<Vec<Row>, Failure> {
    let http = Http::for_targets([origin])?;
    let token = std::env::var("ORIGIN_TOKEN").ok().filter(|token| !token.trim().is_empty());
    let (http, token) = (&http, token.as_deref().map(str::trim));
    let asked = rows.into_iter().map(async |mut row| {
        let ask = Ask::get(origin.at(&format!("/api/batches/{}", row.batch_id))).bearer(token);
        row.origin = Some(match http.ask(ask.header(header::ACCEPT, "application/json")).await {
            Ok(answer) => beside(row.position, answer.status, &answer.body),
            Err(error) => Origin::Failed { why: error.to_string() },
        });
        row
    });
    Ok(stream::iter(asked).buffer_unordered(ORIGIN_QUESTIONS).collect().await)
}

/// How Redis, which stands at `held`, stands beside this answer of the origin.
fn beside(held: Option<Position>, status: u16, body: &[u8]) -> Origin {
    match (status, BatchState::from_json(body)) {
        (200, Ok(state)) => {
            let position = state.position();
            // Redis that is ahead has heard of a commit that the origin had not yet read: it is not behind.
            let lag = held.filter(|held| held.epoch() == position.epoch());
            Origin::Known { position, lag: lag.map(|held| position.version().saturating_sub(held.version())) }
        }
        (200, Err(error)) => Origin::Failed { why: error.to_string() },
        (404, _) => Origin::Unknown,
        (401 | 403, _) => Origin::Failed { why: "it refuses ORIGIN_TOKEN".to_owned() },
        (status, _) => Origin::Failed { why: format!("it answers {status}") },
    }
}

fn print(rows: &[Row], order: &Order) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    if order.json {
        for row in rows {
            writeln!(out, "{}", serde_json::to_string(row).unwrap_or_default())?;
        }
        return Ok(());
    }
    if rows.is_empty() {
        let which = if order.all { "no batch" } else { "no open batch; --all shows those that have ended" };
        eprintln!("Redis holds {which}.");
        return Ok(());
    }
    let bold = Style::new().bold();
    for (line, text) in table(rows).into_iter().enumerate() {
        let style = match line.checked_sub(1).and_then(|row| rows.get(row)) {
            None => bold,
            Some(row) => style_of(row.status),
        };
        writeln!(out, "{style}{text}{style:#}")?;
    }
    // Why an origin did not say stands in no column.
    let failed = rows.iter().find_map(|row| match &row.origin {
        Some(Origin::Failed { why }) => Some((&row.batch_id, why)),
        _ => None,
    });
    if let Some((batch, why)) = failed {
        eprintln!("The origin did not tell of every batch; of {batch}: {why}");
    }
    Ok(())
}

fn style_of(held: Held) -> Style {
    match held {
        Held::Batch(BatchStatus::Completed) => Style::new().fg_color(Some(AnsiColor::Green.into())),
        Held::Batch(BatchStatus::Partial | BatchStatus::Cancelled) => {
            Style::new().fg_color(Some(AnsiColor::Yellow.into()))
        }
        Held::Batch(BatchStatus::Failed) | Held::Unreadable | Held::Unknown => {
            Style::new().fg_color(Some(AnsiColor::Red.into()))
        }
        Held::Batch(BatchStatus::Queued | BatchStatus::Processing) => Style::new(),
    }
}

/// A line of names, then a line a row, the columns one below the other.
fn table(rows: &[Row]) -> Vec<String> {
    let names = ["BATCH", "STATUS", "DONE", "FAILED", "TOTAL", "%", "AGE", "LAG", "TTL", "POSITION"].map(String::from);
    let lines: Vec<[String; 10]> = std::iter::once(names).chain(rows.iter().map(cells)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let widths: [usize; 10] = std::array::from_fn(width);
    let lay_out = |line: &[String; 10]| {
        let cell = |(column, text): (usize, &String)| match column {
            0 | 1 | 9 => format!("{text:<width$}", width = widths[column]),
            _ => format!("{text:>width$}", width = widths[column]),
        };
        line.iter().enumerate().map(cell).collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.iter().map(lay_out).collect()
}

fn cells(row: &Row) -> [String; 10] {
    fn or_dash(value: Option<impl ToString>) -> String {
        value.map_or_else(|| "-".to_owned(), |value| value.to_string())
    }
    let lag = match &row.origin {
        None => "-".to_owned(),
        Some(Origin::Known { lag: Some(lag), .. }) => lag.to_string(),
        Some(Origin::Known { lag: None, .. }) => "epoch".to_owned(),
        Some(Origin::Unknown) => "unknown".to_owned(),
        Some(Origin::Failed { .. }) => "?".to_owned(),
    };
    [
        row.batch_id.to_string(),
        row.status.word().to_owned(),
        or_dash(row.completed),
        or_dash(row.failed),
        or_dash(row.total),
        or_dash(row.progress),
        or_dash(row.age_secs.map(short)),
        lag,
        or_dash(row.ttl_secs.map(short)),
        or_dash(row.position),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_389_030_082;

    fn head(batch: &str, position: &str, status: &str) -> String {
        format!(
            r#"{{"v":1,"batchId":"{batch}","position":"{position}","status":"{status}","updatedAt":"2026-11-22T23:10:00Z",
            "counts":{{"total":4,"queued":1,"processing":0,"completed":2,"failed":1}}}}"#
        )
    }

    fn row(batch: &str, head: Option<&str>) -> Row {
        row_of(&batch.parse().unwrap(), head.map(str::as_bytes), Some(86_370), NOW)
    }

    #[test]
    fn a_row_is_what_stands_in_the_head() {
        let known = row("b-1", Some(&head("b-1", "7-3", "PROCESSING")));
        let json = r#"{"batchId":"b-1","status":"PROCESSING","position":"7-3","progress":75,"completed":2,"failed":1,"#;
        assert_eq!(
            serde_json::to_string(&known).unwrap(),
            format!(r#"{json}"total":4,"ageSecs":{},"ttlSecs":86370}}"#, known.age_secs.unwrap())
        );
        assert_eq!(row("b-1", None).status, Held::Unknown);
        assert_eq!(row("b-1", None).ttl_secs, None);
        for broken in ["", "{}", &head("b-2", "7-3", "PROCESSING")] {
            let row = row("b-1", Some(broken));
            assert_eq!((row.status, row.position), (Held::Unreadable, None), "{broken}");
        }
    }

    #[test]
    fn an_age_is_counted_from_the_last_change_and_never_negative() {
        let at = "2026-11-22T23:10:00Z".parse::<Timestamp>().unwrap().as_millisecond().cast_unsigned();
        let (batch, head) = ("b-1".parse().unwrap(), head("b-1", "7-3", "PROCESSING"));
        let age = |now| row_of(&batch, Some(head.as_bytes()), None, now).age_secs;
        assert_eq!((age(at + 61_900), age(at - 5_000)), (Some(61), Some(0)));
        let undated = head.replace("2026-11-22T23:10:00Z", "yesterday");
        assert_eq!(row_of(&batch, Some(undated.as_bytes()), None, at).age_secs, None);
    }

    #[test]
    fn redis_stands_beside_the_origin() {
        let held = |position: &str| Some(position.parse().unwrap());
        let body = head("b-1", "7-9", "PROCESSING");
        let lag = |held| match beside(held, 200, body.as_bytes()) {
            Origin::Known { lag, .. } => lag,
            other => panic!("{other:?}"),
        };
        assert_eq!([lag(held("7-6")), lag(held("7-9")), lag(held("7-10"))], [Some(3), Some(0), Some(0)]);
        assert_eq!([lag(held("6-9")), lag(None)], [None, None]);
        assert_eq!(beside(held("7-6"), 404, b""), Origin::Unknown);
        for (status, word) in [(401, "ORIGIN_TOKEN"), (500, "500"), (200, "format v=0")] {
            let Origin::Failed { why } = beside(None, status, b"{}") else { panic!("{status}") };
            assert!(why.contains(word), "{why}");
        }
    }

    #[test]
    fn a_table_lines_up_and_leaves_out_what_is_not_known() {
        let mut known = row("b-1", Some(&head("b-1", "7-3", "PROCESSING")));
        known.age_secs = Some(30);
        known.origin = Some(Origin::Known { position: "7-5".parse().unwrap(), lag: Some(2) });
        let lines = table(&[known, row("batch-number-2", None)]);
        assert_eq!(
            lines,
            [
                "BATCH           STATUS      DONE  FAILED  TOTAL   %  AGE  LAG  TTL  POSITION",
                "b-1             PROCESSING     2       1      4  75  30s    2  23h  7-3",
                "batch-number-2  UNKNOWN        -       -      -   -    -    -    -  -",
            ]
        );
    }

    #[test]
    fn open_batches_and_what_cannot_be_read_are_listed() {
        use BatchStatus::{Completed, Queued};
        let listed = |held| [is_listed(held, false), is_listed(held, true)];
        assert_eq!(listed(Held::Batch(Queued)), [true, true]);
        assert_eq!(listed(Held::Batch(Completed)), [false, true]);
        assert_eq!(listed(Held::Unreadable), [true, true]);
        assert_eq!(listed(Held::Unknown), [false, false]);
    }
}
