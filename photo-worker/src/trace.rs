//! Traces (W3C Trace Context): from a request through the photo's job to what is published of it.
//!
//! A request that names none begins one of its own, which nobody records unless the logs are at debug.

use axum::{extract::Request, http::HeaderMap, middleware::Next, response::Response};
use tracing::Instrument as _;
use wire::TraceParent;

tokio::task_local! {
    static CURRENT: TraceParent;
}

/// The trace that what runs now is part of.
pub(crate) fn current() -> Option<TraceParent> {
    CURRENT.try_with(|trace| *trace).ok()
}

/// The same for a row that a job is made of later.
pub(crate) fn column() -> Option<String> {
    current().map(|trace| trace.to_string())
}

/// Does `work` as part of a trace: its id stands in each line that is logged meanwhile.
pub(crate) async fn within<T>(trace: TraceParent, work: impl Future<Output = T>) -> T {
    let span = tracing::info_span!("trace", trace_id = trace.trace_id());
    CURRENT.scope(trace, work.instrument(span)).await
}

/// Does a request as part of its trace.
pub(crate) async fn follow(request: Request, next: Next) -> Response {
    within(of_request(request.headers()), next.run(request)).await
}

/// A value that is no `traceparent`, or more than one, is as good as none: the specification asks for that.
fn of_request(headers: &HeaderMap) -> TraceParent {
    let mut values = headers.get_all("traceparent").iter();
    let value = values.next().filter(|_| values.next().is_none());
    match value.and_then(|value| value.to_str().ok()?.parse::<TraceParent>().ok()) {
        Some(trace) => trace.child(rand::random()),
        None => TraceParent::new(rand::random(), rand::random(), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| ("traceparent".parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_trace_goes_on_under_a_parent_of_ours() {
        let trace = of_request(&headers(&[GIVEN]));
        assert_eq!(trace.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        assert!(trace.is_sampled() && trace.as_str() != GIVEN);
    }

    #[test]
    fn without_one_that_can_be_read_another_is_begun() {
        for none in [&[][..], &["00-1-2-3"], &[GIVEN, GIVEN]] {
            let trace = of_request(&headers(none));
            assert!(!trace.is_sampled() && trace.trace_id() != "0af7651916cd43dd8448eb211c80319c", "{none:?}");
        }
    }

    #[tokio::test]
    async fn what_runs_within_a_trace_knows_it_and_nothing_else_does() {
        let trace = GIVEN.parse().unwrap();
        assert_eq!(within(trace, async { current() }).await, Some(trace));
        assert_eq!(current(), None);
    }
}
