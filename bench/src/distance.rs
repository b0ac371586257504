//! Network between the parts: what lies between Redis and the gateway on one side, and who speaks to them on the other.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fault_proxy::Proxy;
use stack::{Part, RedisServer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::sample::percentile;

/// How often a round trip is measured.
const ROUND_TRIPS: usize = 15;

/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Redis and the gateway as those see them who are far away from both. Without a distance that is their own addresses.
pub(crate) struct Afar {
    pub(crate) redis_url: String,
    pub(crate) gateway_url: String,
    /// Between them and the others; each lets bytes wait in both directions for half a round trip.
    proxies: Option<[Proxy; 2]>,
}

impl Afar {
    /// Both, a round trip of this time away.
    pub(crate) async fn new(round_trip: Duration, redis: &RedisServer, gateway: &Part) -> Result<Self> {
        if round_trip.is_zero() {
            return Ok(Self {
                redis_url: redis.url().to_owned(),
                gateway_url: gateway.url().to_owned(),
                proxies: None,
            });
        }
        let proxies = [before(redis.url(), round_trip / 2).await?, before(gateway.url(), round_trip / 2).await?];
        let [redis_url, gateway_url] = [("redis", &proxies[0]), ("http", &proxies[1])]
            .map(|(scheme, proxy)| format!("{scheme}://{}", proxy.address()));
        Ok(Self { redis_url, gateway_url, proxies: Some(proxies) })
    }

    /// How long a round trip to Redis really takes: the middle one of several; `None` without a distance.
    pub(crate) async fn round_trip(&self) -> Result<Option<Duration>> {
        let Some([proxy, _]) = &self.proxies else { return Ok(None) };
        let mut stream = TcpStream::connect(proxy.address()).await?;
        stream.set_nodelay(true)?;
        let mut times = Vec::with_capacity(ROUND_TRIPS);
        for _ in 0..ROUND_TRIPS {
            let (begun, mut answer) = (Instant::now(), [0; 7]);
            stream.write_all(b"PING\r\n").await?;
            tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer)).await.context("Redis does not answer")??;
            ensure!(answer == *b"+PONG\r\n", "Redis does not answer PING as it should");
            times.push(begun.elapsed());
        }
        Ok(Some(percentile(&mut times, 0.5)))
    }
}

/// A proxy before this address, each byte so much later than it came.
async fn before(url: &str, one_way: Duration) -> Result<Proxy> {
    let (_, address) = url.split_once("://").context("the address has no scheme")?;
    let proxy = Proxy::start(0, address.parse()?).await?;
    proxy.delay(one_way);
    Ok(proxy)
}
