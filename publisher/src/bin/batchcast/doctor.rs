//! `batchcast doctor`: each setting, and whether the parts reach each other, a line each.

mod line;
mod probe;
mod settings;

use std::io::Write as _;

use anstyle::{AnsiColor, Style};
use clap::Args;
use serde::Serialize;

use crate::{FAILURE, Failure};

use line::{Line, Verdict};
use settings::Settings;

#[derive(Args)]
pub(crate) struct Order {
    /// The edge. Shown BATCHCAST_TOKEN, or a token signed with AUTH_SECRET; and METRICS_TOKEN
    #[arg(long, value_name = "URL", env = "EDGE_URL")]
    edge: Option<String>,
    /// The edge's origin: the photo worker, or your application. Shown ORIGIN_TOKEN
    #[arg(long, value_name = "URL", env = "ORIGIN_URL")]
    origin: Option<String>,
    /// Redis over HTTP: the gateway, or Upstash. Shown UPSTASH_REDIS_REST_TOKEN
    #[arg(long, value_name = "URL", env = "UPSTASH_REDIS_REST_URL")]
    rest_url: Option<String>,
    /// Print one JSON object: {"ok":…,"lines":[{"check":…,"verdict":"ok"|"fail"|"skipped","detail":…,"fix":…}]}
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    lines: &'a [Line],
}

pub(crate) async fn run(redis_url: String, key_prefix: String, order: Order) -> Result<u8, Failure> {
    let lookup = |name: &str| match name {
        "REDIS_URL" => Some(redis_url.clone()),
        "KEY_PREFIX" => Some(key_prefix.clone()),
        "EDGE_URL" => order.edge.clone(),
        "ORIGIN_URL" => order.origin.clone(),
        "UPSTASH_REDIS_REST_URL" => order.rest_url.clone(),
        _ => std::env::var(name).ok(),
    };
    let mut lines = Vec::new();
    let mut say = |line: Line| {
        let said = if order.json { Ok(()) } else { print(&line) };
        lines.push(line);
        said
    };
    let (settings, read) = Settings::read(lookup);
    read.into_iter().try_for_each(&mut say)?;
    probe::examine(&settings, &mut say).await?;
    let count = |verdict| lines.iter().filter(|line| line.verdict == verdict).count();
    let (ok, failed, skipped) = (count(Verdict::Ok), count(Verdict::Fail), count(Verdict::Skipped));
    let mut out = anstream::stdout().lock();
    if order.json {
        let report = Report { ok: failed == 0, lines: &lines };
        writeln!(out, "{}", serde_json::to_string(&report).unwrap_or_default())?;
    } else {
        writeln!(out, "\n{ok} ok, {failed} wrong, {skipped} skipped")?;
    }
    Ok(if failed == 0 { 0 } else { FAILURE })
}

fn print(line: &Line) -> std::io::Result<()> {
    let (word, colour) = match line.verdict {
        Verdict::Ok => ("ok", AnsiColor::Green),
        Verdict::Fail => ("FAIL", AnsiColor::Red),
        Verdict::Skipped => ("skipped", AnsiColor::Yellow),
    };
    let style = Style::new().fg_color(Some(colour.into()));
    let mut out = anstream::stdout().lock();
    writeln!(out, "{style}{word:<7}{style:#}  {:<24}  {}", line.check, line.detail)?;
    if let Some(fix) = &line.fix {
        writeln!(out, "{:<33}  fix: {fix}", "")?;
    }
    out.flush()
}
