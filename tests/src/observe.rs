//! What the parts of a stack say about themselves.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::Stack;

impl Stack {
    /// How many connections Redis counts as subscribers of a batch's channel.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn redis_subscribers(&self, batch_id: &str) -> Result<u64> {
        let mut connection = self.redis_connection().await?;
        let channel = format!("batch:{batch_id}");
        let counts: Vec<(String, u64)> =
            redis::cmd("PUBSUB").arg("NUMSUB").arg(channel).query_async(&mut connection).await?;
        Ok(counts.first().map_or(0, |(_, count)| *count))
    }

    /// How many `/subscribe` responses for a batch's channel the gateway holds open.
    ///
    /// # Errors
    /// When the gateway does not answer with its `/subscriptions`.
    pub async fn gateway_subscribers(&self, batch_id: &str) -> Result<u64> {
        let url = format!("{}/subscriptions", self.gateway_admin_url());
        let subscriptions: Value = reqwest::get(url).await?.error_for_status()?.json().await?;
        Ok(subscriptions[format!("batch:{batch_id}")].as_u64().unwrap_or(0))
    }

    /// How often the edge has asked the photo worker, its origin, for a batch.
    ///
    /// # Errors
    /// When the photo worker does not answer with the counter.
    pub async fn origin_reads(&self) -> Result<u64> {
        let url = format!("{}/metrics", self.photo_worker.url());
        let metrics = reqwest::get(url).await?.error_for_status()?.text().await?;
        counter(&metrics, "photo_worker_origin_reads_total").context("the photo worker does not count origin reads")
    }

    /// The edge's figures in the Prometheus text format, as its objects have told them to Redis.
    ///
    /// # Errors
    /// When the edge does not answer with them.
    pub async fn edge_metrics(&self) -> Result<String> {
        let url = format!("{}/api/metrics", self.edge.url());
        let request = reqwest::Client::new().get(url).bearer_auth(self.metrics_token());
        Ok(request.send().await?.error_for_status()?.text().await?)
    }

    /// One of them, given with its labels.
    ///
    /// # Errors
    /// When the edge does not answer, or has no such series.
    pub async fn edge_metric(&self, series: &str) -> Result<f64> {
        let metrics = self.edge_metrics().await?;
        value(&metrics, series).with_context(|| format!("no {series} in\n{metrics}"))
    }
}

/// The value of one series, given with its labels, in the Prometheus text format.
fn value(metrics: &str, series: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

/// The sum over all label sets of a counter in the Prometheus text format; `None` when it is absent.
fn counter(metrics: &str, name: &str) -> Option<u64> {
    let values = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = if rest.starts_with('{') { rest.split_once('}')?.1 } else { rest };
        value.strip_prefix(' ')?.trim().parse::<u64>().ok()
    });
    values.reduce(|sum, value| sum + value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_summed_over_its_labels() {
        let metrics = "# TYPE reads counter\nreads{result=\"a\"} 2\nreads{result=\"b\"} 3\nreads_other 9\n";
        assert_eq!(counter(metrics, "reads"), Some(5));
        assert_eq!(counter("reads 7\n", "reads"), Some(7));
    }

    #[test]
    fn a_series_is_found_by_its_whole_name() {
        let metrics = "# TYPE reads counter\nreads{result=\"a\"} 2.5\nreads_other 9\n";
        assert_eq!(value(metrics, "reads{result=\"a\"}"), Some(2.5));
        assert_eq!(value(metrics, "reads"), None);
    }

    #[test]
    fn an_absent_counter_is_not_zero() {
        assert_eq!(counter("reads_other 9\n", "reads"), None);
    }
}
