//! Asks the parts, and has `line` say what came of it.

use std::{
    collections::HashMap,
    io,
    time::{Duration, UNIX_EPOCH},
};

use batchcast_publisher::{
    BatchId, BatchState, BatchStatus, Changes, Counts, Head, Position, PublishError, Published, Publisher,
    token::{Batches, Claims, Expected, Grant, TokenError, mint},
};
use http::header;
use redis_rest::{Encoding, Frame, Reply, event_stream::Item, request};
use wire::{
    Message, keys,
    token::{Kind, TICKET_LIFE, Unverified},
};

use super::{
    line::{self, Asked, Line, RestRead},
    settings::Settings,
};
use crate::{
    Failure,
    http_client::{Ask, Events, Http},
    redis_client::Redis,
    target::Target,
    time::now_ms,
};

/// How long Redis keeps the temporary batch where it can't be deleted.
const BATCH_LIFE: Duration = Duration::from_secs(60);
/// How long a token that is made here is good, in milliseconds: longer than a ticket made of it, so that the ticket
/// tells the edge's time.
const TOKEN_LIFE: u64 = 3 * TICKET_LIFE;
/// How long an update may take from Redis through a subscription.
const HEARD_WITHIN: Duration = Duration::from_secs(5);
/// The project whose batches are listed at the edge: nobody's.
const PROJECT: &str = "batchcast-doctor";

/// Asks for all of it, and tells each line as it is known.
pub(super) async fn examine(settings: &Settings, say: &mut impl FnMut(Line) -> io::Result<()>) -> Result<(), Failure> {
    let http = match Http::for_targets([&settings.rest, &settings.edge, &settings.origin].into_iter().flatten()) {
        Ok(http) => http,
        Err(error) => {
            say(Line::fail("TLS", error.to_string(), "mend that; nothing else can be asked until then"))?;
            return Ok(());
        }
    };
    let (token, said) = Token::find(settings);
    said.into_iter().try_for_each(&mut *say)?;
    let [batch, stranger] = [new_id()?, new_id()?];
    let mut probe = Probe { settings, http, batch, stranger, token, written: None };

    let publisher = probe.redis(say).await?;
    probe.rest(publisher.as_ref(), say).await?;
    probe.edge(say).await?;
    probe.origin(say).await?;
    if let Some(publisher) = publisher.filter(|_| probe.written.is_some()) {
        // Where that fails it is gone by itself soon.
        let _ = publisher.invalidate(&probe.batch).await;
    }
    Ok(())
}

/// An id that nobody has.
fn new_id() -> io::Result<BatchId> {
    BatchId::new(&format!("doctor-{:016x}", rand::random::<u64>())).map_err(io::Error::other)
}

/// What shows the edge who asks.
struct Token {
    /// The user that a given token names.
    subject: Option<String>,
    /// None: one is made, which names the batches.
    given: Option<String>,
    /// In milliseconds since the Unix epoch.
    expires: u64,
}

impl Token {
    /// The given token is read, not checked: that is the edge's to do.
    fn find(settings: &Settings) -> (Self, Option<Line>) {
        const CHECK: &str = "token";
        let made = Self { subject: None, given: None, expires: now_ms() + TOKEN_LIFE };
        let Some(text) = &settings.token else { return (made, None) };
        let expected = Expected::new(settings.issuer.clone(), settings.audience.clone());
        let claims = Unverified::parse(text).and_then(|token| token.admit(true, Kind::Access, &expected, now_ms()));
        match claims {
            Ok(claims) => {
                let line = Line::ok(CHECK, "BATCHCAST_TOKEN can be read, and has not expired");
                let (subject, expires) = (claims.grant.subject, claims.expires);
                (Self { subject, given: Some(text.clone()), expires }, Some(line))
            }
            Err(error) => {
                let fix = match error {
                    TokenError::Audience => "set AUTH_AUDIENCE to the edge's, or get a token for it",
                    TokenError::Issuer => "set AUTH_ISSUER to the edge's, or get a token of it",
                    _ => "set BATCHCAST_TOKEN to a new token, or leave it out and set AUTH_SECRET",
                };
                (Self { given: Some(text.clone()), ..made }, Some(Line::fail(CHECK, error.to_string(), fix)))
            }
        }
    }
}

struct Probe<'a> {
    settings: &'a Settings,
    http: Http,
    /// The temporary one.
    batch: BatchId,
    /// One that is never written.
    stranger: BatchId,
    token: Token,
    /// Where the temporary batch stands in Redis.
    written: Option<Position>,
}

