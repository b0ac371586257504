//! Requests on the one connection to Redis that they all share.
//!
//! While there is none, requests are refused at once and in words; they are never queued for later. A reply
//! is passed on as Redis gave it, errors included, but for what Upstash words otherwise (`dialect`).

use crate::access::Rights;
use crate::catalogue::Known;
pub(crate) use crate::connection::Unavailable;
use crate::connection::{Connection, SLICE, State, keep_connected};
use crate::dialect::{self, Finish, Scripts};
use crate::metrics::Metrics;
use crate::target::{CONNECT_TIMEOUT, Target};
use redis::{Cmd, Pipeline, RedisResult};
use redis_rest::refusal::{no_permission, refusal};
use redis_rest::{Args, Reply};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

/// How a server says that it is no master, or no longer.
const READ_ONLY: &str = "READONLY ";

/// A cluster has no order of all its keys, and one node's are not all.
const SCAN_IN_CLUSTER: &str = "ERR SCAN is not available in a cluster: it would show the keys of one node";

/// Commands with options that decide whether they wait.
const MAY_WAIT: [&[u8]; 2] = [b"XREAD", b"XREADGROUP"];

/// All requests' way to Redis. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    state: watch::Receiver<State>,
    /// Told when a request failed, so that the connection is asked whether it is alive.
    suspect: Arc<Notify>,
    scripts: Arc<Scripts>,
    metrics: Arc<Metrics>,
}

impl Upstream {
    /// Starts the task that keeps the connection. It ends when the last clone is dropped.
    pub(crate) fn spawn(target: Target, response_timeout: Duration, metrics: Arc<Metrics>) -> Self {
        let (sender, state) = watch::channel(State::Connecting);
        let suspect = Arc::new(Notify::new());
        let upstream =
            Self { state, suspect: Arc::clone(&suspect), scripts: Arc::default(), metrics: Arc::clone(&metrics) };
        tokio::spawn(async move {
            tokio::select! {
                () = sender.closed() => {}
                () = keep_connected(&target, response_timeout, &sender, &suspect, &metrics) => {}
            }
        });
        upstream
    }

    /// Runs one command. One that must not pass fails as if Redis had refused it.
    ///
    /// # Errors
    /// [`Unavailable`] without a reply; an error of Redis is a reply.
    pub(crate) async fn run(&self, mut command: Args, rights: Rights) -> Result<Reply, Unavailable> {
        let connection = self.connection().await?;
        match self.prepare(&connection, &mut command, rights).await? {
            Ok(finish) => {
                self.metrics.commands.add(1);
                let reply = self.answered(connection.send(&packed(&command)).await)?;
                Ok(self.finish(finish, reply))
            }
            Err(words) => Ok(Reply::Error(words)),
        }
    }

    /// Runs commands in order, not atomically; one reply each. A command that must not pass fails alone.
    ///
    /// # Errors
    /// As [`Upstream::run`]. The inner error is for replies that have more than `limit_bytes`: how many they have. All
    /// commands have run all the same.
    pub(crate) async fn run_all(
        &self,
        mut commands: Vec<Args>,
        rights: Rights,
        limit_bytes: usize,
    ) -> Result<Result<Vec<Reply>, usize>, Unavailable> {
        let connection = self.connection().await?;
        let (mut replies, mut weight) = (Vec::with_capacity(commands.len()), 0);
        for (at, slice) in commands.chunks_mut(SLICE).enumerate() {
            let answered = self.run_slice(&connection, slice, rights).await;
            // Those of the slices before have run.
            let answered = if at == 0 { answered? } else { answered.map_err(|_| Unavailable::Unanswered)? };
            weight += answered.iter().map(Reply::weight_bytes).sum::<usize>();
            // All of a pipeline runs, also where nobody will read the answer.
            if weight <= limit_bytes {
                replies.extend(answered);
            }
        }
        Ok(if weight > limit_bytes { Err(weight) } else { Ok(replies) })
    }

    async fn run_slice(
        &self,
        connection: &Connection,
        commands: &mut [Args],
        rights: Rights,
    ) -> Result<Vec<Reply>, Unavailable> {
        let mut verdicts = Vec::with_capacity(commands.len());
        let mut pipeline = Pipeline::with_capacity(commands.len());
        for command in commands {
            let verdict = self.prepare(connection, command, rights).await?;
            if verdict.is_ok() {
                pipeline.add_command(packed(command));
            }
            verdicts.push(verdict);
        }
        let mut replies = Vec::new().into_iter();
        if !pipeline.is_empty() {
            self.metrics.commands.add(pipeline.len());
            replies = self.answered(connection.send_slice(&pipeline).await)?.into_iter();
        }
        let replies = verdicts.into_iter().map(|verdict| match verdict {
            Ok(finish) => replies.next().map(|reply| self.finish(finish, reply)).ok_or(Unavailable::Unanswered),
            Err(words) => Ok(Reply::Error(words)),
        });
        replies.collect()
    }

