//! What the parts count about themselves, read before and after.

use std::collections::BTreeMap;

use anyhow::Result;
use redis::AsyncCommands as _;
use stack::Stack;

/// Series of the Prometheus text format with their values: `name{label="value"}`, or `name` alone.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figures(BTreeMap<String, f64>);

impl Figures {
    /// The photo worker's.
    pub(crate) async fn of_photo_worker(stack: &Stack) -> Result<Self> {
        let text = reqwest::get(format!("{}/metrics", stack.photo_worker.url())).await?.error_for_status()?.text();
        Ok(Self::parse(&text.await?))
    }

    /// The gateway's.
    pub(crate) async fn of_gateway(stack: &Stack) -> Result<Self> {
        let text = reqwest::get(format!("{}/metrics", stack.gateway_admin_url())).await?.error_for_status()?.text();
        Ok(Self::parse(&text.await?))
    }

    /// The edge's, as it has told them to Redis: each object does so once a minute, and when its last room closes.
    pub(crate) async fn of_edge(stack: &Stack) -> Result<Self> {
        let url = format!("{}/api/metrics", stack.edge.url());
        let request = reqwest::Client::new().get(url).bearer_auth(stack.metrics_token());
        Ok(Self::parse(&request.send().await?.error_for_status()?.text().await?))
    }

    /// How often Redis was called since it started, by command in lower case: `hgetall`, `publish`, `subscribe`, `eval`.
    /// What a script calls counts, too.
    pub(crate) async fn of_redis_calls(stack: &Stack) -> Result<Self> {
        let mut redis = stack.redis_connection().await?;
        let text: String = redis::cmd("INFO").arg("commandstats").query_async(&mut redis).await?;
        let call = |line: &str| {
            let (command, figures) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            Some((command.to_owned(), figures.split(',').next()?.parse().ok()?))
        };
        Ok(Self(text.lines().filter_map(call).collect()))
    }

    /// The value of one series; 0 when there is none.
    pub(crate) fn get(&self, series: &str) -> f64 {
        self.0.get(series).copied().unwrap_or_default()
    }

    /// The sum over all label sets of a name; 0 when there are none.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.0.iter().filter(|(series, _)| series.split('{').next() == Some(name)).map(|(_, value)| value).sum()
    }

    /// How much each has grown since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self(self.0.iter().map(|(series, value)| (series.clone(), value - earlier.get(series))).collect())
    }

    fn parse(text: &str) -> Self {
        let series = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (series, value) = line.trim().rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        });
        Self(series.collect())
    }
}

/// One field of the hash that holds what the edge has counted; `None` until it is told.
pub(crate) async fn told_by_edge(stack: &Stack, series: &str) -> Result<Option<f64>> {
    Ok(stack.redis_connection().await?.hget("batchcast:metrics", series).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_summed_and_compared() {
        let before = Figures::parse("# TYPE a counter\na{b=\"x y\"} 1\na{b=\"z\"} 2\nab 9\n");
        assert_eq!((before.get("a{b=\"x y\"}"), before.sum("a"), before.sum("none")), (1.0, 3.0, 0.0));
        let after = Figures::parse("a{b=\"z\"} 5.5\nnew 1\n");
        assert_eq!((after.since(&before).sum("a"), after.since(&before).get("new")), (3.5, 1.0));
    }
}
