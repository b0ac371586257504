//! `batchcast watch`: batches in the terminal, until they have ended.

use std::{
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use batchcast_publisher::{BatchId, BatchState, BatchStatus, Head, PublishError, Publisher};
use clap::Args;
use futures::{StreamExt as _, stream};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::{Failure, time::Span};

pub(crate) const EXIT_CODES: &str = "\
Exit codes, of several batches the first of 7, 6, 4, 5, 3 that holds for one:
  0  all batches are COMPLETED
  1  Redis lets nobody in, or answers no
  2  the arguments are wrong
  3  PARTIAL: it ended, and some photos failed
  4  FAILED
  5  CANCELLED
  6  still open (with --once, or when --timeout has passed)
  7  Redis does not hold it (likewise)";

/// The widest id that bars line up behind.
const MOST_ID_WIDTH: usize = 32;

#[derive(Args)]
pub(crate) struct Order {
    /// The batches
    #[arg(required = true, value_name = "ID")]
    batches: Vec<BatchId>,
    /// Print a JSON object a line: the head of the batch with each update; {"batchId":…,"known":false} for one that Redis
    /// does not hold when the watch ends
    #[arg(long)]
    json: bool,
    /// Show where the batches stand, and end
    #[arg(long, conflicts_with = "timeout")]
    once: bool,
    /// End after so long, whatever has come by then (90s, 15m, 1h, 7d). Without it, wait for ever
    #[arg(long, value_name = "TIME")]
    timeout: Option<Span>,
}

/// How a batch was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Redis does not hold it.
    Unknown,
    /// This was seen last.
    Seen(BatchStatus),
}

/// The exit code for batches that were left so.
pub(crate) fn exit_code(fates: &[Fate]) -> u8 {
    let code = |fate: &Fate| match fate {
        Fate::Seen(BatchStatus::Completed) => 0,
        Fate::Seen(BatchStatus::Partial) => 3,
        Fate::Seen(BatchStatus::Failed) => 4,
        Fate::Seen(BatchStatus::Cancelled) => 5,
        Fate::Seen(BatchStatus::Queued | BatchStatus::Processing) => 6,
        Fate::Unknown => 7,
    };
    let codes: Vec<u8> = fates.iter().map(code).collect();
    [7, 6, 4, 5, 3].into_iter().find(|code| codes.contains(code)).unwrap_or(0)
}

pub(crate) async fn run(publisher: &Publisher, order: &Order, bars: MultiProgress) -> Result<u8, Failure> {
    let mut batches: Vec<BatchId> = Vec::new();
    for batch in &order.batches {
        if !batches.contains(batch) {
            batches.push(batch.clone());
        }
    }
    // In a terminal bars are drawn on standard error; what goes into a file or a pipe is on standard output.
    let has_bars = !order.json && std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
    let mut screen = if has_bars { Screen::bars(&batches, &bars) } else { Screen::Lines { json: order.json } };
    let mut fates = vec![Fate::Unknown; batches.len()];
    let showing = show(publisher, &batches, order.once, &mut screen, &mut fates);
    let limit = order.timeout.map(Duration::from);
    match limit {
        // Not in time: what was seen until then decides.
        Some(limit) => drop(tokio::time::timeout(limit, showing).await.ok().transpose()?),
        None => showing.await?,
    }
    screen.close(&batches, &fates)?;
    Ok(exit_code(&fates))
}

async fn show(
    publisher: &Publisher,
    batches: &[BatchId],
    once: bool,
    screen: &mut Screen,
    fates: &mut [Fate],
) -> Result<(), Failure> {
    for (index, batch) in batches.iter().enumerate() {
        match publisher.cached(batch).await {
            Ok(Some(state)) if once => {
                fates[index] = Fate::Seen(state.head().status);
                screen.show(index, &state)?;
            }
            Ok(_) => {}
            // A watch waits for a Redis that is away, and for a batch that can be read; what Redis refuses it won't give.
            Err(PublishError::Unanswered { .. } | PublishError::Unreadable(_)) if !once => break,
            Err(error) => return Err(error.into()),
        }
    }
    if once {
        return Ok(());
    }
    let watches =
        batches.iter().enumerate().map(|(index, batch)| publisher.watch(batch).map(move |state| (index, state)));
    let mut states = stream::select_all(watches);
    while let Some((index, state)) = states.next().await {
        fates[index] = Fate::Seen(state.head().status);
        screen.show(index, &state)?;
    }
    Ok(())
}

/// Where updates are shown.
enum Screen {
    Lines { json: bool },
    Bars(Vec<ProgressBar>),
}

impl Screen {
    fn bars(batches: &[BatchId], all: &MultiProgress) -> Self {
        let width = batches.iter().map(|batch| batch.as_str().len()).max().unwrap_or(0).min(MOST_ID_WIDTH);
        let is_plain = anstream::AutoStream::choice(&std::io::stderr()) == anstream::ColorChoice::Never;
        let bar = |batch: &BatchId| {
            let bar = all.add(ProgressBar::new(100).with_prefix(format!("{batch:<width$}", batch = batch.as_str())));
            bar.set_style(style(is_plain));
            bar.set_message("waiting: Redis does not hold it yet");
            bar.tick();
            bar
        };
        Self::Bars(batches.iter().map(bar).collect())
    }