    /// Runs commands as one transaction: nothing of anybody else's comes between.
    ///
    /// # Errors
    /// [`Unavailable`]. The inner error is for a transaction that was refused, or that Redis discarded, whole.
    pub(crate) async fn run_atomic(
        &self,
        mut commands: Vec<Args>,
        rights: Rights,
    ) -> Result<Result<Vec<Reply>, String>, Unavailable> {
        let connection = self.connection().await?;
        let mut finishes = Vec::with_capacity(commands.len());
        let mut pipeline = Pipeline::with_capacity(commands.len());
        for command in &mut commands {
            match self.prepare(&connection, command, rights).await? {
                Ok(finish) => finishes.push(finish),
                Err(words) => return Ok(Err(words)),
            }
            pipeline.add_command(packed(command));
        }
        self.metrics.commands.add(pipeline.len() + 2);
        let mut all = self.answered(connection.send_atomic(&pipeline).await)?;
        let last = all.pop();
        all.iter().for_each(|queued| self.doubt_read_only(queued));
        match last {
            Some(Reply::Array(replies)) => {
                Ok(Ok(finishes.into_iter().zip(replies).map(|(finish, reply)| self.finish(finish, reply)).collect()))
            }
            Some(Reply::Error(words)) => Ok(Err(words)),
            _ => Err(Unavailable::Unanswered),
        }
    }

    /// Told by whoever has reason to doubt the connection; it is then checked at once.
    pub(crate) fn suspect(&self) -> Arc<Notify> {
        Arc::clone(&self.suspect)
    }

    /// Whether Redis answers.
    ///
    /// # Errors
    /// The reason why it does not, for operators.
    pub(crate) fn status(&self) -> Result<(), String> {
        match &*self.state.borrow() {
            State::Up(_) => Ok(()),
            State::Connecting => Err("the connection to Redis is being made".to_owned()),
            State::Down(reason) => Err(format!("no connection to Redis: {reason}")),
        }
    }

    /// The present connection. One that is just being made is waited for: whether it comes is known soon.
    async fn connection(&self) -> Result<Connection, Unavailable> {
        if let State::Up(connection) = &*self.state.borrow() {
            return Ok(connection.clone());
        }
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

    /// Puts a command into the words of plain Redis; the inner error refuses it.
    async fn prepare(
        &self,
        connection: &Connection,
        command: &mut Args,
        rights: Rights,
    ) -> Result<Result<Finish, String>, Unavailable> {
        let Some(name) = command.first().map(|name| name.to_ascii_uppercase()) else {
            return Ok(Err(refusal(command).unwrap_or_default()));
        };
        let known = match connection.catalogue.look(&name) {
            Some(known) if !MAY_WAIT.contains(&&name[..]) => known,
            known => {
                if let Some(words) = refusal(command) {
                    return Ok(Err(words));
                }
                match known {
                    Some(known) => known,
                    None => match self.learn(connection, &name).await? {
                        Ok(known) => known,
                        Err(words) => return Ok(Err(words)),
                    },
                }
            }
        };
        if name == b"SCAN" && connection.is_cluster() {
            return Ok(Err(SCAN_IN_CLUSTER.to_owned()));
        }
        if rights == Rights::Read && !known.only_reads(command) {
            return Ok(Err(no_permission(&String::from_utf8_lossy(&name))));
        }
        Ok(Ok(dialect::translate(&name, command, &self.scripts)))
    }

    /// Asks the server for a command: once a name and connection.
    async fn learn(&self, connection: &Connection, name: &[u8]) -> Result<Result<Known, String>, Unavailable> {
        self.metrics.commands.add(1);
        let question = packed(&vec![b"COMMAND".to_vec(), b"INFO".to_vec(), name.to_vec()]);
        // Nothing of the client's was sent.
        let answer = self.answered(connection.send(&question).await).map_err(|_| Unavailable::NotConnected)?;
        Ok(connection.catalogue.learn(name, &answer))
    }

    fn answered<T>(&self, answer: RedisResult<T>) -> Result<T, Unavailable> {
        answer.map_err(|error| {
            tracing::debug!(?error, "a request to Redis failed");
            self.suspect.notify_one();
            Unavailable::of(&error)
        })
    }

    fn finish(&self, finish: Finish, reply: Reply) -> Reply {
        self.doubt_read_only(&reply);
        finish.reply(reply)
    }

    fn doubt_read_only(&self, reply: &Reply) {
        if matches!(reply, Reply::Error(words) if words.starts_with(READ_ONLY)) {
            self.suspect.notify_one();
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