impl Probe<'_> {
    /// Redis over TCP, as a publisher uses it: connects, tells its time, runs the script.
    async fn redis(&mut self, say: &mut impl FnMut(Line) -> io::Result<()>) -> Result<Option<Publisher>, Failure> {
        let (Some(url), Some(prefix)) = (&self.settings.redis_url, &self.settings.key_prefix) else {
            say(Line::skipped("Redis", "without a REDIS_URL and a KEY_PREFIX that can be used"))?;
            return Ok(None);
        };
        let builder = Publisher::builder(crate::settings(url)?).key_prefix(prefix).state_ttl(BATCH_LIFE);
        let publisher = match builder.connect().await {
            Ok(publisher) => publisher,
            Err(error) => {
                say(line::redis(&Err(error)))?;
                return Ok(None);
            }
        };
        let read = publisher.cached(&self.batch).await.map(drop);
        let is_there = read.is_ok();
        say(line::redis(&read))?;
        if !is_there {
            return Ok(None);
        }
        say(line::clock("clock of Redis", redis_skew(url, prefix).await))?;
        let published = self.publish(&publisher, 1).await;
        say(line::script(&published))?;
        Ok(self.written.is_some().then_some(publisher))
    }

    /// Publishes the temporary batch at this version, whole.
    async fn publish(&mut self, publisher: &Publisher, version: u64) -> Result<Published, PublishError> {
        let epoch = self.written.map_or_else(now_ms, Position::epoch);
        let position = Position::new(epoch, version)
            .map_err(|error| PublishError::Config { setting: "this machine's clock", problem: error.to_string() })?;
        let state = temporary(&self.batch, position)?;
        let published = publisher.publish(Changes::full(&state, self.token.subject.clone())).await?;
        self.written = Some(position);
        Ok(published)
    }

    /// Redis over HTTP, as the edge uses it.
    async fn rest(
        &mut self,
        publisher: Option<&Publisher>,
        say: &mut impl FnMut(Line) -> io::Result<()>,
    ) -> Result<(), Failure> {
        const CHECK: &str = "Redis over HTTP";
        let Some(rest) = &self.settings.rest else {
            say(Line::skipped(CHECK, "UPSTASH_REDIS_REST_URL is not set, or can't be used"))?;
            return Ok(());
        };
        let Some(token) = &self.settings.rest_token else {
            say(Line::fail(CHECK, "there is no token for it", "set UPSTASH_REDIS_REST_TOKEN"))?;
            return Ok(());
        };
        let (Some(written), Some(publisher)) = (self.written, publisher) else {
            say(Line::skipped(CHECK, "nothing was written to Redis that it could read"))?;
            return Ok(());
        };
        let read = self.read_rest(rest, token).await;
        say(line::rest(&read, written))?;
        if read != RestRead::Read(Some(written)) {
            say(Line::skipped("live updates", "without that"))?;
            return Ok(());
        }
        let heard = self.hear(rest, token, publisher).await;
        say(line::pubsub(&heard))?;
        Ok(())
    }

    async fn read_rest(&self, rest: &Target, token: &str) -> RestRead {
        let prefix = self.settings.key_prefix.as_deref().unwrap_or_default();
        let body = request::command(["HGETALL", &keys::hash(prefix, &self.batch)]);
        let ask = Ask::post(rest.at("/"), "application/json", body).bearer(Some(token));
        let answer = match self.http.ask(ask).await {
            Ok(answer) => answer,
            Err(error) => return RestRead::NoAnswer(error.to_string()),
        };
        match (answer.status, Reply::from_body(&answer.body, Encoding::Plain)) {
            (status, Ok(Reply::Error(words))) => RestRead::Refused(status, words),
            (200, Ok(reply)) => match reply.pairs() {
                Some(pairs) => RestRead::Read(position_of(&self.batch, &pairs.into_iter().collect())),
                None => RestRead::NotRedis,
            },
            _ => RestRead::NotRedis,
        }
    }

    /// Subscribes over HTTP, publishes over TCP, and waits for it.
    async fn hear(&mut self, rest: &Target, token: &str, publisher: &Publisher) -> Result<(), String> {
        let prefix = self.settings.key_prefix.as_deref().unwrap_or_default();
        let address = rest.at(&format!("/subscribe/{}", keys::channel(prefix, &self.batch)));
        let ask = Ask::post(address, "application/json", "[]").bearer(Some(token));
        let opened = self.http.stream(ask).await.map_err(|error| error.to_string())?;
        let mut events = opened.map_err(|answer| match Reply::from_body(&answer.body, Encoding::Plain) {
            Ok(Reply::Error(words)) => format!("SUBSCRIBE is answered with {}: {words}", answer.status),
            _ => format!("SUBSCRIBE is answered with {}, and not by a stream", answer.status),
        })?;
        await_frame(&mut events, "the subscription was not confirmed", |frame| {
            matches!(frame, Frame::Subscribed { .. })
        })
        .await?;
        self.publish(publisher, 2).await.map_err(|error| error.to_string())?;
        let is_ours = |frame: Frame<'_>| match frame {
            Frame::Message { payload, .. } => {
                matches!(Message::parse(payload.as_bytes()), Message::Changes(news) if news.head.position.version() == 2)
            }
            _ => false,
        };
        await_frame(&mut events, "an update published over TCP did not come", is_ours).await
    }

    async fn edge(&self, say: &mut impl FnMut(Line) -> io::Result<()>) -> Result<(), Failure> {
        let Some(edge) = &self.settings.edge else {
            say(Line::skipped("edge", "EDGE_URL (--edge) is not set, or can't be used"))?;
            return Ok(());
        };
        let before = now_ms();
        let health = self.http.ask(Ask::get(edge.at("/healthz"))).await;
        let after = now_ms();
        let line = line::health(&health);
        let is_up = line.verdict == line::Verdict::Ok;
        say(line)?;
        if !is_up {
            say(Line::skipped("the rest of the edge", "without an answer of /healthz"))?;
            return Ok(());
        }
        let date_skew = date_skew(&health, before, after);
        say(line::ready(&self.http.ask(Ask::get(edge.at("/readyz"))).await))?;

        let address = |batch: &BatchId| edge.at(&format!("/api/batches/{batch}"));
        let stranger = self.http.ask(Ask::get(address(&self.batch))).await;
        let is_let_in = stranger.as_ref().is_ok_and(|answer| answer.status != 401);
        say(line::stranger(&stranger, edge.is_loopback()))?;
        let token = self.token();
        if token.is_none() && !is_let_in {
            say(Line::skipped("the rest of the edge", "without a token: set AUTH_SECRET, or BATCHCAST_TOKEN"))?;
        } else {
            let ask = |address: String| self.http.ask(Ask::get(address).bearer(token.as_deref()));
            // Past its memory: what was just asked for as a stranger may be held.
            let read =
                Ask::get(address(&self.batch)).bearer(token.as_deref()).header(header::CACHE_CONTROL, "no-cache");
            let read = self.http.ask(read).await;
            let is_taken = read.as_ref().is_ok_and(|answer| answer.status != 401);
            let [of_token, of_redis] = line::round_trip(&read, self.written, self.token.given.is_none());
            if token.is_some() {
                say(of_token)?;
            }
            say(of_redis)?;
            if is_taken {
                // Who gets no answer of Redis does not know what Redis holds, whatever the origin says.
                if read.as_ref().is_ok_and(|answer| answer.status == 503) {
                    say(Line::skipped("edge asks the origin", "while the edge can't read Redis"))?;
                } else {
                    say(line::last_resort(&ask(address(&self.stranger)).await))?;
                }
                let list = ask(edge.at(&format!("/api/projects/{PROJECT}/batches"))).await;
                say(line::pass_through(&list, self.settings.origin.is_some()))?;
            }
        }
        let ticket_skew = self.ticket_skew(edge, token.as_deref()).await;
        say(line::clock("clock of the edge", ticket_skew.or(date_skew)))?;
        match &self.settings.metrics_token {
            None => say(Line::skipped("edge /api/metrics", "METRICS_TOKEN is not set"))?,
            Some(token) => {
                let metrics = self.http.ask(Ask::get(edge.at("/api/metrics")).bearer(Some(token))).await;
                say(line::metrics(&metrics))?;
            }
        }
        Ok(())
    }

    /// By how many milliseconds the Worker's clock, by which tokens expire, is ahead: a ticket tells it.
    async fn ticket_skew(&self, edge: &Target, token: Option<&str>) -> Option<i64> {
        let address = edge.at(&format!("/api/batches/{}/ticket", self.batch));
        let before = now_ms();
        let ticket = self.http.ask(Ask::post(address, "application/json", "").bearer(Some(token?))).await;
        ticket_skew(&ticket.ok()?.body, self.token.expires, before, now_ms())
    }

    /// The given token, or one that sees the two batches and nothing else.
    fn token(&self) -> Option<String> {
        if self.token.given.is_some() {
            return self.token.given.clone();
        }
        let batches = Batches::These(vec![self.batch.clone(), self.stranger.clone()]);
        let mut claims = Claims::new(Grant::new(None, batches), self.token.expires);
        claims.issuer.clone_from(&self.settings.issuer);
        claims.audience.extend(self.settings.audience.clone());
        Some(mint(self.settings.secrets.as_ref()?, &claims))
    }

    async fn origin(&self, say: &mut impl FnMut(Line) -> io::Result<()>) -> Result<(), Failure> {
        let Some(origin) = &self.settings.origin else {
            say(Line::skipped("origin", "ORIGIN_URL (--origin) is not set, or can't be used"))?;
            return Ok(());
        };
        let token = self.settings.origin_token.as_deref();
        let ask = Ask::get(origin.at(&format!("/api/batches/{}", self.stranger))).bearer(token);
        let asked = self.http.ask(ask.header(header::ACCEPT, "application/json")).await;
        say(line::origin(&asked, token.is_some()))?;
        Ok(())
    }
}