    fn show(&mut self, index: usize, state: &BatchState) -> Result<(), Failure> {
        let head = state.head();
        match self {
            Self::Lines { json: true } => writeln!(std::io::stdout(), "{}", head.to_json())?,
            Self::Lines { json: false } => writeln!(std::io::stdout(), "{}", line(head))?,
            Self::Bars(bars) => {
                if let Some(bar) = bars.get(index) {
                    bar.set_position(head.progress().into());
                    bar.set_message(words(head));
                    if head.status.is_terminal() {
                        bar.abandon();
                    }
                }
            }
        }
        Ok(())
    }

    /// The last word on each batch that was not seen; bars stay as they are.
    fn close(&mut self, batches: &[BatchId], fates: &[Fate]) -> Result<(), Failure> {
        let unknown = batches.iter().zip(fates).filter(|(_, fate)| **fate == Fate::Unknown).map(|(batch, _)| batch);
        match self {
            Self::Lines { json: true } => {
                for batch in unknown {
                    writeln!(std::io::stdout(), "{}", unknown_json(batch))?;
                }
            }
            Self::Lines { json: false } => unknown.for_each(|batch| eprintln!("{batch}  Redis does not hold it")),
            Self::Bars(bars) => bars.iter().filter(|bar| !bar.is_finished()).for_each(ProgressBar::abandon),
        }
        Ok(())
    }
}

fn style(is_plain: bool) -> ProgressStyle {
    // A test holds both to be templates.
    let style = ProgressStyle::with_template(template(is_plain)).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}

fn template(is_plain: bool) -> &'static str {
    if is_plain {
        "{prefix}  [{bar:30}] {pos:>3} %  {msg}"
    } else {
        "{prefix:.bold}  [{bar:30.cyan/dim}] {pos:>3} %  {msg}"
    }
}

/// `batch-123   50 %  PROCESSING  5 of 12 completed, 1 failed`
fn line(head: &Head) -> String {
    format!("{}  {:>3} %  {}", head.batch_id, head.progress(), words(head))
}

fn words(head: &Head) -> String {
    let counts = head.counts;
    let failed = if counts.failed > 0 { format!(", {} failed", counts.failed) } else { String::new() };
    format!("{}  {} of {} completed{failed}", status_word(head.status), counts.completed, counts.total)
}

/// The status as it stands in JSON.
pub(crate) fn status_word(status: BatchStatus) -> &'static str {
    match status {
        BatchStatus::Queued => "QUEUED",
        BatchStatus::Processing => "PROCESSING",
        BatchStatus::Completed => "COMPLETED",
        BatchStatus::Partial => "PARTIAL",
        BatchStatus::Failed => "FAILED",
        BatchStatus::Cancelled => "CANCELLED",
    }
}

fn unknown_json(batch: &BatchId) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Unknown<'a> {
        batch_id: &'a BatchId,
        known: bool,
    }
    serde_json::to_string(&Unknown { batch_id: batch, known: false }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_fate_decides_the_exit_code() {
        use BatchStatus::{Cancelled, Completed, Failed, Partial, Processing, Queued};
        let code =
            |fates: &[BatchStatus]| exit_code(&fates.iter().map(|status| Fate::Seen(*status)).collect::<Vec<_>>());
        assert_eq!([Completed, Partial, Failed, Cancelled, Queued].map(|status| code(&[status])), [0, 3, 4, 5, 6]);
        assert_eq!(code(&[Completed, Completed]), 0);
        assert_eq!(code(&[Completed, Partial, Cancelled]), 5);
        assert_eq!(code(&[Failed, Cancelled, Partial]), 4);
        assert_eq!(code(&[Failed, Processing]), 6);
        assert_eq!(exit_code(&[Fate::Seen(Processing), Fate::Unknown]), 7);
    }

    #[test]
    fn a_line_says_how_far_a_batch_is_and_what_failed() {
        let json = r#"{"v":1,"batchId":"b-1","position":"7-3","status":"PROCESSING","updatedAt":"",
            "counts":{"total":12,"queued":4,"processing":2,"completed":5,"failed":1}}"#;
        let head = Head::from_json(json.as_bytes()).unwrap();
        assert_eq!(line(&head), "b-1   50 %  PROCESSING  5 of 12 completed, 1 failed");
        assert_eq!(unknown_json(&head.batch_id), r#"{"batchId":"b-1","known":false}"#);
    }

    #[test]
    fn both_templates_of_a_bar_can_be_drawn_and_the_plain_one_has_no_colour() {
        for is_plain in [true, false] {
            ProgressStyle::with_template(template(is_plain)).unwrap();
        }
        assert!(!template(true).contains('.'), "a style stands after a full stop");
    }
}
