//! `batchcast smoke`: a running system, tried through its public API.

mod judge;
mod photo;
mod trial;

use std::{io::Write as _, time::Duration};

use anstyle::{AnsiColor, Style};
use batchcast_publisher::token::{Claims, Grant, Secrets, mint};
use clap::Args;

use crate::{
    FAILURE, Failure,
    http_client::Http,
    target::Target,
    time::{Span, now_ms},
    token::OrderError,
};

use judge::{Event, Reading, Report};
use trial::Trial;

/// The user and the project of what is made here.
const NAME: &str = "batchcast-smoke";
/// How much longer a token is good than the trial may take.
const TOKEN_RESERVE: Duration = Duration::from_secs(5 * 60);

#[derive(Args)]
pub(crate) struct Order {
    /// The edge
    #[arg(long, value_name = "URL", env = "EDGE_URL")]
    edge: Target,
    /// Where the batch is declared and the photos go; without it the edge, which passes them through
    #[arg(long, value_name = "URL", env = "ORIGIN_URL")]
    origin: Option<Target>,
    /// Photos, at most 20
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=20))]
    photos: u8,
    /// How long it may take, up to 10m
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = bounded)]
    timeout: Span,
    /// Print one JSON object at the end, with events, reads and what is wrong
    #[arg(long)]
    json: bool,
}

fn bounded(text: &str) -> Result<Span, &'static str> {
    let span: Span = text.parse()?;
    if span.secs() <= 600 { Ok(span) } else { Err("at most 10m") }
}

pub(crate) async fn run(order: &Order) -> Result<u8, Failure> {
    let targets = [Some(&order.edge), order.origin.as_ref()];
    let http = Http::for_targets(targets.into_iter().flatten())?;
    let limit = Duration::from(order.timeout);
    let token = token(limit)?;
    let origin = order.origin.clone().unwrap_or_else(|| order.edge.clone());
    let trial = Trial { http, edge: order.edge.clone(), origin, token, photos: order.photos, limit };
    let mut report = Report::default();
    let mut say = |said: Said<'_>| if order.json { Ok(()) } else { print(said) };
    trial.run(&mut report, &mut say).await?;
    report.wrong.extend(judge::wrong(&report, order.photos));
    let mut out = anstream::stdout().lock();
    if order.json {
        writeln!(out, "{}", report.to_json())?;
    } else {
        conclude(&report, &mut out)?;
    }
    Ok(if report.wrong.is_empty() { 0 } else { FAILURE })
}

/// The token to show: the one that is given, or one for a user of our own; none: in development there need not be one.
fn token(limit: Duration) -> Result<Option<String>, OrderError> {
    let value =
        |name: &str| std::env::var(name).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    if let Some(given) = value("BATCHCAST_TOKEN") {
        return Ok(Some(given));
    }
    let Some(secrets) = value("AUTH_SECRET") else { return Ok(None) };
    let secrets = Secrets::parse(&secrets);
    let secrets = secrets.map_err(|problem| OrderError::Weak { from: "AUTH_SECRET".to_owned(), problem })?;
    let life = u64::try_from((limit + TOKEN_RESERVE).as_millis()).unwrap_or(u64::MAX);
    let mut claims = Claims::new(Grant::user(NAME), now_ms().saturating_add(life));
    claims.issuer = value("AUTH_ISSUER");
    claims.audience.extend(value("AUTH_AUDIENCE"));
    Ok(Some(mint(&secrets, &claims)))
}

/// What is printed as it comes.
#[derive(Clone, Copy)]
enum Said<'a> {
    Declared { batch: &'a str, photos: u8 },
    Event(&'a Event),
    Read(usize, &'a Reading),
}

fn print(said: Said<'_>) -> std::io::Result<()> {
    let mut out = anstream::stdout().lock();
    match said {
        Said::Declared { batch, photos } => writeln!(out, "batch {batch} of {photos} photos"),
        Said::Event(event) => writeln!(out, "{}", judge::event_line(event)),
        Said::Read(index, reading) => writeln!(out, "{}", judge::reading_line(index, reading)),
    }
}

fn conclude(report: &Report, out: &mut impl std::io::Write) -> std::io::Result<()> {
    for line in judge::summary(report) {
        writeln!(out, "{line}")?;
    }
    if report.wrong.is_empty() {
        let style = Style::new().fg_color(Some(AnsiColor::Green.into()));
        return writeln!(out, "{style}all is well{style:#}");
    }
    let style = Style::new().fg_color(Some(AnsiColor::Red.into()));
    report.wrong.iter().try_for_each(|wrong| writeln!(out, "{style}WRONG{style:#}  {wrong}"))
}
