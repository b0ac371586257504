//! The entry Worker: checks a request, and answers it or hands it to a hub object.

use std::cell::RefCell;

use hub::{Millis, metrics::Figures};
use js_sys::{Function, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use wire::{BatchId, event};
use worker::{Context, Env, EnvBinding, Headers, ObjectNamespace, Request, RequestInit, Response, Stub, event};

use crate::{
    access::{self, Caller, USER_HEADER},
    ask::{self, Ask, What},
    clock::now,
    log,
    problem::{Kind, Problem},
    redis::Redis,
    reply,
    route::{Route, route},
    settings::Settings,
};

/// How long an answer of `/readyz` is repeated without asking Redis.
const READY_TTL: Millis = 5_000;
/// When a client comes back that could not be served: at the earliest, and up to as much later.
const BUSY_RETRY: Millis = 3_000;
const BUSY_SPREAD: f64 = 4_000.0;

thread_local! {
    /// The last answer of `/readyz`: when, and what was wrong.
    static READY: RefCell<Option<(Millis, Result<(), String>)>> = const { RefCell::new(None) };
}

#[event(fetch)]
async fn fetch(request: Request, env: Env, _context: Context) -> worker::Result<Response> {
    match answer(request, &env).await {
        Ok(response) => Ok(response),
        Err(Failure::Problem(problem)) => reply::problem(&problem),
        Err(Failure::Worker(error)) => {
            log::error(&format!("a request failed: {error}"));
            reply::problem(&Problem::new(Kind::Internal, "The request could not be answered. It is in the log."))
        }
    }
}

/// Why a request has no answer of its own.
enum Failure {
    Problem(Problem),
    Worker(worker::Error),
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<worker::Error> for Failure {
    fn from(error: worker::Error) -> Self {
        Self::Worker(error)
    }
}

/// The settings, from the Worker's variables and secrets. From here on their log level counts.
pub(crate) fn settings(env: &Env) -> Result<Settings, Problem> {
    let lookup = |name: &str| env.var(name).ok().map(|value| value.to_string());
    let settings = Settings::from_lookup(lookup);
    let settings = settings.map_err(|error| Problem::new(Kind::Misconfigured, format!("{error}.")))?;
    log::set_level(settings.log_level);
    Ok(settings)
}

async fn answer(request: Request, env: &Env) -> Result<Response, Failure> {
    match route(request.method().as_ref(), &request.path())? {
        Route::Health => Ok(reply::plain("text/plain", "ok\n".into())?),
        Route::Page => Ok(page(request, env).await?),
        Route::Ready => ready(&settings(env)?).await,
        Route::Metrics => metrics(&request, &settings(env)?).await,
        Route::Origin => pass_through(&request, &settings(env)?).await,
        Route::Read(batch) => read(&request, env, batch).await,
        Route::Stream(batch) => stream(&request, env, batch).await,
    }
}

async fn read(request: &Request, env: &Env, batch: BatchId) -> Result<Response, Failure> {
    let reread = header(request, "cache-control").is_some_and(|value| value.contains("no-cache"));
    #[cfg(feature = "faults")]
    crate::panic::on_demand("panic in the entry", &header(request, "if-none-match").unwrap_or_default());
    let what = What::Read { reread, if_none_match: header(request, "if-none-match") };
    ask_hub(request, env, &settings(env)?, batch, what).await.map_err(|failure| match failure {
        Failure::Worker(error) => {
            log::warn(&format!("the object could not be asked: {error}"));
            Problem::new(Kind::Unavailable, "The batch's object is being moved or is overloaded. Try again.").into()
        }
        problem => problem,
    })
}

/// A native `EventSource` gives up for good on any status but 200: whatever will pass is answered with `busy`.
async fn stream(request: &Request, env: &Env, batch: BatchId) -> Result<Response, Failure> {
    let seen = header(request, "last-event-id").and_then(|id| id.parse().ok());
    let asked = match settings(env) {
        Ok(settings) if !settings.streams => return Ok(busy()?),
        Ok(settings) => ask_hub(request, env, &settings, batch, What::Stream { seen }).await,
        Err(problem) => Err(problem.into()),
    };
    let passing = match &asked {
        Ok(response) if response.status_code() >= 500 => format!("the object answered {}", response.status_code()),
        Err(Failure::Problem(problem)) if problem.status() >= 500 => problem.detail.clone(),
        Err(Failure::Worker(error)) => format!("the object could not be asked: {error}"),
        Ok(_) | Err(Failure::Problem(_)) => return asked,
    };
    log::warn(&format!("a stream was refused: {passing}"));
    Ok(busy()?)
}

fn header(request: &Request, name: &str) -> Option<String> {
    request.headers().get(name).ok().flatten()
}

/// The page is one file for every address under `/batches/`.
async fn page(request: Request, env: &Env) -> worker::Result<Response> {
    let mut url = request.url()?;
    url.set_path("/");
    let page = Request::new_with_init(url.as_str(), RequestInit::new().with_method(request.method()))?;
    env.assets("ASSETS")?.fetch_request(page).await
}

async fn ready(settings: &Settings) -> Result<Response, Failure> {
    let known = READY.with_borrow(|last| last.clone().filter(|(at, _)| now() < at + READY_TTL));
    let result = match known {
        Some((_, result)) => result,
        None => {
            let result = Redis::new(settings).ping().await.map_err(|error| error.to_string());
            READY.set(Some((now(), result.clone())));
            result
        }
    };
    match result {
        Ok(()) => Ok(reply::plain("text/plain", "ready\n".into())?),
        Err(words) => Err(Problem::new(Kind::Unavailable, format!("{words}.")).into()),
    }
}

async fn metrics(request: &Request, settings: &Settings) -> Result<Response, Failure> {
    access::admit_metrics(settings, header(request, "authorization").as_deref())?;
    let redis = Redis::new(settings);
    let reply = redis.metrics().await.map_err(|error| Problem::new(Kind::Unavailable, format!("{error}.")))?;
    let figures = Figures::read(reply.pairs().unwrap_or_default(), now());
    if !figures.gone().is_empty()
        && let Err(error) = redis.forget_metrics(figures.gone()).await
    {
        log::warn(&format!("old gauges could not be deleted: {error}"));
    }
    let json = header(request, "accept").is_some_and(|accept| accept.contains("application/json"));
    Ok(if json {
        reply::plain("application/json", figures.to_json())?
    } else {
        reply::plain("text/plain; version=0.0.4", figures.to_prometheus())?
    })
}

/// Hands a request to the photo worker, unread, so that the page has one origin.
async fn pass_through(request: &Request, settings: &Settings) -> Result<Response, Failure> {
    let Some(origin) = &settings.origin_url else {
        let words = "No photo worker is connected: set ORIGIN_URL to its address.";
        return Err(Problem::new(Kind::OriginUnreachable, words).into());
    };
    let url = request.url()?;
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    // A Request is a valid initialiser of another one: method, headers and the unread body go along.
    let init: &web_sys::RequestInit = request.inner().unchecked_ref();
    let onward = web_sys::Request::new_with_str_and_init(&format!("{origin}{}{query}", url.path()), init);
    let onward = onward.map_err(worker::Error::from)?;
    if !settings.trust_user_header {
        onward.headers().delete(USER_HEADER).map_err(worker::Error::from)?;
    }
    let answer = worker::Fetch::Request(onward.into()).send().await;
    answer.map_err(|error| {
        Problem::new(Kind::OriginUnreachable, format!("The photo worker at ORIGIN_URL did not answer: {error}.")).into()
    })
}

/// Asks the object that holds the batch. Its answer goes back untouched, so that this Worker is done with the request.
async fn ask_hub(
    request: &Request,
    env: &Env,
    settings: &Settings,
    batch: BatchId,
    what: What,
) -> Result<Response, Failure> {
    let caller = Caller::admit(settings, header(request, USER_HEADER))?;
    let stub = hub(env, settings, &batch)?;
    let ask = serde_json::to_string(&Ask { batch, caller, what }).unwrap_or_default();
    let headers = Headers::new();
    headers.set(ask::HEADER, &js_sys::encode_uri_component(&ask).as_string().unwrap_or_default())?;
    let init = web_sys::RequestInit::new();
    init.set_headers(headers.as_ref());
    // The object's signal follows this one: it aborts when the client has left.
    init.set_signal(Some(&request.inner().signal()));
    let onward = web_sys::Request::new_with_str_and_init("https://hub/", &init).map_err(worker::Error::from)?;
    Ok(stub.fetch_with_request(onward.into()).await?)
}

fn hub(env: &Env, settings: &Settings, batch: &BatchId) -> worker::Result<Stub> {
    let mut namespace = env.durable_object("HUB")?;
    if let Some(jurisdiction) = &settings.jurisdiction {
        // Not in the crate: `namespace.jurisdiction(name)` gives a namespace whose objects stay there.
        let raw: &JsValue = namespace.as_ref();
        let within: Function = Reflect::get(raw, &"jurisdiction".into())?.unchecked_into();
        namespace = ObjectNamespace::get(within.call1(raw, &jurisdiction.into())?)?;
    }
    let name = ask::object_name(batch, settings.shards);
    match &settings.location {
        Some(hint) => namespace.get_by_name_with_location_hint(&name, hint),
        None => namespace.get_by_name(&name),
    }
}

/// Not now: the client comes back by itself, not in the same second as the others.
pub(crate) fn busy() -> worker::Result<Response> {
    let spread = (js_sys::Math::random() * BUSY_SPREAD) as Millis;
    reply::short_stream(event::retry(BUSY_RETRY + spread) + event::BUSY)
}
