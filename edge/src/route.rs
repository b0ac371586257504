//! Which route a request takes.

use wire::BatchId;

use crate::problem::{Kind, Problem};

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// The live page, which is for anyone.
    Page,
    /// The rest: from where it is asked matters.
    Call(Call),
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// The state of a batch.
    Read(BatchId),
    /// The live stream of a batch.
    Stream(BatchId),
    /// A ticket for the stream of a batch.
    Ticket(BatchId),
    /// The counters.
    Metrics,
    /// Is the process up? Whatever the settings.
    Health,
    /// Does Redis answer?
    Ready,
    /// Passed through to the photo worker, unread.
    PassThrough,
    /// Which methods there are: what a browser asks before it lets a page of another origin call.
    Options(&'static str),
}

/// A path, the methods it takes, and where they lead. `{id}` stands for a batch's id, `{any}` for one segment, `{rest}`
/// for one or more.
pub struct Pattern {
    /// The path.
    pub path: &'static str,
    /// The methods, separated by commas.
    pub methods: &'static str,
    target: Target,
}

enum Target {
    Batch(fn(BatchId) -> Call),
    Plain(Route),
}

/// Every route.
pub static PATTERNS: [Pattern; 14] = [
    plain("/api/batches", "POST", Route::Call(Call::PassThrough)),
    batch("/api/batches/{id}", "GET, HEAD", Call::Read),
    batch("/api/batches/{id}/stream", "GET", Call::Stream),
    batch("/api/batches/{id}/ticket", "POST", Call::Ticket),
    batch("/api/batches/{id}/retry", "POST", pass_through),
    batch("/api/batches/{id}/cancel", "POST", pass_through),
    plain("/api/photos/{rest}", "GET, HEAD, POST, PUT, PATCH, DELETE", Route::Call(Call::PassThrough)),
    plain("/api/projects/{rest}", "GET, HEAD, POST, PUT, PATCH, DELETE", Route::Call(Call::PassThrough)),
    plain("/api/metrics", "GET", Route::Call(Call::Metrics)),
    plain("/healthz", "GET, HEAD", Route::Call(Call::Health)),
    plain("/readyz", "GET, HEAD", Route::Call(Call::Ready)),
    plain("/", "GET, HEAD", Route::Page),
    plain("/batches/{any}", "GET, HEAD", Route::Page),
    plain("/projects/{any}", "GET, HEAD", Route::Page),
];

const fn batch(path: &'static str, methods: &'static str, call: fn(BatchId) -> Call) -> Pattern {
    Pattern { path, methods, target: Target::Batch(call) }
}

const fn plain(path: &'static str, methods: &'static str, route: Route) -> Pattern {
    Pattern { path, methods, target: Target::Plain(route) }
}

fn pass_through(_: BatchId) -> Call {
    Call::PassThrough
}

/// The route of a request. `path` is the URL's path as the client sent it.
///
/// # Errors
/// No such route (404), a route that has other methods (405), or an id that is none (400).
pub fn route(method: &str, path: &str) -> Result<Route, Problem> {
    let found = PATTERNS.iter().find_map(|pattern| Some((pattern, id_in(path, pattern.path)?)));
    let Some((pattern, id)) = found else {
        return Err(Problem::new(Kind::NotFound, "There is nothing at this address."));
    };
    let route = match &pattern.target {
        Target::Plain(route) => route.clone(),
        Target::Batch(call) => {
            let id = BatchId::new(id).map_err(|error| Problem::new(Kind::BadId, format!("{error}.")))?;
            Route::Call(call(id))
        }
    };
    if method == "OPTIONS" {
        return Ok(Route::Call(Call::Options(pattern.methods)));
    }
    if pattern.methods.split(", ").any(|m| m == method) {
        return Ok(route);
    }
    let detail = format!("This method is not possible here; use {}.", pattern.methods);
    Err(Problem { kind: Kind::MethodNotAllowed, detail, allow: Some(pattern.methods) })
}

/// What stands for `{id}` in a path of this pattern, or nothing where the pattern has none; `None`: it is another path.
fn id_in<'a>(path: &'a str, pattern: &str) -> Option<&'a str> {
    let (mut segments, mut id) = (path.split('/'), "");
    for expected in pattern.split('/') {
        let segment = segments.next()?;
        match expected {
            // Names of ours need no escapes. With one, whoever decodes the path behind us might read another than we do.
            "{rest}" => return (!segment.contains('%') && segments.all(|rest| !rest.contains('%'))).then_some(id),
            "{any}" => {}
            "{id}" => id = segment,
            _ if segment == expected => {}
            _ => return None,
        }
    }
    segments.next().is_none().then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_reached_by_its_method_and_path() {
        let (id, call): (BatchId, _) = ("b-1".parse().unwrap(), Route::Call);
        for (method, path, expected) in [
            ("GET", "/", Route::Page),
            ("HEAD", "/batches/b-1", Route::Page),
            ("GET", "/projects/p", Route::Page),
            ("GET", "/api/batches/b-1", call(Call::Read(id.clone()))),
            ("GET", "/api/batches/b-1/stream", call(Call::Stream(id.clone()))),
            ("POST", "/api/batches/b-1/ticket", call(Call::Ticket(id))),
            ("POST", "/api/batches", call(Call::PassThrough)),
            ("POST", "/api/batches/b-1/retry", call(Call::PassThrough)),
            ("POST", "/api/photos/upload", call(Call::PassThrough)),
            ("GET", "/api/photos/ph/thumbnail", call(Call::PassThrough)),
            ("GET", "/api/projects/p/batches", call(Call::PassThrough)),
            ("GET", "/api/metrics", call(Call::Metrics)),
            ("HEAD", "/healthz", call(Call::Health)),
            ("GET", "/readyz", call(Call::Ready)),
            ("OPTIONS", "/api/batches/b-1/stream", call(Call::Options("GET"))),
        ] {
            assert_eq!(route(method, path), Ok(expected), "{method} {path}");
        }
    }

    #[test]
    fn a_wrong_method_is_told_the_right_one() {
        let problem = route("DELETE", "/api/batches/b-1").unwrap_err();
        assert_eq!((problem.status(), problem.allow), (405, Some("GET, HEAD")));
        assert!(!route("<script>", "/").unwrap_err().detail.contains("script"), "what was sent is not said again");
    }

    #[test]
    fn an_id_that_is_none_goes_no_further() {
        for id in ["a%00", "a*", "a%2Fb", "a%0d%0ab", "..", "a?", &"x".repeat(65), ""] {
            for end in ["", "/stream", "/ticket", "/cancel"] {
                let method = if end.is_empty() || end == "/stream" { "GET" } else { "POST" };
                assert_eq!(route(method, &format!("/api/batches/{id}{end}")).unwrap_err().status(), 400, "{id}{end}");
            }
        }
        assert_eq!(route("GET", "/elsewhere").unwrap_err().status(), 404);
        assert_eq!(route("GET", "/api/batches/b/stream/x").unwrap_err().status(), 404);
        assert_eq!(route("GET", "/api/photos").unwrap_err().status(), 404);
        for path in ["/api/photos/%2e%2e%2fbatches", "/api/projects/p/%5c", "/api/photos/a%2Fb/thumbnail"] {
            assert_eq!(route("GET", path).unwrap_err().status(), 404, "{path}");
        }
    }
}
