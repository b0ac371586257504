//! A cluster: a connection a master, and the map of who has which slot.
//!
//! Not `redis::cluster_async`: with retries, it repeats commands whose end is unknown; without, it was seen to keep to a
//! map from before a failover. And it does not tell when a master was deposed: its acknowledged writes may be lost, while
//! its connections live on. Here the map is doubted after each failure, and looked at again while writes are recent.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::future::select_ok;
use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value};
use redis_address::{Nodes, Settings};
use tokio::time::Instant;

use super::{
    Loss, Subscription, Timeouts, Trouble,
    look::{self, Watched},
    routing::{self, Node, Slots},
    server::Server,
};
use crate::{PublishError, error::is_transport, schedule::RECENT};

/// How many nodes are asked for the map at the same time; the first answer counts.
const ASKED_TOGETHER: usize = 3;
/// How often a command is sent on to another node. Redis' own clients take 5 for enough, too.
const REDIRECTIONS: usize = 5;

pub(super) struct Cluster {
    nodes: Nodes,
    settings: Settings,
    timeouts: Timeouts,
    loss: Arc<Loss>,
    known: Mutex<Known>,
    /// Whose turn it is to be asked.
    turn: AtomicUsize,
    /// One look at a time; those who come meanwhile use what it finds.
    looking: tokio::sync::Mutex<()>,
}

/// What is known of the cluster.
#[derive(Default)]
struct Known {
    slots: Slots,
    /// Whom the map named that was read last; `slots` also has what nodes have said since.
    masters: Vec<Node>,
    /// The map is in doubt: look before it is used.
    doubted: bool,
    /// Counts looks.
    looks: u64,
    looked_at: Option<Instant>,
    written_at: Option<Instant>,
    /// Where the last `ASK` for a slot sent, until the slot has moved.
    moving_to: HashMap<u16, Node>,
    servers: HashMap<Node, Arc<Server>>,
}

impl Cluster {
    pub(super) fn new(nodes: Nodes, settings: Settings, timeouts: Timeouts, loss: Arc<Loss>) -> Self {
        let known = Known { doubted: true, ..Known::default() };
        let (known, turn, looking) = (Mutex::new(known), AtomicUsize::new(0), tokio::sync::Mutex::default());
        Self { nodes, settings, timeouts, loss, known, turn, looking }
    }

    /// Asks the master of `key`, and follows where it sends. What failed in the middle is not repeated here: the caller
    /// knows what is safe to repeat.
    pub(super) async fn ask(&self, command: &Cmd, key: Option<&[u8]>) -> Result<Value, Trouble> {
        let slot = key.map_or(0, routing::slot_of);
        if matches!(command.args_iter().next(), Some(redis::Arg::Simple(name)) if name == b"SCRIPT") {
            return self.load(command, slot).await;
        }
        let mut moving_to = None;
        for _ in 0..=REDIRECTIONS {
            let (node, answer) = match moving_to.take() {
                None => {
                    let (node, server) = self.master(slot).await?;
                    (node, server.ask(command).await)
                }
                Some(node) => {
                    let server = self.server(&node).map_err(Trouble::Connecting)?;
                    (node, server.ask_for_moving(command).await)
                }
            };
            let error = match answer {
                Ok(value) => return Ok(value),
                Err(Trouble::Connecting(error)) => return Err(self.doubt(Trouble::Connecting(error))),
                Err(Trouble::Answer(error)) => error,
            };
            match (error.kind(), redirection(&error, &node)) {
                // It ran nothing.
                (ErrorKind::Server(ServerErrorKind::Moved), Some(to)) => self.moved(slot, to),
                (ErrorKind::Server(ServerErrorKind::Ask), Some(to)) => {
                    self.known().moving_to.insert(slot, to.clone());
                    moving_to = Some(to);
                }
                _ if is_transport(&error) => return Err(self.doubt(Trouble::Answer(error))),
                _ => return Err(Trouble::Answer(error)),
            }
        }
        Err(self.doubt(Trouble::Answer(io::Error::other("the nodes of the cluster send in circles").into())))
    }

