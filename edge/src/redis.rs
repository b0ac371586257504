//! Redis over HTTP, as this Worker uses it.

use std::cell::Cell;

use redis_rest::{Encoding, Reply, reply::pipeline_replies, request};
use wire::{BatchId, BatchState, Changes, Position, Stored, keys, limits::MAX_REPLY_BYTES, message, script};
use worker::Request;

use crate::{
    request::{self as http, Failure},
    settings::Settings,
};

/// How Redis says that the value under a key is of another type than the command is for.
const WRONG_TYPE: &str = "WRONGTYPE";

/// How Upstash and the gateway say that an answer has more bytes than they send.
const ANSWER_TOO_LARGE: &str = "ERR max request size exceeded";

/// A client of one Redis.
pub(crate) struct Redis {
    url: String,
    token: String,
    prefix: String,
    ttl_secs: u64,
    commands: Cell<u64>,
}

/// Redis gave no usable answer.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum RedisError {
    /// Nothing came back.
    #[error("Redis over HTTP does not answer at UPSTASH_REDIS_REST_URL: {0}")]
    Unreachable(String),
    /// The token is wrong.
    #[error("Redis over HTTP refuses the token; check UPSTASH_REDIS_REST_TOKEN. It says: {0}")]
    Token(String),
    /// It answered no.
    #[error("Redis over HTTP answered {0}: {1}")]
    Refused(u16, String),
    /// Its answer has more bytes than are read.
    #[error("Redis over HTTP answered with more than {0} bytes")]
    TooLarge(usize),
    /// What it answered is not of the protocol.
    #[error("UPSTASH_REDIS_REST_URL does not speak Redis over HTTP: {0}")]
    Protocol(String),
}

/// What stands in a batch's hash.
pub(crate) enum Hash {
    /// A batch.
    Batch(Stored),
    /// Nothing.
    Absent,
    /// Something that can't be read as this batch; the words are for the log.
    Unreadable(String),
}

/// Where a batch stands, and whose it is.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub(crate) position: Position,
    pub(crate) owner: Option<String>,
}

