//! Which route a request takes.

use wire::BatchId;

use crate::problem::{Kind, Problem};

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// The state of a batch.
    Read(BatchId),
    /// The live stream of a batch.
    Stream(BatchId),
    /// The counters.
    Metrics,
    /// Is the process up?
    Health,
    /// Does Redis answer?
    Ready,
    /// The live page.
    Page,
    /// Passed through to the photo worker, unread.
    Origin,
}

/// The route of a request. `path` is the URL's path as the client sent it.
///
/// # Errors
/// No such route (404), a route that has other methods (405), or an id that is none (400).
pub fn route(method: &str, path: &str) -> Result<Route, Problem> {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    match segments[..] {
        ["api", "batches"] => allow(method, "POST", Route::Origin),
        ["api", "batches", id] => allow(method, "GET, HEAD", Route::Read(batch(id)?)),
        ["api", "batches", id, "stream"] => allow(method, "GET", Route::Stream(batch(id)?)),
        ["api", "batches", id, "retry" | "cancel"] => batch(id).and_then(|_| allow(method, "POST", Route::Origin)),
        ["api", "photos" | "projects", ..] => Ok(Route::Origin),
        ["api", "metrics"] => allow(method, "GET", Route::Metrics),
        ["healthz"] => allow(method, "GET, HEAD", Route::Health),
        ["readyz"] => allow(method, "GET, HEAD", Route::Ready),
        [""] | ["batches", _] => allow(method, "GET, HEAD", Route::Page),
        _ => Err(Problem::new(Kind::NotFound, format!("There is nothing at {path}."))),
    }
}

fn batch(id: &str) -> Result<BatchId, Problem> {
    BatchId::new(id).map_err(|error| Problem::new(Kind::BadId, format!("{error}.")))
}

fn allow(method: &str, methods: &'static str, route: Route) -> Result<Route, Problem> {
    if methods.split(", ").any(|m| m == method) {
        return Ok(route);
    }
    let detail = format!("{method} is not possible here; use {methods}.");
    Err(Problem { kind: Kind::MethodNotAllowed, detail, allow: Some(methods) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_reached_by_its_method_and_path() {
        let id: BatchId = "b-1".parse().unwrap();
        for (method, path, expected) in [
            ("GET", "/", Route::Page),
            ("HEAD", "/batches/b-1", Route::Page),
            ("GET", "/api/batches/b-1", Route::Read(id.clone())),
            ("GET", "/api/batches/b-1/stream", Route::Stream(id)),
            ("POST", "/api/batches", Route::Origin),
            ("POST", "/api/batches/b-1/retry", Route::Origin),
            ("POST", "/api/photos/upload", Route::Origin),
            ("GET", "/api/projects/p/batches", Route::Origin),
            ("GET", "/api/metrics", Route::Metrics),
            ("HEAD", "/healthz", Route::Health),
            ("GET", "/readyz", Route::Ready),
        ] {
            assert_eq!(route(method, path), Ok(expected), "{method} {path}");
        }
    }

    #[test]
    fn a_wrong_method_is_told_the_right_one() {
        let problem = route("DELETE", "/api/batches/b-1").unwrap_err();
        assert_eq!((problem.status(), problem.allow), (405, Some("GET, HEAD")));
    }

    #[test]
    fn an_id_that_is_none_goes_no_further() {
        for id in ["a%00", "a*", "a%2Fb", "a%0d%0ab", &"x".repeat(65), ""] {
            assert_eq!(route("GET", &format!("/api/batches/{id}")).unwrap_err().status(), 400, "{id}");
        }
        assert_eq!(route("GET", "/elsewhere").unwrap_err().status(), 404);
        assert_eq!(route("GET", "/api/batches/b/stream/x").unwrap_err().status(), 404);
    }
}
