//! Slack: one message when a batch ends, by an [incoming webhook](https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks).
//!
//! In scope: the words. Out of scope: changing a message that was sent, other kinds of Slack's API.

use std::{fmt, fmt::Write as _, time::Duration};

use http::HeaderMap;
use wire::{BatchState, BatchStatus, PhotoStatus};

use crate::{
    Event, Pace, PublishError, Sink, Undelivered,
    post::{Answer, Target},
};

/// Failures that a message names.
const MOST_FAILURES: usize = 5;
/// Characters of each one's words.
const MOST_CHARS: usize = 200;

/// Says in a channel of Slack that a batch has ended, with counts and failures. Made by [`Slack::builder`].
///
/// ```
/// use batchcast_publisher::{Publisher, Slack};
///
/// let slack = Slack::builder("http://localhost:3000/services/T0/B0/x").allow_private(true);
/// let slack = slack.page_url("https://photos.example.com/batches/{id}").build()?;
/// let builder = Publisher::builder("redis://localhost:6379").sink(slack);
/// # let _ = builder;
/// # Ok::<(), batchcast_publisher::PublishError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Slack {
    name: String,
    target: Target,
    page_url: Option<String>,
    pace: Pace,
}

/// Settings of a [`Slack`], each with its default.
///
/// ```
/// use batchcast_publisher::Slack;
///
/// // Two channels: each is a sink with a name.
/// let url = "http://localhost:3000/services/T0/B0/x";
/// let slack = Slack::builder(url).name("slack-support").allow_private(true).build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a builder does nothing until `build`"]
pub struct SlackBuilder {
    name: String,
    url: String,
    page_url: Option<String>,
    allow_private: bool,
    pace: Pace,
}

impl Slack {
    /// Settings for the incoming webhook at this URL, which is a secret.
    ///
    /// ```no_run
    /// use batchcast_publisher::{Publisher, Slack};
    ///
    /// let slack = Slack::builder(&std::env::var("SLACK_URL")?).build()?; // https://hooks.slack.com/services/…
    /// let builder = Publisher::builder("redis://localhost:6379").sink(slack);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder(url: &str) -> SlackBuilder {
        SlackBuilder {
            name: "slack".to_owned(),
            url: url.to_owned(),
            page_url: None,
            allow_private: false,
            // Slack takes about one message a second.
            pace: Pace { rest: Duration::from_secs(1), ..Pace::default() },
        }
    }
}

impl SlackBuilder {
    /// Default `slack`. See [`Sink::name`].
    ///
    /// ```
    /// use batchcast_publisher::Slack;
    ///
    /// let builder = Slack::builder("https://hooks.slack.com/services/T0/B0/x").name("slack-support");
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Where the batch is shown, with `{id}` where its id stands: the message links it. Default: no link.
    ///
    /// ```
    /// use batchcast_publisher::Slack;
    ///
    /// let slack = Slack::builder("https://hooks.slack.com/services/T0/B0/x");
    /// let slack = slack.page_url("https://photos.example.com/batches/{id}"); // One click from the message.
    /// ```
    pub fn page_url(mut self, url: impl Into<String>) -> Self {
        self.page_url = Some(url.into());
        self
    }

    /// Also addresses of private networks and of this machine may be asked, and `http`; default: they are refused, by
    /// what the name resolves to.
    ///
    /// ```
    /// use batchcast_publisher::Slack;
    ///
    /// // Something that takes Slack's messages, in the same network: Mattermost, say.
    /// let slack = Slack::builder("http://10.0.0.7:8065/hooks/x").allow_private(true).build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn allow_private(mut self, allow: bool) -> Self {
        self.allow_private = allow;
        self
    }

    /// How fast, and how long it is tried; default a message a second.
    ///
    /// ```
    /// use std::time::Duration;
    /// use batchcast_publisher::{Pace, Slack};
    ///
    /// let mut pace = Pace::default();
    /// pace.rest = Duration::from_secs(5); // Others write to this channel, too.
    /// let builder = Slack::builder("https://hooks.slack.com/services/T0/B0/x").pace(pace);
    /// ```
    pub fn pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// Checks the settings. Nothing is asked yet.
    ///
    /// ```
    /// use batchcast_publisher::Slack;
    ///
    /// let slack = Slack::builder("http://localhost:3000/services/x").allow_private(true);
    /// let error = slack.page_url("https://photos.example.com/").build().unwrap_err();
    /// assert!(error.to_string().contains("{id}"));
    /// ```
    ///
    /// # Errors
    /// [`PublishError::Config`] says what is wrong with a URL, and does not show Slack's.
    pub fn build(self) -> Result<Slack, PublishError> {
        let target = Target::parse("Slack's URL", &self.url, self.allow_private)?;
        if self.page_url.as_deref().is_some_and(|url| !is_page_url(url)) {
            let problem = "is no http or https URL with {id} in it: https://photos.example.com/batches/{id} say";
            return Err(PublishError::Config { setting: "the page's URL", problem: problem.to_owned() });
        }
        Ok(Slack { name: self.name, target, page_url: self.page_url, pace: self.pace })
    }
}

fn is_page_url(url: &str) -> bool {
    let plain = url.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '<' | '>' | '|' | '"'));
    plain && url.contains("{id}") && (url.starts_with("https://") || url.starts_with("http://"))
}

impl fmt::Debug for SlackBuilder {
    /// Without the URL: it is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlackBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Sink for Slack {
    fn name(&self) -> &str {
        &self.name
    }

    fn pace(&self) -> Pace {
        self.pace
    }

