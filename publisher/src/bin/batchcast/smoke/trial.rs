//! Does what a user's page does, once, and writes down what it sees.

use std::{
    cell::Cell,
    io,
    time::{Duration, Instant},
};

use batchcast_publisher::{BatchStatus, Position};
use http::header;
use redis_rest::event_stream::{self, Item};
use serde::Deserialize;
use tokio::sync::Notify;

use super::{
    NAME, Said,
    judge::{Event, READS, Reading, Report},
    photo::photo,
};
use crate::{
    http_client::{Answer, Ask, Http, HttpError},
    target::Target,
    time::now_ms,
};

/// How long an upload may take: longer than the photo worker waits for a place of its own.
const UPLOAD_WITHIN: Duration = Duration::from_secs(30);
/// Streams that are opened anew at most.
const MOST_RECONNECTIONS: u32 = 10;
/// How long to wait before that where the stream did not say.
const RETRY: Duration = Duration::from_secs(2);

/// What is tried, and where.
pub(super) struct Trial {
    pub(super) http: Http,
    pub(super) edge: Target,
    pub(super) origin: Target,
    pub(super) token: Option<String>,
    pub(super) photos: u8,
    pub(super) limit: Duration,
}

/// Why a step failed: what is wrong with the system, or with our own output.
enum Stop {
    Wrong(String),
    Output(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// The answer to the declaration of a batch.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Declared {
    batch_id: String,
    photo_ids: Vec<String>,
}

/// The data of an event, as far as it is of interest.
#[derive(Default, Deserialize)]
struct Data {
    position: Option<Position>,
    status: Option<BatchStatus>,
    progress: Option<u8>,
    at: Option<u64>,
    state: Option<String>,
}

impl Trial {
    /// Runs to the end, to the first thing that stops it, or out of time; what is wrong then stands in the report.
    ///
    /// # Errors
    /// What is said can't be written.
    pub(super) async fn run(
        &self,
        report: &mut Report,
        say: &mut impl FnMut(Said<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let (begun, uploaded) = (Instant::now(), Cell::new(0));
        let stopped = tokio::time::timeout(self.limit, self.steps(report, say, begun, &uploaded)).await;
        report.uploaded_bytes = uploaded.get();
        match stopped {
            Ok(Ok(())) => {}
            Ok(Err(Stop::Output(error))) => return Err(error),
            Ok(Err(Stop::Wrong(words))) => report.wrong.push(words),
            Err(_) => {
                let seen = report.events.iter().rev().find_map(|event| event.progress).unwrap_or(0);
                let secs = self.limit.as_secs();
                report.wrong.push(format!("it was not done within {secs} s; the last that was seen is {seen} %"));
            }
        }
        if let Some(batch) = report.batch_id.clone().filter(|_| report.end().is_none()) {
            report.cancelled = self.cancel(&batch).await;
        }
        Ok(())
    }

    async fn steps(
        &self,
        report: &mut Report,
        say: &mut impl FnMut(Said<'_>) -> io::Result<()>,
        begun: Instant,
        uploaded: &Cell<usize>,
    ) -> Result<(), Stop> {
        let photos: Vec<Vec<u8>> = (0..self.photos).map(photo).collect::<Result<_, _>>().map_err(io::Error::other)?;
        let declared = self.declare(&photos).await?;
        report.batch_id = Some(declared.batch_id.clone());
        say(Said::Declared { batch: &declared.batch_id, photos: self.photos })?;

        let watching = Notify::new();
        let uploading = async {
            // The viewer is there first, so that it sees each change.
            watching.notified().await;
            for (index, photo) in photos.iter().enumerate() {
                self.upload(&declared, index, photo).await?;
                uploaded.set(uploaded.get() + photo.len());
            }
            Ok(())
        };
        tokio::try_join!(uploading, self.follow(&declared.batch_id, report, say, begun, &watching))?;

        let address = self.edge.at(&format!("/api/batches/{}", declared.batch_id));
        for index in 1..=READS {
            let asked = Instant::now();
            let read = self.http.ask(Ask::get(address.clone()).bearer(self.token.as_deref())).await;
            let reading = reading(read, asked.elapsed());
            say(Said::Read(index, &reading))?;
            report.reads.push(reading);
        }
        if let Some(last) = report.reads.last() {
            let known = format!("\"{}\"", last.position);
            let ask = Ask::get(address).bearer(self.token.as_deref()).header(header::IF_NONE_MATCH, &known);
            report.unchanged = self.http.ask(ask).await.ok().map(|answer| answer.status);
        }
        Ok(())
    }

    async fn declare(&self, photos: &[Vec<u8>]) -> Result<Declared, Stop> {
        let names = photos.iter().enumerate();
        let names: Vec<_> =
            names.map(|(index, photo)| serde_json::json!({"name": name(index), "size": photo.len()})).collect();
        let body = serde_json::json!({"projectId": NAME, "photos": names}).to_string();
        let ask = Ask::post(self.origin.at("/api/batches"), "application/json", body).bearer(self.token.as_deref());
        let answer = succeeded("POST /api/batches", self.http.ask(ask).await)?;
        let declared: Result<Declared, _> = serde_json::from_slice(&answer.body);
        let declared = declared.ok().filter(|declared| declared.photo_ids.len() == photos.len());
        declared.ok_or_else(|| Stop::Wrong("POST /api/batches is answered by something that is no batch".to_owned()))
    }

    async fn upload(&self, declared: &Declared, index: usize, photo: &[u8]) -> Result<(), Stop> {
        let photo_id = declared.photo_ids.get(index).map(String::as_str).unwrap_or_default();
        let fields = [("projectId", NAME), ("batchId", &declared.batch_id), ("photoId", photo_id)];
        let (kind, body) = form(&fields, &name(index), photo);
        let ask = Ask::post(self.origin.at("/api/photos/upload"), &kind, body).bearer(self.token.as_deref());
        succeeded("POST /api/photos/upload", self.http.ask(ask.within(UPLOAD_WITHIN)).await).map(drop)
    }

    /// Follows the stream to `complete`, as an `EventSource` would: comes back where it broke, with what it saw last.
    async fn follow(
        &self,
        batch: &str,
        report: &mut Report,
        say: &mut impl FnMut(Said<'_>) -> io::Result<()>,
        begun: Instant,
        watching: &Notify,
    ) -> Result<(), Stop> {
        let (mut last, mut retry) = (String::new(), RETRY);
        loop {
            let mut ask = Ask::get(self.edge.at(&format!("/api/batches/{batch}/stream"))).bearer(self.token.as_deref());
            if !last.is_empty() {
                ask = ask.header(http::HeaderName::from_static("last-event-id"), &last);
            }
            let opened = self.http.stream(ask).await.map_err(|error| Stop::Wrong(format!("the stream: {error}")))?;
            let mut events = opened.map_err(|answer| Stop::Wrong(refusal("GET …/stream", &answer)))?;
            // An error is a broken stream: like its end, a reason to come back.
            while let Ok(Some(item)) = events.next().await {
                match item {
                    Item::Retry(wait) => retry = wait,
                    Item::TooLarge => {
                        return Err(Stop::Wrong("an event of the stream is larger than any batch".into()));
                    }
                    Item::Comment(_) => {}
                    Item::Event(event) => {
                        last.clone_from(&event.id);
                        let seen = seen(event, begun.elapsed(), now_ms());
                        say(Said::Event(&seen))?;
                        let (is_progress, is_end) = (seen.event == "progress", seen.event == "complete");
                        report.events.push(seen);
                        if is_progress {
                            watching.notify_one();
                        }
                        if is_end {
                            return Ok(());
                        }
                    }
                    other => return Err(Stop::Wrong(format!("something else stood in the stream: {other:?}"))),
                }
            }
            report.reconnections += 1;
            if report.reconnections > MOST_RECONNECTIONS {
                return Err(Stop::Wrong("the stream ends again and again: look at the edge's log".to_owned()));
            }
            tokio::time::sleep(retry).await;
        }
    }

    /// Whether the batch is cancelled now.
    async fn cancel(&self, batch: &str) -> bool {
        let address = self.origin.at(&format!("/api/batches/{batch}/cancel"));
        let ask = Ask::post(address, "application/json", "").bearer(self.token.as_deref());
        self.http.ask(ask).await.is_ok_and(|answer| (200..300).contains(&answer.status))
    }
}

fn name(index: usize) -> String {
    format!("smoke-{}.png", index + 1)
}

fn succeeded(what: &str, asked: Result<Answer, HttpError>) -> Result<Answer, Stop> {
    match asked {
        Ok(answer) if (200..300).contains(&answer.status) => Ok(answer),
        Ok(answer) => Err(Stop::Wrong(refusal(what, &answer))),
        Err(error) => Err(Stop::Wrong(format!("{what}: {error}"))),
    }
}

fn refusal(what: &str, answer: &Answer) -> String {
    let detail = answer.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
    let token = if answer.status == 401 { " (BATCHCAST_TOKEN, or AUTH_SECRET, is what it asks for)" } else { "" };
    format!("{what} is answered by {}{detail}{token}", answer.status)
}

/// `now` is in milliseconds since the Unix epoch.
fn seen(event: event_stream::Event, after: Duration, now: u64) -> Event {
    let data: Data = serde_json::from_str(&event.data).unwrap_or_default();
    let latency = data.at.filter(|at| *at > 0).map(|at| now.cast_signed() - at.cast_signed());
    Event {
        event: event.event,
        position: data.position,
        status: data.status,
        progress: data.progress,
        after_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
        latency_ms: latency,
        state: data.state,
    }
}

fn reading(asked: Result<Answer, HttpError>, took: Duration) -> Reading {
    let ms = took.as_secs_f64() * 1_000.0;
    match asked {
        Ok(answer) => {
            let header = |name| answer.header(name).unwrap_or_default().to_owned();
            Reading {
                status: answer.status,
                ms,
                x_cache: header("x-cache"),
                source: header("x-cache-source"),
                position: header("etag").trim_matches('"').to_owned(),
                detail: answer.detail(),
            }
        }
        Err(error) => {
            let none = String::new;
            let detail = Some(error.to_string());
            Reading { status: 0, ms, x_cache: none(), source: none(), position: none(), detail }
        }
    }
}

/// A form of these fields and a file (RFC 7578), and its content type. No part holds the boundary: ids and names are
/// ours, and a photo is no text of its length.
fn form(fields: &[(&str, &str)], file_name: &str, file: &[u8]) -> (String, Vec<u8>) {
    let boundary = format!("batchcast-{:032x}", rand::random::<u128>());
    let mut body = Vec::new();
    for (field, value) in fields {
        let part = format!("--{boundary}\r\ncontent-disposition: form-data; name=\"{field}\"\r\n\r\n{value}\r\n");
        body.extend_from_slice(part.as_bytes());
    }
    let head = format!(
        "--{boundary}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{file_name}\"\r\n\
         content-type: image/png\r\n\r\n"
    );
    body.extend_from_slice(head.as_bytes());
    body.extend_from_slice(file);
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_tells_its_latency_where_it_is_live() {
        let event = |name: &str, data: &str| event_stream::Event::new("7-2", name, data);
        let live = r#"{"v":1,"batchId":"b","position":"7-2","status":"PROCESSING","progress":33,"at":1000}"#;
        let live = seen(event("progress", live), Duration::from_millis(40), 1_005);
        assert_eq!((live.latency_ms, live.progress, live.after_ms), (Some(5), Some(33), 40));
        let unknown = seen(event("progress", r#"{"at":0}"#), Duration::ZERO, 1_005);
        assert_eq!(unknown.latency_ms, None);
        let upstream = seen(event("upstream", r#"{"state":"stale"}"#), Duration::ZERO, 1_005);
        assert_eq!(upstream.state.as_deref(), Some("stale"));
    }

    #[test]
    fn a_form_holds_fields_and_file_between_its_boundaries() {
        let (kind, body) = form(&[("batchId", "b")], "a.png", b"\x89PNG");
        let boundary = kind.strip_prefix("multipart/form-data; boundary=").unwrap();
        let text = String::from_utf8_lossy(&body);
        assert_eq!(text.matches(boundary).count(), 3);
        assert!(text.contains("name=\"batchId\"\r\n\r\nb\r\n") && text.ends_with(&format!("\r\n--{boundary}--\r\n")));
    }
}
