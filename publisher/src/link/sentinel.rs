//! Who the master is, as the sentinels say.

use std::{
    collections::HashMap,
    sync::{Mutex as Plain, MutexGuard, PoisonError},
};

use redis::{ConnectionAddr, ProtocolVersion, RedisResult, aio::MultiplexedConnection, sentinel::SentinelClient};
use redis_address::{Nodes, Settings};
use tokio::{sync::Mutex, time::Instant};

use super::{look, server::Clients};
use crate::schedule::RECENT;

/// The sentinels of one master. They are asked at each connection: the address changes with each failover.
pub(super) struct Sentinels {
    /// It remembers its connections to the sentinels, so that one caller asks at a time.
    client: Mutex<SentinelClient>,
    settings: Settings,
    /// The name under which they know the master.
    name: String,
    /// A connection to one of them, to ask now and then whom it names.
    asked: Mutex<Option<MultiplexedConnection>>,
    times: Plain<Times>,
}

#[derive(Default)]
struct Times {
    written: Option<Instant>,
    looked: Option<Instant>,
}

impl Sentinels {
    pub(super) fn new(nodes: &Nodes, master: &str, settings: Settings) -> RedisResult<Self> {
        // In what any server speaks: sentinels are asked one question, and the master who it is.
        let asking = {
            let mut asking = settings.clone();
            asking.protocol = ProtocolVersion::RESP2;
            asking
        };
        let client = Mutex::new(redis_address::sentinel(nodes, master, &asking)?);
        Ok(Self { client, settings, name: master.to_owned(), asked: Mutex::default(), times: Plain::default() })
    }

    /// The master: named by a sentinel, and one by its own word (`ROLE`).
    pub(super) async fn master(&self) -> RedisResult<Clients> {
        let master = self.client.lock().await.async_get_client().await?;
        Clients::new(master.get_connection_info(), &self.settings)
    }

    /// Whether a sentinel names another master than the one at this address.
    pub(super) async fn name_another_than(&self, address: &ConnectionAddr) -> RedisResult<bool> {
        let mut asked = self.asked.lock().await;
        // Put back only when it has answered.
        let mut connection = match asked.take() {
            Some(connection) => connection,
            None => {
                let sentinel = self.client.lock().await.async_get_sentinel_client().await?;
                sentinel.get_multiplexed_async_connection().await?
            }
        };
        let mut command = redis::cmd("SENTINEL");
        let masters: Vec<HashMap<String, String>> = command.arg("MASTERS").query_async(&mut connection).await?;
        *asked = Some(connection);
        let named = masters.iter().find(|master| master.get("name") == Some(&self.name));
        Ok(named.and_then(place).is_some_and(|named| Some(named) != place_of(address)))
    }

    /// A command goes to the master.
    pub(super) fn written(&self) {
        self.times().written = Some(Instant::now());
    }

    pub(super) fn next_look(&self) -> Option<Instant> {
        let times = self.times();
        times.written.filter(|at| at.elapsed() < RECENT)?;
        Some(times.looked.map_or_else(Instant::now, |at| at + look::EVERY))
    }

    pub(super) fn begin_look(&self) -> bool {
        self.times().looked = Some(Instant::now());
        self.asked.try_lock().is_ok()
    }

    /// A poisoned lock only says that a thread died between two assignments.
    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn place(master: &HashMap<String, String>) -> Option<(&str, u16)> {
    Some((master.get("ip")?, master.get("port")?.parse().ok()?))
}

fn place_of(address: &ConnectionAddr) -> Option<(&str, u16)> {
    match address {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => Some((host, *port)),
        _ => None,
    }
}
