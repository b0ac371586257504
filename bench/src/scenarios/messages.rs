//! How many bytes a batch's messages take, and how many they would as compressed text.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::StreamExt as _;
use redis::aio::PubSub;
use stack::{Api, Stack};
use tokio::time::{Instant, sleep_until};

use crate::Scale;
use crate::report::{Figure, Scenario};
use crate::sample::Sample;

const PHOTOS: usize = 500;
/// In a run that only shows that all works.
const FEW_PHOTOS: usize = 50;
/// Somewhat more than two cores make of photos of 12 megapixels in the demo.
const A_SECOND: u32 = 10;
const FAST_A_SECOND: u32 = 200;

/// Smaller messages would stay as they are.
const OVER: usize = 1024;
/// What stands around the text of a compressed message.
const AROUND: usize = r#"{"v":1,"type":"gzip","data":""}"#.len();

/// The smallest photo there is, as PNG.
const PHOTO: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0\x3a\x7e\x9b\x55\0\0\0\nIDAT\
    \x78\x9c\x63\x60\0\0\0\x02\0\x01\x48\xaf\xa4\x71\0\0\0\0IEND\xae\x42\x60\x82";

pub(crate) async fn run(name: &str, scale: Scale) -> Result<Scenario> {
    let photos = if scale.runs == 1 { FEW_PHOTOS } else { PHOTOS };
    let mut figures = Vec::new();
    for pace in [A_SECOND, FAST_A_SECOND] {
        let messages = messages_of(photos, pace).await.with_context(|| format!("{pace} photos a second"))?;
        let of = |name: &str| format!("{photos} photos, {pace} a second: {name}");
        let (first, later) = messages.split_first().context("no message")?;
        figures.push(figure(&of("bytes of the first message"), std::slice::from_ref(first))?);
        figures.push(figure(&of("bytes of all others"), later)?);
        let large = messages.iter().filter(|message| message.len() > OVER).count();
        let counts = [messages.len(), large].map(|count| Sample(vec![count as f64]));
        figures.push(Figure::new(&of("messages, and how many are compressed"), "messages", counts));
    }
    for figure in &figures {
        println!("{}: {} and {}", figure.name, figure.sides[0].median(), figure.sides[1].median());
    }
    Ok(Scenario {
        name: name.to_owned(),
        about: about(photos),
        sides: vec!["as they are".to_owned(), "compressed over 1 KiB".to_owned()],
        figures,
        bars: Vec::new(),
        missing: Vec::new(),
    })
}

fn about(photos: usize) -> String {
    format!(
        "The photo worker is sent {photos} photos of a pixel each, {A_SECOND} and {FAST_A_SECOND} a second, and what it \
         publishes on the batch's channel is kept: a message at most every 50 ms. Each message of more than {OVER} bytes \
         is then compressed as text that Redis over HTTP can carry, gzip at its best and base64, with what would stand \
         around it. Counted once: the same each time but for what falls into the same 50 ms."
    )
}

fn figure(name: &str, messages: &[String]) -> Result<Figure> {
    let plain: usize = messages.iter().map(String::len).sum();
    let mut compressed = 0;
    for message in messages {
        compressed += if message.len() > OVER { compressed_bytes(message)? } else { message.len() };
    }
    Ok(Figure::new(name, "bytes", [plain, compressed].map(|bytes| Sample(vec![bytes as f64]))))
}

fn compressed_bytes(message: &str) -> Result<usize> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(message.as_bytes())?;
    Ok(gzip.finish()?.len().div_ceil(3) * 4 + AROUND)
}

/// What is published of a batch, from its declaration to its end.
async fn messages_of(photos: usize, a_second: u32) -> Result<Vec<String>> {
    let mut stack = Stack::builder().bare().plan()?.stopped()?;
    stack.redis.start().await?;
    stack.photo_worker.start().await?;
    let mut heard = redis::Client::open(stack.redis.url())?.get_async_pubsub().await?;
    heard.psubscribe("batch:*").await?;
    let api = Api::new(stack.photo_worker.url());
    let names: Vec<_> = (0..photos).map(|n| (format!("IMG_{:04}.png", 2001 + n), PHOTO.len() as u64)).collect();
    let batch = api.create_batch("messages", &names).await?;
    let messages = tokio::spawn(until_the_end(heard));
    let begun = Instant::now();
    for (nth, ((name, _), id)) in (0..).zip(names.iter().zip(&batch.photo_ids)) {
        sleep_until(begun + Duration::from_secs(1) * nth / a_second).await;
        api.upload("messages", &batch.batch_id, id, name, PHOTO.to_vec()).await?;
    }
    messages.await?
}

async fn until_the_end(heard: PubSub) -> Result<Vec<String>> {
    let mut messages = Vec::new();
    let mut stream = heard.into_on_message();
    while let Some(message) = stream.next().await {
        let text: String = message.get_payload()?;
        let ended = text.contains(r#""status":"COMPLETED","progress":100"#);
        messages.push(text);
        if ended {
            return Ok(messages);
        }
    }
    ensure!(false, "the batch did not end");
    Ok(messages)
}
