//! Many tabs at once.

use std::ops::Deref;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use wire::Position;

use crate::tab::{End, History, Tab, TabBuilder};
use crate::{Back, GUARD};

/// Tabs that are opened, awaited and judged together. A slice of [`Tab`] besides.
#[derive(Debug)]
pub struct Tabs(Vec<Tab>);

impl Deref for Tabs {
    type Target = [Tab];

    fn deref(&self) -> &[Tab] {
        &self.0
    }
}

impl FromIterator<Tab> for Tabs {
    fn from_iter<I: IntoIterator<Item = Tab>>(tabs: I) -> Self {
        Self(tabs.into_iter().collect())
    }
}

impl Tabs {
    /// Opens `count` tabs that are all alike.
    #[must_use]
    pub fn open(count: usize, tab: &TabBuilder) -> Self {
        (0..count).map(|_| tab.clone().open()).collect()
    }

    /// Connects those that were made stopped, all at once.
    pub fn start(&self) {
        self.iter().for_each(Tab::start);
    }

    /// Cuts all connections.
    pub fn cut(&self, back: Back) {
        self.iter().for_each(|tab| tab.cut(back));
    }

    /// Waits until `check` holds for every tab, all together at most [`GUARD`].
    ///
    /// # Errors
    /// How many are not there, and what the first of them has lived through.
    pub async fn until(&self, what: &str, check: impl FnMut(&History) -> bool) -> Result<()> {
        self.until_within(GUARD, what, check).await
    }

    /// Waits until `check` holds for every tab, all together at most `guard`.
    ///
    /// # Errors
    /// As [`Tabs::until`].
    pub async fn until_within(
        &self,
        guard: Duration,
        what: &str,
        mut check: impl FnMut(&History) -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + guard;
        let mut failed = Vec::new();
        for (n, tab) in self.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            if let Err(error) = tab.until_within(left, what, &mut check).await {
                failed.push((n, error));
            }
        }
        let Some((n, error)) = failed.first() else { return Ok(()) };
        anyhow::bail!("{} of {} tabs are not there within {guard:?}; tab {n}: {error}", failed.len(), self.len());
    }

    /// Waits until every tab shows this position or a later one; when the last of them did.
    ///
    /// # Errors
    /// As [`Tabs::until`].
    pub async fn until_position(&self, position: Position) -> Result<Instant> {
        let what = format!("position {position}");
        self.until(&what, |history| history.reached(position).is_some()).await?;
        let last = self.iter().filter_map(|tab| tab.history().reached(position)).max();
        Ok(last.unwrap_or_else(Instant::now))
    }

    /// Waits until every tab has had such an event; when the last of them did. As [`Tab::until_event`].
    ///
    /// # Errors
    /// As [`Tabs::until`].
    pub async fn until_event(&self, name: &str, detail: &str) -> Result<Instant> {
        self.until(&format!("{name} {detail}"), |history| history.first(name, detail).is_some()).await?;
        let last = self.iter().filter_map(|tab| tab.history().first(name, detail)).max();
        Ok(last.unwrap_or_else(Instant::now))
    }

    /// Waits until every tab has seen everything: one `complete`, then a 204.
    ///
    /// # Errors
    /// As [`Tabs::until`], and when one ended otherwise.
    pub async fn until_finished(&self) -> Result<()> {
        self.until("its end", |history| history.end.is_some()).await?;
        let unfinished = |history: &History| history.end != Some(End::Finished) || history.count("complete", "") == 0;
        for (n, tab) in self.iter().enumerate() {
            let history = tab.history();
            ensure!(!unfinished(&history), "tab {n} ended, but not well: {}", *history);
        }
        Ok(())
    }

    /// What any of them found wrong.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        let of = |(n, tab): (usize, &Tab)| {
            tab.history().violations.iter().map(|words| format!("tab {n}: {words}")).collect::<Vec<_>>()
        };
        self.iter().enumerate().flat_map(of).collect()
    }

    /// Fails when any of them found something wrong.
    ///
    /// # Errors
    /// How much it was, and the first of it.
    pub fn check(&self) -> Result<()> {
        let violations = self.violations();
        ensure!(violations.is_empty(), "{} violations, such as: {}", violations.len(), violations[0]);
        Ok(())
    }

    /// The sum of a figure over all tabs.
    pub fn sum(&self, figure: impl Fn(&History) -> u64) -> u64 {
        self.iter().map(|tab| figure(&tab.history())).sum()
    }

    /// How many connections they began within the busiest second after `since`.
    #[must_use]
    pub fn peak_connects_per_second(&self, since: Instant) -> usize {
        self.peak_connects_within(Duration::from_secs(1), since)
    }

    /// How many connections they began within the busiest such span of time after `since`.
    #[must_use]
    pub fn peak_connects_within(&self, span: Duration, since: Instant) -> usize {
        let connects = self.iter().flat_map(|tab| tab.history().connects.clone()).filter(|at| *at >= since);
        busiest(span, connects.collect())
    }
}

fn busiest(span: Duration, mut times: Vec<Instant>) -> usize {
    times.sort();
    let mut from = 0;
    let mut peak = 0;
    for (to, at) in times.iter().enumerate() {
        while *at - times[from] >= span {
            from += 1;
        }
        peak = peak.max(to + 1 - from);
    }
    peak
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_span_may_begin_at_any_moment() {
        let begin = Instant::now();
        let second = Duration::from_secs(1);
        let at = |millis: &[u64]| millis.iter().map(|millis| begin + Duration::from_millis(*millis)).collect();
        assert_eq!(busiest(second, at(&[0, 900, 1_100, 1_800, 1_899, 3_000])), 4);
        assert_eq!(busiest(second, at(&[2_000, 0, 1_000])), 1);
        assert_eq!(busiest(second, Vec::new()), 0);
    }
}
