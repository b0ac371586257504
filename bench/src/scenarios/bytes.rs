//! How what a batch costs grows with its photos: the bytes that a viewer reads, the rows that are read from the source.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::Scale;
use crate::marks::{Furthest, Sent};
use crate::report::{Bar, Figure, Limit, Scenario};
use crate::requests::Connection;
use crate::sample::{Sample, exponent};
use crate::world::{Changer, Setup, Side, World};

pub(crate) const PHOTOS: [usize; 3] = [125, 250, 500];
/// In a run that only shows that all works.
pub(crate) const FEW_PHOTOS: [usize; 3] = [50, 100, 200];

/// How often each photo changes: as it does when its analysis begins and when it ends.
pub(crate) const CHANGES: usize = 2;

/// How long one change may take to its viewer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The name of the figure of the bytes for so many photos.
pub(crate) fn bytes_figure(photos: usize) -> String {
    format!("{photos} photos: bytes read")
}

/// What one side came to with so many photos.
struct Measured {
    photos: usize,
    bytes: u64,
    rows: u64,
}

pub(crate) async fn run(name: &str, scale: Scale) -> Result<Scenario> {
    let sizes = if scale.runs == 1 { FEW_PHOTOS } else { PHOTOS };
    let sides = [Side::Edge, Side::Node("after")];
    let mut measured: [Vec<Measured>; 2] = Default::default();
    for photos in sizes {
        for (side, measured) in sides.into_iter().zip(&mut measured) {
            let one = measure(side, photos).await.with_context(|| format!("measuring {side}"))?;
            println!("{side}, {photos} photos: {} bytes, {} rows", one.bytes, one.rows);
            measured.push(one);
        }
    }
    let exponents = |count: fn(&Measured) -> u64| {
        let points = |side: &Vec<Measured>| side.iter().map(|m| (m.photos as f64, count(m) as f64)).collect::<Vec<_>>();
        [exponent(&points(&measured[0])), exponent(&points(&measured[1]))]
    };
    let (bytes, rows) = (exponents(|m| m.bytes), exponents(|m| m.rows));
    let largest = measured.each_ref().map(|side| side.last().map_or(f64::NAN, |m| m.bytes as f64));
    let bars = vec![
        Bar::ratio(
            &format!("bytes of a viewer, {} photos, Batchcast : after", sizes[sizes.len() - 1]),
            largest[0] / largest[1],
            Limit::AtMost(0.02),
        ),
        Bar::of("bytes grow by photos to the power of", bytes[0], "", Limit::AtMost(1.1)),
        Bar::of("rows grow by photos to the power of", rows[0], "", Limit::AtMost(1.1)),
    ];
    Ok(Scenario {
        name: name.to_owned(),
        about: about(),
        sides: sides.iter().map(ToString::to_string).collect(),
        figures: figures(&measured, bytes, rows),
        bars,
        missing: Vec::new(),
    })
}

fn about() -> String {
    format!(
        "One viewer watches a batch of which every photo changes {CHANGES} times, one change an update, the next when \
         the viewer has read the one before. Bytes are those of the viewer's stream after its head, from its opening \
         to the last change; what a viewer reads does not depend on how many there are. Rows are photos' rows that \
         were read from the application's database: by ours for the first state and for each update what changed \
         since; for `after` by its worker, which needs the whole state for each update (here the harness hands it \
         that), and by its server where its cache has nothing. `FLUSH_MS=0`, and each change is published by itself: \
         with the default settings changes that come within 50 ms, and what a room writes within 20 ms, are merged \
         into one event, and both sums are smaller. Counts are exact, so that they are taken once. The powers are \
         fitted through all three sizes by least squares."
    )
}

fn figures(measured: &[Vec<Measured>; 2], bytes: [f64; 2], rows: [f64; 2]) -> Vec<Figure> {
    let sample = |value: f64| Sample(vec![value]);
    let mut figures = Vec::new();
    for (ours, theirs) in measured[0].iter().zip(&measured[1]) {
        let mut add = |name: &str, unit: &str, count: fn(&Measured) -> u64| {
            figures.push(Figure::new(name, unit, [sample(count(ours) as f64), sample(count(theirs) as f64)]));
        };
        add(&bytes_figure(ours.photos), "a viewer", |m| m.bytes);
        add(&format!("{} photos: rows read from the source", ours.photos), "a batch", |m| m.rows);
    }
    figures.push(Figure::new("power of photos by which bytes grow", "", bytes.map(sample)));
    figures.push(Figure::new("power of photos by which rows grow", "", rows.map(sample)));
    figures
}

async fn measure(side: Side, photos: usize) -> Result<Measured> {
    let vars = vec![("FLUSH_MS", "0".to_owned())];
    let mut world = World::start(&Setup { edge_vars: vars, ..Setup::new(side, photos) }).await?;
    let changes = CHANGES * photos;
    let sent = Sent::new(changes);
    let listeners = world.open(1, Furthest::default)?;
    for number in 0..changes {
        world.changer.publish(number, &sent).await?;
        ensure!(listeners.all_heard(number + 1, PATIENCE).await, "change {number} did not come");
    }
    let bytes = listeners.bytes();
    drop(listeners.close()?);
    let rows = match &world.changer {
        Changer::Publisher(app) => app.database().reads().rows,
        Changer::Worker { database, .. } => database.reads().rows + rows_of_server(&world).await?,
    };
    world.close().await;
    Ok(Measured { photos, bytes, rows })
}

/// How many photos' rows the server of the peer has read.
async fn rows_of_server(world: &World) -> Result<u64> {
    let mut connection = Connection::open(world.address()?).await?;
    let answer = connection.ask(b"GET /rows HTTP/1.1\r\nhost: bench\r\n\r\n").await?;
    let (_, body) = answer.split_once("\r\n\r\n").context("an answer without a body")?;
    Ok(body.trim().parse()?)
}