impl Redis {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            url: settings.redis_url.clone(),
            token: settings.redis_token.clone(),
            prefix: settings.key_prefix.clone(),
            ttl_secs: settings.state_ttl_secs,
            commands: Cell::new(0),
        }
    }

    /// Commands sent since the last call.
    pub(crate) fn take_commands(&self) -> u64 {
        self.commands.take()
    }

    async fn post(&self, path: &str, body: &str) -> Result<Vec<u8>, RedisError> {
        let url = format!("{}{path}", self.url);
        let request = http::request(&url, Some(&self.token), "application/json", Some(body))
            .map_err(|error| RedisError::Unreachable(error.to_string()))?;
        let answer = http::send(request, MAX_REPLY_BYTES).await.map_err(|failure| match failure {
            Failure::TooLarge(limit) => RedisError::TooLarge(limit),
            Failure::NoAnswer(words) => RedisError::Unreachable(words),
        })?;
        match answer.status {
            200 => Ok(answer.body),
            status => Err(refused(status, &answer.body)),
        }
    }

    async fn command(&self, args: &[&str]) -> Result<Reply, RedisError> {
        self.commands.set(self.commands.get() + 1);
        let body = self.post("/", &request::command(args)).await?;
        let reply = Reply::from_body(&body, Encoding::Plain).map_err(|e| RedisError::Protocol(e.to_string()))?;
        reply.into_result().map_err(|words| RedisError::Refused(200, words))
    }

    async fn pipeline(&self, commands: &[Vec<String>]) -> Result<Vec<Reply>, RedisError> {
        self.commands.set(self.commands.get() + commands.len() as u64);
        let body = self.post("/pipeline", &request::pipeline(commands)).await?;
        pipeline_replies(&body, Encoding::Plain).map_err(|e| RedisError::Protocol(e.to_string()))
    }

    /// Whether Redis answers.
    pub(crate) async fn ping(&self) -> Result<(), RedisError> {
        self.command(&["PING"]).await.map(drop)
    }

    /// Reads a batch's hash.
    pub(crate) async fn hash(&self, batch: &BatchId) -> Result<Hash, RedisError> {
        let reply = match self.command(&["HGETALL", &keys::hash(&self.prefix, batch)]).await {
            // A string of an older design stands under the key: it is no state of ours.
            Err(RedisError::Refused(_, words)) if words.starts_with(WRONG_TYPE) => {
                return Ok(Hash::Unreadable(words));
            }
            // Someone else's, or broken: larger than any batch. The others in this Redis can be read all the same.
            Err(error @ RedisError::TooLarge(_)) => return Ok(Hash::Unreadable(error.to_string())),
            Err(RedisError::Refused(_, words)) if words.starts_with(ANSWER_TOO_LARGE) => {
                return Ok(Hash::Unreadable(words));
            }
            reply => reply?,
        };
        let fields = reply.pairs().ok_or_else(|| RedisError::Protocol("HGETALL gave no pairs".into()))?;
        Ok(match BatchState::from_hash(batch, fields) {
            Ok(Some(stored)) => Hash::Batch(stored),
            Ok(None) => Hash::Absent,
            Err(error) => Hash::Unreadable(error.to_string()),
        })
    }

    /// Reads the stored position, then publishes a ping: in this order, so that a replica that got the ping has got
    /// everything up to that position.
    pub(crate) async fn ping_channel(&self, batch: &BatchId, nonce: &str) -> Result<Option<Position>, RedisError> {
        let publish = ["PUBLISH", &keys::channel(&self.prefix, batch), &message::ping(nonce)];
        let commands = [self.read_position(batch).to_vec(), publish.map(String::from).to_vec()];
        let replies = self.pipeline(&commands).await?;
        let refused = replies.iter().find_map(|reply| match reply {
            // Something else than a batch stands under the key: there is no position.
            Reply::Error(words) if !words.starts_with(WRONG_TYPE) => Some(words.clone()),
            _ => None,
        });
        if let Some(words) = refused {
            return Err(RedisError::Refused(200, words));
        }
        Ok(replies.first().and_then(position))
    }

    /// Reads where a batch stands and whose it is, and nothing else of it. `None`: nothing that has a position.
    pub(crate) async fn standing(&self, batch: &BatchId) -> Result<Option<Standing>, RedisError> {
        let [command, key, epoch, version] = self.read_position(batch);
        let command = [command, key, epoch, version, keys::field::OWNER.to_owned()];
        match self.command(&command.each_ref().map(String::as_str)).await {
            Err(RedisError::Refused(_, words)) if words.starts_with(WRONG_TYPE) => Ok(None),
            reply => {
                let reply = reply?;
                let owner = reply.as_array().and_then(|fields| fields.get(2)?.as_str()).map(ToOwned::to_owned);
                Ok(position(&reply).map(|position| Standing { position, owner }))
            }
        }
    }

    fn read_position(&self, batch: &BatchId) -> [String; 4] {
        let key = keys::hash(&self.prefix, batch);
        ["HMGET".to_owned(), key, keys::field::EPOCH.to_owned(), keys::field::VERSION.to_owned()]
    }

    /// Stores what the origin said, only where nothing is stored.
    pub(crate) async fn fill(&self, stored: &Stored) -> Result<(), RedisError> {
        let settings = script::Settings::new(&self.prefix, self.ttl_secs);
        let whole = Changes::full(&stored.state, stored.owner.clone());
        let call = script::fill(settings, &whole).map_err(|error| RedisError::Protocol(error.to_string()))?;
        let mut args = vec!["EVAL", script::UPDATE_LUA, "1", &call.key];
        args.extend(call.args.iter().map(String::as_str));
        self.command(&args).await.map(drop)
    }

    /// Adds to the shared counters and sets, or deletes, this object's gauge, in one call.
    pub(crate) async fn add_metrics(
        &self,
        series: &[(String, f64)],
        gauge_field: String,
        gauge: Option<String>,
    ) -> Result<(), RedisError> {
        let key = keys::metrics(&self.prefix);
        let mut commands: Vec<Vec<String>> = (series.iter())
            .map(|(name, delta)| vec!["HINCRBYFLOAT".into(), key.clone(), name.clone(), delta.to_string()])
            .collect();
        commands.push(match gauge {
            Some(gauge) => vec!["HSET".into(), key, gauge_field, gauge],
            None => vec!["HDEL".into(), key, gauge_field],
        });
        self.pipeline(&commands).await.map(drop)
    }

    /// The shared counters.
    pub(crate) async fn metrics(&self) -> Result<Reply, RedisError> {
        self.command(&["HGETALL", &keys::metrics(&self.prefix)]).await
    }

    /// Deletes fields of the shared counters.
    pub(crate) async fn forget_metrics(&self, fields: &[String]) -> Result<(), RedisError> {
        let key = keys::metrics(&self.prefix);
        let mut args = vec!["HDEL", key.as_str()];
        args.extend(fields.iter().map(String::as_str));
        self.command(&args).await.map(drop)
    }

    /// The request that subscribes to a batch's channel.
    pub(crate) fn subscribe_request(&self, batch: &BatchId) -> worker::Result<Request> {
        let url = format!("{}/subscribe/{}", self.url, keys::channel(&self.prefix, batch));
        http::request(&url, Some(&self.token), "text/event-stream", Some("[]"))
    }
}

/// The position in the reply to `HMGET epoch version`.
fn position(reply: &Reply) -> Option<Position> {
    let numbers = reply.as_array().unwrap_or_default();
    let number = |index: usize| numbers.get(index)?.as_str()?.parse().ok();
    Position::new(number(0)?, number(1)?).ok()
}

/// What an answer that is not 200 means.
pub(crate) fn refused(status: u16, body: &[u8]) -> RedisError {
    let words = match Reply::from_body(body, Encoding::Plain) {
        Ok(Reply::Error(words)) => words,
        // Someone else's words, that of a proxy say.
        _ => "it does not say why".to_owned(),
    };
    match status {
        401 => RedisError::Token(words),
        status => RedisError::Refused(status, words),
    }
}
