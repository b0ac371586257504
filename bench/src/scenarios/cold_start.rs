//! The size of the Worker's module, and the time from its start to its first byte.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use stack::{GUARD, Part, RedisServer, workspace};

use crate::app::App;
use crate::report::{Bar, Figure, Limit, Scenario};
use crate::sample::{Sample, percentile};
use crate::world::{BATCH, stopped_edge};
use crate::{Scale, gateway, plain_worker};

const PHOTOS: usize = 100;

/// Starts of each side in a run, in turn.
const STARTS: usize = 20;

/// Between two attempts to connect.
const BETWEEN_ATTEMPTS: Duration = Duration::from_micros(200);

/// What the gzipped module is to stay under.
const MOST_KIB: f64 = 300.0;
/// What a cold start is to stay under.
const MOST_MS: f64 = 50.0;

/// What is built for the Worker: its module, and the script around it.
const MODULE: &str = "edge/build/index_bg.wasm";
const SCRIPT: &str = "edge/build/index.js";

/// What is started.
const SIDES: [&str; 2] = ["Batchcast", "an empty Worker"];

/// The times of a side's starts in one run, in microseconds, in the order of [`TIMES`].
type Times = [Vec<u64>; TIMES.len()];

/// What is timed of a start.
const TIMES: [&str; 5] = [
    "from the process to its listening",
    "from there to the first byte of `/healthz`",
    "from the process to the first byte of `/healthz`",
    "then, from a request for a stream to its first byte",
    "another start: from the process to the first byte of a stream",
];

/// Of [`TIMES`], the cold start.
const COLD_START: usize = 2;

pub(crate) async fn run(name: &str, scale: Scale) -> Result<Scenario> {
    let (dir, redis) = (tempfile::tempdir()?, RedisServer::start().await?);
    let gateway = gateway::start(dir.path(), redis.url()).await?;
    let app = App::start(redis.url(), BATCH, PHOTOS).await?;

    let mut medians: [[Sample; TIMES.len()]; SIDES.len()] = Default::default();
    for _ in 0..scale.runs {
        let mut run: [Times; SIDES.len()] = Default::default();
        for _ in 0..STARTS {
            let [ours, empty] = &mut run;
            start_ours(gateway.url(), ours)?;
            start_empty(empty)?;
        }
        for (side, times) in medians.iter_mut().zip(&mut run) {
            for (sample, times) in side.iter_mut().zip(times).filter(|(_, times)| !times.is_empty()) {
                sample.0.push(percentile(times, 0.5) as f64 / 1e3);
            }
        }
    }
    app.close().await;

    let kib = |file: &str| anyhow::Ok(gzipped_bytes(file)? as f64 / 1024.0);
    let (module, all) = (kib(MODULE)?, kib(MODULE)? + kib(SCRIPT)?);
    let cold = medians[0][COLD_START].median();
    let bars = vec![
        Bar::of("the Worker's module, gzipped", module, "KiB", Limit::AtMost(MOST_KIB)),
        Bar::of("from the process to the first byte of `/healthz`", cold, "ms", Limit::AtMost(MOST_MS)),
    ];
    let size = |name, kib| Figure::new(name, "KiB", [Sample(vec![kib]), Sample::default()]);
    let mut figures = vec![size("the Worker's module, gzipped", module), size("with the script around it", all)];
    let [ours, empty] = medians;
    figures.extend(
        TIMES
            .into_iter()
            .zip(ours.into_iter().zip(empty))
            .map(|(name, (ours, empty))| Figure::new(name, "ms", [ours, empty])),
    );
    Ok(Scenario {
        name: name.to_owned(),
        about: format!(
            "The module as it was built, and workerd started {STARTS} times a run a side, in turn, each time anew and \
             with nothing kept from before: medians of a run. Attempts to connect are made every {} µs, so that its \
             listening is seen at once; then `GET /healthz`, then the stream of a batch of {PHOTOS} photos, which no \
             object holds yet. Another start asks for that stream first. On Cloudflare a cold start is what a Worker \
             adds where the runtime is up already; the bar is stricter: the start of the runtime's own process is in it. \
             Beside it a Worker in JavaScript that does nothing (`bench/peers/empty`), in the same workerd.",
            BETWEEN_ATTEMPTS.as_micros()
        ),
        sides: SIDES.map(str::to_owned).to_vec(),
        figures,
        bars,
        missing: Vec::new(),
    })
}

fn start_ours(gateway_url: &str, times: &mut Times) -> Result<()> {
    let stream = format!("/api/batches/{BATCH}/stream");
    let [listening, request, cold, warm_stream, cold_stream] = times;

    let dir = tempfile::tempdir()?;
    let mut edge = stopped_edge(dir.path(), gateway_url, &[])?;
    let begun = Instant::now();
    edge.spawn()?;
    let up = listens(&edge)?;
    let answered = first_byte(up.stream, "/healthz")?;
    listening.push(us(up.at - begun));
    request.push(us(answered - up.at));
    cold.push(us(answered - begun));
    let asked = Instant::now();
    warm_stream.push(us(first_byte(connect(&edge)?, &stream)? - asked));
    drop(edge);

    let dir = tempfile::tempdir()?;
    let mut edge = stopped_edge(dir.path(), gateway_url, &[])?;
    let begun = Instant::now();
    edge.spawn()?;
    cold_stream.push(us(first_byte(listens(&edge)?.stream, &stream)? - begun));
    Ok(())
}

fn start_empty(times: &mut Times) -> Result<()> {
    let [listening, request, cold, ..] = times;
    let dir = tempfile::tempdir()?;
    let mut empty = plain_worker::stopped("empty", dir.path())?;
    let begun = Instant::now();
    empty.spawn()?;
    let up = listens(&empty)?;
    let answered = first_byte(up.stream, "/healthz")?;
    listening.push(us(up.at - begun));
    request.push(us(answered - up.at));
    cold.push(us(answered - begun));
    Ok(())
}

fn us(time: Duration) -> u64 {
    time.as_micros() as u64
}

/// The first connection that a server takes, and when it did.
struct Up {
    stream: TcpStream,
    at: Instant,
}

/// Connects as soon as that is possible.
fn listens(server: &Part) -> Result<Up> {
    let until = Instant::now() + GUARD;
    loop {
        match connect(server) {
            Ok(stream) => return Ok(Up { stream, at: Instant::now() }),
            Err(error) if Instant::now() >= until => {
                return Err(error).with_context(|| format!("it does not listen; its log ends:\n{}", server.log_tail()));
            }
            Err(_) => std::thread::sleep(BETWEEN_ATTEMPTS),
        }
    }
}

fn connect(server: &Part) -> Result<TcpStream> {
    let address: SocketAddr = server.url().strip_prefix("http://").context("no http address")?.parse()?;
    Ok(TcpStream::connect(address)?)
}

/// When the first of an answer to a `GET` came.
fn first_byte(mut stream: TcpStream, path: &str) -> Result<Instant> {
    stream.set_read_timeout(Some(GUARD))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n").as_bytes())?;
    let mut bytes = [0; 1024];
    let read = stream.read(&mut bytes)?;
    let at = Instant::now();
    let text = String::from_utf8_lossy(&bytes[..read]);
    ensure!(text.starts_with("HTTP/1.1 200"), "{path} was refused: {text}");
    Ok(at)
}

/// As `cargo xtask` counts them.
fn gzipped_bytes(file: &str) -> Result<usize> {
    let mut input = fs::File::open(workspace::built(file)?)?;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    std::io::copy(&mut input, &mut encoder)?;
    Ok(encoder.finish()?.len())
}