    async fn deliver(&self, event: &Event) -> Result<(), Undelivered> {
        let text = text(event.state(), self.page_url.as_deref());
        let message = serde_json::json!({ "text": text, "unfurl_links": false });
        judge(&self.target.post(HeaderMap::new(), message.to_string()).await?)
    }
}

/// Slack's words for what no repetition mends are 4xx: a channel that is gone, a webhook that was taken back.
fn judge(answer: &Answer) -> Result<(), Undelivered> {
    let status = answer.status.as_u16();
    if !matches!(status, 400 | 403 | 404 | 410) {
        return answer.judge();
    }
    let word = str::from_utf8(&answer.body).unwrap_or_default().trim();
    let is_word = word.len() <= 40 && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let word = if is_word { word } else { "" };
    Err(Undelivered::give_up(format!("it answers {status} {word}").trim_end()))
}

/// The message, in Slack's `mrkdwn`.
fn text(state: &BatchState, page_url: Option<&str>) -> String {
    let (head, counts) = (state.head(), state.head().counts);
    let (mark, ended) = match head.status {
        BatchStatus::Completed => (":white_check_mark:", "is completed"),
        BatchStatus::Partial => (":warning:", "is partly completed"),
        BatchStatus::Failed => (":x:", "has failed"),
        BatchStatus::Cancelled => (":no_entry_sign:", "was cancelled"),
        BatchStatus::Queued | BatchStatus::Processing => (":hourglass:", "is being processed"),
    };
    let name = page_url.map_or_else(
        || head.batch_id.to_string(),
        |url| format!("<{}|{}>", escaped(&url.replace("{id}", head.batch_id.as_str())), head.batch_id),
    );
    let mut text = format!("{mark} Batch {name} {ended}: {} of {} photos completed", counts.completed, counts.total);
    // Writing into a String never fails.
    if counts.failed > 0 {
        let _ = write!(text, ", {} failed", counts.failed);
    }
    let open = counts.queued + counts.processing;
    if open > 0 {
        let _ = write!(text, ", {open} not done");
    }
    let failed: Vec<_> = state.photos().filter(|photo| photo.status == PhotoStatus::Failed).collect();
    for photo in failed.iter().take(MOST_FAILURES) {
        let why = photo.error.as_deref().map(one_line).unwrap_or_default();
        let _ = write!(text, "\n• {}{}", photo.photo_id, if why.is_empty() { why } else { format!(": {why}") });
    }
    let more = failed.len().saturating_sub(MOST_FAILURES);
    if more > 0 {
        let _ = write!(text, "\n… and {more} more");
    }
    text
}

/// On one line, cut, and without what Slack would read as a link or a mention.
fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut cut: String = line.chars().take(MOST_CHARS).collect();
    if cut.len() < line.len() {
        cut.push('…');
    }
    escaped(&cut)
}

/// Slack's three characters of control.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(status: &str, counts: [u32; 3], photos: &str) -> BatchState {
        let [queued, completed, failed] = counts;
        let json = format!(
            r#"{{"v":1,"batchId":"b-1","position":"7-9","status":"{status}","updatedAt":"2026-11-22T23:10:30.082Z",
            "counts":{{"total":{},"queued":{queued},"processing":0,"completed":{completed},"failed":{failed}}},
            "photos":[{photos}]}}"#,
            queued + completed + failed,
        );
        BatchState::from_json(json.as_bytes()).unwrap()
    }

    fn failure(id: u32, error: &str) -> String {
        let error = serde_json::to_string(error).unwrap();
        format!(r#"{{"photoId":"p{id}","status":"FAILED","version":{id},"error":{error}}}"#)
    }

    #[test]
    fn a_message_has_the_counts_and_the_page() {
        assert_eq!(
            text(&state("COMPLETED", [0, 24, 0], ""), Some("https://x.example/?a=1&b={id}")),
            ":white_check_mark: Batch <https://x.example/?a=1&amp;b=b-1|b-1> is completed: 24 of 24 photos completed"
        );
        assert_eq!(
            text(&state("CANCELLED", [2, 1, 0], ""), None),
            ":no_entry_sign: Batch b-1 was cancelled: 1 of 3 photos completed, 2 not done"
        );
    }

    #[test]
    fn failures_are_named_on_a_line_each_and_can_neither_link_nor_mention() {
        let mut photos = vec![failure(1, "<!channel> & <https://evil.example|click>\nnow"), failure(2, "")];
        photos.extend((3..=7).map(|id| failure(id, "no JPEG")));
        let photos = photos.join(",");
        assert_eq!(
            text(&state("PARTIAL", [0, 1, 7], &photos), None),
            ":warning: Batch b-1 is partly completed: 1 of 8 photos completed, 7 failed\n\
             • p1: &lt;!channel&gt; &amp; &lt;https://evil.example|click&gt; now\n\
             • p2\n• p3: no JPEG\n• p4: no JPEG\n• p5: no JPEG\n… and 2 more"
        );
        let long = text(&state("FAILED", [0, 0, 1], &failure(1, &"é".repeat(300))), None);
        assert!(long.ends_with(&format!("p1: {}…", "é".repeat(200))), "{long}");
    }

    #[test]
    fn a_page_is_a_url_with_the_id_in_it() {
        let build = |page: &str| Slack::builder("http://127.0.0.1/secret").allow_private(true).page_url(page).build();
        assert!(build("https://x.example/{id}").is_ok());
        for bad in ["", "https://x.example/", "x.example/{id}", "https://x.example/{id}|a", "https://x.example/ {id}"] {
            let error = build(bad).unwrap_err().to_string();
            assert!(error.contains("{id}") && !error.contains("secret"), "{error}");
        }
    }
}