    /// Loads a script where it will be called: at the master of `slot`, and where the slot was said to be moving to.
    async fn load(&self, command: &Cmd, slot: u16) -> Result<Value, Trouble> {
        let moving_to = self.known().moving_to.get(&slot).cloned();
        if let Some(node) = moving_to {
            let loaded = self.server(&node).map_err(Trouble::Connecting)?.ask(command).await;
            if let Err(trouble) = loaded {
                // Another `ASK` will tell whether it still moves there.
                self.known().moving_to.remove(&slot);
                return Err(self.doubt(trouble));
            }
        }
        let (_, server) = self.master(slot).await?;
        server.ask(command).await.map_err(|trouble| self.doubt(trouble))
    }

    /// On any master: each hears what is published on any. Not on a node that only the address names: it may belong to the
    /// cluster no more, and would stay silent.
    pub(super) async fn subscribe(self: &Arc<Self>, channel: &str) -> Result<Subscription, PublishError> {
        let looks = Some(self.known()).filter(|known| known.slots.masters().is_empty()).map(|known| known.looks);
        if let Some(looks) = looks {
            self.look(looks).await.map_err(|trouble| trouble.told("CLUSTER"))?;
        }
        let mut last = PublishError::Unanswered { source: "no node of the cluster".into() };
        let masters = self.in_turn(Vec::new());
        for node in masters {
            let server = match self.server(&node) {
                Ok(server) => server,
                Err(error) => return Err(PublishError::from_connecting(error)),
            };
            match server.subscribe(channel).await {
                Err(error @ PublishError::Unanswered { .. }) => last = error,
                Err(error) => return Err(error),
                Ok(messages) => {
                    let cluster = Arc::clone(self);
                    return Ok(Subscription::Cluster(messages, Member { cluster, node }));
                }
            }
        }
        Err(last)
    }

    async fn master(&self, slot: u16) -> Result<(Node, Arc<Server>), Trouble> {
        let looks = {
            let known = self.known();
            known.doubted.then_some(known.looks)
        };
        if let Some(looks) = looks {
            // Who waits for another's look does not wait for his own as well.
            let looked = tokio::time::timeout(self.timeouts.connection, self.look(looks)).await;
            looked.map_err(|_| Trouble::Connecting(io::Error::from(io::ErrorKind::TimedOut).into()))??;
        }
        let node = {
            let mut known = self.known();
            known.written_at = Some(Instant::now());
            known.slots.master(slot).cloned()
        };
        let Some(node) = node else {
            let nobody = io::Error::other("no node of the cluster has this slot");
            return Err(self.doubt(Trouble::Connecting(nobody.into())));
        };
        let server = self.server(&node).map_err(Trouble::Connecting)?;
        Ok((node, server))
    }

    /// Asks some nodes for the map, unless somebody has since `looks` were counted.
    async fn look(&self, looks: u64) -> Result<(), Trouble> {
        let _alone = self.looking.lock().await;
        if self.known().looks != looks {
            return Ok(());
        }
        let candidates = self.candidates();
        let mut trouble = None;
        for some in candidates.chunks(ASKED_TOGETHER) {
            match select_ok(some.iter().map(|node| Box::pin(self.map_of(node)))).await {
                Ok((slots, _)) => {
                    self.learn(slots);
                    return Ok(());
                }
                Err(error) => trouble = Some(error),
            }
        }
        Err(trouble.unwrap_or_else(|| Trouble::Connecting(io::Error::other("no node of the cluster").into())))
    }

    async fn map_of(&self, node: &Node) -> Result<Slots, Trouble> {
        let mut command = redis::cmd("CLUSTER");
        command.arg("SLOTS");
        let reply = self.server(node).map_err(Trouble::Connecting)?.ask(&command).await?;
        let unread = || Trouble::Answer(io::Error::other("CLUSTER SLOTS was answered with something else").into());
        // A node that belongs to no cluster, or not yet, knows of none.
        Slots::read(&reply, node).filter(|slots| !slots.masters().is_empty()).ok_or_else(unread)
    }

