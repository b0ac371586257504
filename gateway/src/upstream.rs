//! Requests on the one connection to Redis that they all share.
//!
//! While there is none, requests are refused at once and in words; they are never queued for later. A reply
//! is passed on as Redis gave it, errors included.

use crate::catalogue::Verdict;
use crate::connection::{CONNECT_TIMEOUT, Connection, State, error_text, keep_connected};
use crate::metrics::Metrics;
use redis::{Cmd, Pipeline, Value};
use redis_rest::refusal::refusal;
use redis_rest::{Args, Reply};
use std::sync::Arc;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

/// All requests' way to Redis. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Upstream {
    state: watch::Receiver<State>,
    /// Told when a request failed, so that the connection is asked whether it is alive.
    suspect: Arc<Notify>,
    metrics: Arc<Metrics>,
}

/// There is no answer of Redis to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// There is no connection: nothing was sent.
    #[error("ERR Redis is not reachable; nothing was sent, try again shortly")]
    NotConnected,
    /// The connection went, or Redis was too slow: the commands may have run.
    #[error("ERR Redis did not answer; the commands may have been executed")]
    Unanswered,
}

impl Upstream {
    /// Starts the task that keeps the connection. It ends when the last clone is dropped.
    pub fn spawn(client: redis::Client, metrics: Arc<Metrics>) -> Self {
        let (sender, state) = watch::channel(State::Connecting);
        let suspect = Arc::new(Notify::new());
        let upstream = Self { state, suspect: Arc::clone(&suspect), metrics: Arc::clone(&metrics) };
        tokio::spawn(async move {
            tokio::select! {
                () = sender.closed() => {}
                () = keep_connected(&client, &sender, &suspect, &metrics) => {}
            }
        });
        upstream
    }

    /// Runs commands in order, not atomically; one reply each. A command that must not pass fails alone, as
    /// if Redis had refused it.
    ///
    /// # Errors
    /// [`Unavailable`] without replies; an error of Redis is a reply.
    pub async fn run(&self, commands: &[Args]) -> Result<Vec<Reply>, Unavailable> {
        let connection = self.connection().await?;
        let mut verdicts = Vec::with_capacity(commands.len());
        for command in commands {
            verdicts.push(self.verdict(&connection, command).await?);
        }
        let sent: Vec<&Args> =
            commands.iter().zip(&verdicts).filter(|(_, verdict)| verdict.is_ok()).map(|(command, _)| command).collect();
        let mut replies = self.send(&connection, &sent).await?.into_iter();
        let replies = verdicts.into_iter().map(|verdict| match verdict {
            Ok(()) => replies.next().ok_or(Unavailable::Unanswered),
            Err(words) => Ok(Reply::Error(words)),
        });
        replies.collect()
    }

    /// Runs commands as one transaction: nothing of anybody else's comes between.
    ///
    /// # Errors
    /// [`Unavailable`]. The inner error is for a transaction that was refused, or that Redis discarded, whole.
    pub async fn run_atomic(&self, commands: &[Args]) -> Result<Result<Vec<Reply>, String>, Unavailable> {
        let connection = self.connection().await?;
        for command in commands {
            if let Err(words) = self.verdict(&connection, command).await? {
                return Ok(Err(words));
            }
        }
        let (multi, exec) = (vec![b"MULTI".to_vec()], vec![b"EXEC".to_vec()]);
        // One piece of bytes on a connection that writes piece by piece: that is what keeps it together.
        let all: Vec<&Args> = [&multi].into_iter().chain(commands).chain([&exec]).collect();
        match self.send(&connection, &all).await?.pop() {
            Some(Reply::Array(replies)) => Ok(Ok(replies)),
            Some(Reply::Error(words)) => Ok(Err(words)),
            _ => Err(Unavailable::Unanswered),
        }
    }

    /// Told by whoever has reason to doubt the connection; it is then checked at once.
    pub fn suspect(&self) -> Arc<Notify> {
        Arc::clone(&self.suspect)
    }

    /// Whether Redis answers.
    ///
    /// # Errors
    /// The reason why it does not, for operators.
    pub fn status(&self) -> Result<(), String> {
        match &*self.state.borrow() {
            State::Up(_) => Ok(()),
            State::Connecting => Err("the connection to Redis is being made".to_owned()),
            State::Down(reason) => Err(format!("no connection to Redis: {reason}")),
        }
    }

    /// The present connection. One that is just being made is waited for: whether it comes is known soon.
    async fn connection(&self) -> Result<Connection, Unavailable> {
        let mut state = self.state.clone();
        let decided = timeout(CONNECT_TIMEOUT, state.wait_for(|state| !matches!(state, State::Connecting)));
        match decided.await {
            Ok(Ok(state)) => match &*state {
                State::Up(connection) => Ok(connection.clone()),
                State::Connecting | State::Down(_) => Err(Unavailable::NotConnected),
            },
            Ok(Err(_)) | Err(_) => Err(Unavailable::NotConnected),
        }
    }

    /// Whether the command may pass, and the server knows it: asked once a name and connection.
    async fn verdict(&self, connection: &Connection, command: &Args) -> Result<Verdict, Unavailable> {
        if let Some(words) = refusal(command) {
            return Ok(Err(words));
        }
        let name = &command[0]; // One without a name was refused.
        if connection.catalogue.knows(name) {
            return Ok(Ok(()));
        }
        let question = vec![b"COMMAND".to_vec(), b"INFO".to_vec(), name.clone()];
        let answer = self.send(connection, &[&question]).await?;
        Ok(connection.catalogue.learn(name, answer.first()))
    }

    async fn send(&self, connection: &Connection, commands: &[&Args]) -> Result<Vec<Reply>, Unavailable> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        self.metrics.commands.add(commands.len());
        let mut pipeline = Pipeline::with_capacity(commands.len());
        for command in commands {
            pipeline.add_command(packed(command));
        }
        let answer = connection.redis.clone().send_packed_commands(&pipeline, 0, commands.len()).await;
        match answer {
            Ok(values) => Ok(values.into_iter().map(reply).collect()),
            Err(error) => {
                tracing::warn!(%error, "a request to Redis failed");
                self.suspect.notify_one();
                Err(Unavailable::Unanswered)
            }
        }
    }
}

fn packed(command: &Args) -> Cmd {
    let mut packed = Cmd::with_capacity(command.len(), command.iter().map(Vec::len).sum());
    for arg in command {
        packed.arg(arg.as_slice());
    }
    packed
}

/// A value as the connection gives it, in RESP2's kinds.
fn reply(value: Value) -> Reply {
    match value {
        Value::Nil => Reply::Nil,
        Value::Int(number) => Reply::Int(number),
        Value::BulkString(bytes) => Reply::Bulk(bytes),
        Value::Array(values) => Reply::Array(values.into_iter().map(reply).collect()),
        Value::SimpleString(text) => Reply::Status(text),
        Value::Okay => Reply::Status("OK".to_owned()),
        Value::ServerError(error) => Reply::Error(error_text(error.code(), error.details())),
        // The connection speaks RESP2, which has no other kinds.
        _ => Reply::Error("ERR the gateway does not know this kind of reply".to_owned()),
    }
}