/// The temporary batch: open, with one photo that is not listed.
fn temporary(batch: &BatchId, position: Position) -> Result<BatchState, wire::StateError> {
    let counts = Counts { total: 1, queued: 1, ..Counts::default() };
    let updated_at = jiff::Timestamp::now().to_string();
    let head = Head::new(batch.clone(), position, BatchStatus::Queued, counts, updated_at);
    BatchState::new(head, [])
}

fn position_of(batch: &BatchId, fields: &HashMap<&str, &str>) -> Option<Position> {
    let stored = BatchState::from_hash(batch, fields.iter().map(|(name, value)| (*name, *value)));
    Some(stored.ok()??.state.position())
}

/// Waits for a frame that is as asked for.
async fn await_frame(events: &mut Events, without: &str, is_it: impl Fn(Frame<'_>) -> bool) -> Result<(), String> {
    let waiting = async {
        while let Some(item) = events.next().await? {
            if let Item::Event(event) = item
                && Frame::parse(&event.data).is_ok_and(&is_it)
            {
                return Ok(());
            }
        }
        Err("the subscription was ended".to_owned())
    };
    tokio::time::timeout(HEARD_WITHIN, waiting)
        .await
        .unwrap_or_else(|_| Err(format!("{without} within {} s", HEARD_WITHIN.as_secs())))
}

/// By how many milliseconds the clock of Redis is ahead; none where it does not tell.
async fn redis_skew(url: &str, prefix: &str) -> Option<i64> {
    let mut redis = Redis::connect(url, prefix).await.ok()?;
    let before = now_ms();
    let (secs, micros): (u64, u64) = redis::cmd("TIME").query_async(&mut redis.connection).await.ok()?;
    Some(skew(secs * 1_000 + micros / 1_000, before, now_ms()))
}

/// The same of whoever gave this answer between `before` and `after`.
fn date_skew(asked: &Asked, before: u64, after: u64) -> Option<i64> {
    let date = httpdate::parse_http_date(asked.as_ref().ok()?.header("date")?).ok()?;
    let millis = u64::try_from(date.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()?;
    // It has whole seconds: half of one has passed on average.
    Some(skew(millis + 500, before, after))
}

/// The same of the edge, of the answer to a request for a ticket; none where it was refused, or the token behind it,
/// which ends at `expires`, is about to end, and the ticket with it.
fn ticket_skew(body: &[u8], expires: u64, before: u64, after: u64) -> Option<i64> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Ticket {
        expires_at: u64,
    }
    let Ticket { expires_at } = serde_json::from_slice(body).ok()?;
    (expires_at < expires).then(|| skew(expires_at.saturating_sub(TICKET_LIFE), before, after))
}

fn skew(theirs: u64, before: u64, after: u64) -> i64 {
    theirs.cast_signed() - before.midpoint(after).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_compared_with_the_middle_of_the_question() {
        assert_eq!([skew(1_000, 900, 1_100), skew(1_500, 900, 1_100), skew(0, 900, 1_100)], [0, 500, -1_000]);
    }

    #[test]
    fn a_ticket_tells_the_time_unless_it_ends_with_its_token() {
        let (now, body) = (1_795_389_030_000, br#"{"ticket":"t","expiresAt":1795389331000}"#);
        assert_eq!(ticket_skew(body, now + 3 * TICKET_LIFE, now - 100, now + 100), Some(1_000));
        assert_eq!(ticket_skew(body, 1_795_389_331_000, now, now), None);
        assert_eq!(ticket_skew(br#"{"detail":"no"}"#, now + 3 * TICKET_LIFE, now, now), None);
    }

    #[test]
    fn the_temporary_batch_is_one_and_its_ids_are_no_others() {
        let (batch, position) = (new_id().unwrap(), "7-1".parse().unwrap());
        assert!(batch.as_str().starts_with("doctor-") && batch != new_id().unwrap());
        assert!(!temporary(&batch, position).unwrap().is_terminal());
    }
}