    /// The new map is believed. A master that is one no more may take acknowledged writes with it; a slot that moves from
    /// one to another takes its keys along.
    fn learn(&self, slots: Slots) {
        let mut known = self.known();
        let known = &mut *known;
        (known.doubted, known.looked_at, known.looks) = (false, Some(Instant::now()), known.looks + 1);
        let masters: Vec<Node> = slots.masters().into_iter().cloned().collect();
        if known.slots != slots {
            tracing::debug!("slots of the cluster have other masters");
            known.servers.retain(|node, _| masters.contains(node) || self.nodes.hosts.contains(node));
            known.moving_to.retain(|slot, _| known.slots.master(*slot) == slots.master(*slot));
            known.slots = slots;
        }
        let deposed = known.masters.iter().any(|node| !masters.contains(node));
        known.masters = masters;
        if deposed {
            tracing::warn!("a master of the cluster is one no more");
            self.loss.tell();
        }
    }

    /// A node has said so. Whether its old master is one no more, the map tells, which is looked at soon.
    fn moved(&self, slot: u16, to: Node) {
        let mut known = self.known();
        known.slots.moved(slot, to);
        known.moving_to.remove(&slot);
        known.looked_at = None;
    }

    fn doubt(&self, trouble: Trouble) -> Trouble {
        self.known().doubted = true;
        trouble
    }

    /// Whom to ask, another one first each time: the masters that are known, then the nodes of the address.
    fn candidates(&self) -> Vec<Node> {
        self.in_turn(self.nodes.hosts.clone())
    }

    /// The masters that are known, and `others` behind them, from another one on each time.
    fn in_turn(&self, others: Vec<Node>) -> Vec<Node> {
        let mut nodes: Vec<Node> = self.known().slots.masters().into_iter().cloned().collect();
        for other in others {
            if !nodes.contains(&other) {
                nodes.push(other);
            }
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % nodes.len().max(1);
        nodes.rotate_left(turn);
        nodes
    }

    fn server(&self, node: &Node) -> Result<Arc<Server>, RedisError> {
        let mut known = self.known();
        if let Some(server) = known.servers.get(node) {
            return Ok(Arc::clone(server));
        }
        let info = self.nodes.server(&node.0, node.1)?;
        let server = Arc::new(Server::fixed(&info, &self.settings, self.timeouts, &self.loss)?);
        known.servers.insert(node.clone(), Arc::clone(&server));
        Ok(server)
    }

    /// A poisoned lock only says that a thread died between two assignments.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched for Cluster {
    fn next_look(&self) -> Option<Instant> {
        let known = self.known();
        known.written_at.filter(|at| at.elapsed() < RECENT)?;
        Some(known.looked_at.map_or_else(Instant::now, |at| at + look::EVERY))
    }

    fn begin_look(&self) -> bool {
        self.known().looked_at = Some(Instant::now());
        self.looking.try_lock().is_ok()
    }

    async fn look_again(&self) {
        let looks = self.known().looks;
        if let Err(trouble) = self.look(looks).await {
            tracing::debug!(error = %trouble.told("CLUSTER"), "the map of the cluster could not be read");
        }
    }
}

/// A node that was a master when it was chosen.
pub(crate) struct Member {
    cluster: Arc<Cluster>,
    node: Node,
}

impl Member {
    /// Whether it still is, by a map read now. One that has left the cluster answers as ever, and hears nothing of what is
    /// published on others.
    pub(super) async fn is_master(&self) -> bool {
        self.cluster.look_again().await;
        self.cluster.known().slots.masters().contains(&&self.node)
    }
}

fn redirection(error: &RedisError, asked: &Node) -> Option<Node> {
    routing::node(error.redirect_node()?.0, asked)
}

#[cfg(test)]
mod tests;
