//! Who the master is, as the sentinels say.

use redis::{ProtocolVersion, RedisResult, sentinel::SentinelClient};
use redis_address::{Nodes, Settings};
use tokio::sync::Mutex;

use super::server::Clients;

/// The sentinels of one master. They are asked at each connection: the address changes with each failover.
pub(super) struct Sentinels {
    /// It remembers its connections to the sentinels, so that one caller asks at a time.
    client: Mutex<SentinelClient>,
    settings: Settings,
}

impl Sentinels {
    pub(super) fn new(nodes: &Nodes, master: &str, settings: Settings) -> RedisResult<Self> {
        // In what any server speaks: sentinels are asked one question, and the master who it is.
        let asking = {
            let mut asking = settings.clone();
            asking.protocol = ProtocolVersion::RESP2;
            asking
        };
        Ok(Self { client: Mutex::new(redis_address::sentinel(nodes, master, &asking)?), settings })
    }

    /// The master: named by a sentinel, and one by its own word (`ROLE`).
    pub(super) async fn master(&self) -> RedisResult<Clients> {
        let master = self.client.lock().await.async_get_client().await?;
        Clients::new(master.get_connection_info(), &self.settings)
    }
}
