//! The entry Worker: checks a request, and answers it or hands it to a hub object.

use std::{cell::RefCell, time::Duration};

use hub::{Millis, metrics::Figures};
use js_sys::{Function, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use wire::{BatchId, event};
use worker::{Context, Delay, Env, EnvBinding, Headers, ObjectNamespace, Request, RequestInit, Response, Stub, event};

use crate::{
    access::{self, Caller, USER_HEADER},
    ask::{self, Ask, What},
    clock::now,
    guard,
    limit::Action,
    log,
    problem::{Kind, Problem},
    redis::Redis,
    reply,
    request::plain_words,
    route::{Call, Route, route},
    settings::{Settings, allowed_origins},
    signature, size,
};

/// How long an answer of `/readyz` is repeated without asking Redis.
const READY_TTL: Millis = 5_000;
/// When a client comes back that could not be served: at the earliest, and up to as much later.
const BUSY_RETRY: Millis = 3_000;
const BUSY_SPREAD: f64 = 4_000.0;

/// Bytes of `If-None-Match` that are looked at: a tag here has at most 36.
const MAX_TAGS_BYTES: usize = 1024;

thread_local! {
    /// The last answer of `/readyz`: when, and what was wrong.
    static READY: RefCell<Option<(Millis, Result<(), String>)>> = const { RefCell::new(None) };
}

#[event(fetch)]
async fn fetch(request: Request, env: Env, context: Context) -> worker::Result<Response> {
    let mut origin = None;
    match answer(request, &env, &context, &mut origin).await {
        Ok(response) => Ok(response),
        Err(Failure::Problem(problem)) => reply::to_origin(reply::problem(&problem)?, origin.as_deref()),
        Err(Failure::Worker(error)) => {
            log::error(&format!("a request failed: {error}"));
            let problem = Problem::new(Kind::Internal, "The request could not be answered. It is in the log.");
            reply::to_origin(reply::problem(&problem)?, origin.as_deref())
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

/// The Worker's variables and secrets, by name.
fn lookup(env: &Env) -> impl Fn(&str) -> Option<String> {
    // Not `env.var`, which throws at null: that is what workerd gives for what its own environment does not have.
    |name: &str| Reflect::get(env.as_ref(), &name.into()).ok()?.as_string()
}

/// The settings. From here on their log level counts.
pub(crate) fn settings(env: &Env) -> Result<Settings, Problem> {
    let settings = Settings::from_lookup(lookup(env));
    let settings = settings.map_err(|error| Problem::new(Kind::Misconfigured, format!("{error}.")))?;
    log::set_level(settings.log_level);
    Ok(settings)
}

async fn answer(
    request: Request,
    env: &Env,
    context: &Context,
    origin: &mut Option<String>,
) -> Result<Response, Failure> {
    let call = match route(&request.inner().method(), &request.path()) {
        Ok(Route::Page) => return page(request, env).await,
        Ok(Route::Call(call)) => Ok(call),
        Err(problem) => Err(problem),
    };
    // Before any refusal, so that a page that may call can read it.
    *origin = guard::check_origin(&request, &allowed_origins(lookup(env)).unwrap_or_default())?;
    guard::check_size(&request)?;
    answer_call(&request, env, context, call?, origin.as_deref()).await
}

async fn answer_call(
    request: &Request,
    env: &Env,
    context: &Context,
    call: Call,
    origin: Option<&str>,
) -> Result<Response, Failure> {
    let settings = match (settings(env), &call) {
        (Ok(settings), _) => settings,
        // It is up all the same.
        (Err(_), Call::Health) => return healthy(origin),
        // It will be mended: a native `EventSource` is asked to come back.
        (Err(problem), Call::Stream(_)) => return Ok(not_now(&problem.detail, origin)?),
        (Err(problem), _) => return Err(problem.into()),
    };
    if matches!(call, Call::Read(_) | Call::Stream(_)) {
        guard::check_embedding(request)?;
    }
    let asked = Asked { request, env, context, settings: &settings, origin };
    match call {
        Call::Options(methods) => Ok(reply::options(methods, origin)?),
        Call::Health => healthy(origin),
        Call::Ready => Ok(reply::to_origin(ready(&settings).await?, origin)?),
        Call::Metrics => Ok(reply::to_origin(metrics(request, &settings).await?, origin)?),
        Call::PassThrough => asked.pass_through().await,
        Call::Read(batch) => asked.read(batch).await,
        Call::Stream(batch) => asked.stream(batch).await,
        Call::Ticket(batch) => asked.ticket(&batch).await,
    }
}

/// A request whose page, if there is one, may ask.
pub(crate) struct Asked<'a> {
    pub(crate) request: &'a Request,
    pub(crate) env: &'a Env,
    pub(crate) context: &'a Context,
    pub(crate) settings: &'a Settings,
    /// The other origin whose page asks.
    pub(crate) origin: Option<&'a str>,
}

impl Asked<'_> {
    async fn read(&self, batch: BatchId) -> Result<Response, Failure> {
        let caller = guard::admit(self, Action::Read).await?;
        let reread = header(self.request, "cache-control").is_some_and(|value| value.contains("no-cache"));
        let if_none_match = header(self.request, "if-none-match").filter(|tags| tags.len() <= MAX_TAGS_BYTES);
        #[cfg(feature = "faults")]
        crate::panic::on_demand("panic in the entry", if_none_match.as_deref().unwrap_or_default());
        self.ask_hub(batch, caller, What::Read { reread, if_none_match }).await.map_err(|failure| match failure {
            Failure::Worker(error) => {
                log::warn(&format!("the object could not be asked: {error}"));
                Problem::new(Kind::Unavailable, "The batch's object is being moved or is overloaded. Try again.").into()
            }
            problem @ Failure::Problem(_) => problem,
        })
    }

    /// A native `EventSource` gives up for good on any status but 200: whatever will pass is answered with `busy`.
    async fn stream(&self, batch: BatchId) -> Result<Response, Failure> {
        if !self.settings.streams {
            return Ok(busy(self.origin)?);
        }
        let seen = header(self.request, "last-event-id").and_then(|id| id.parse().ok());
        let asked = match guard::admit(self, Action::Open).await {
            Ok(caller) => self.ask_hub(batch, caller, What::Stream { seen }).await,
            Err(problem) => Err(problem.into()),
        };
        let passing = match &asked {
            Ok(response) if response.status_code() >= 500 => format!("the object answered {}", response.status_code()),
            // Logged already, and not each time.
            Err(Failure::Problem(problem)) if problem.kind == Kind::TooManyRequests => return Ok(busy(self.origin)?),
            Err(Failure::Problem(problem)) if problem.status() >= 500 => problem.detail.clone(),
            Err(Failure::Worker(error)) => format!("the object could not be asked: {error}"),
            Ok(_) | Err(Failure::Problem(_)) => return asked,
        };
        Ok(not_now(&passing, self.origin)?)
    }

    /// A ticket is given to whoever shows a token, whatever the batch: whether they may see it is decided where it is
    /// shown, and until then nobody learns that it exists.
    async fn ticket(&self, batch: &BatchId) -> Result<Response, Failure> {
        let caller = guard::admit(self, Action::Read).await?;
        let claims = caller.ticket(batch, &self.settings.expected, now())?;
        let Some(ticket) = signature::sign(self.settings, &claims).await? else {
            let words = "There is no secret to sign tickets with: set AUTH_SECRET, beside AUTH_JWKS_URL if need be.";
            return Err(Problem::new(Kind::TicketsUnavailable, words).into());
        };
        let body = access::ticket_answer(batch, &ticket, claims.expires);
        let response = reply::plain("application/json", body)?.with_status(201);
        Ok(reply::to_origin(response, self.origin)?)
    }

    /// Hands a request to the photo worker, unread, so that the page has one origin. Who asks is the photo worker's to
    /// find out, by the same tokens.
    async fn pass_through(&self) -> Result<Response, Failure> {
        let Some(origin) = &self.settings.origin_url else {
            let words = "No photo worker is connected: set ORIGIN_URL to its address.";
            return Err(Problem::new(Kind::OriginUnreachable, words).into());
        };
        size::check_body(header(self.request, "content-length").as_deref())?;
        let url = self.request.url()?;
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        // A Request is a valid initialiser of another one: method, headers and the unread body go along.
        let init: &web_sys::RequestInit = self.request.inner().unchecked_ref();
        let onward = web_sys::Request::new_with_str_and_init(&format!("{origin}{}{query}", url.path()), init);
        let onward = onward.map_err(worker::Error::from)?;
        if !self.settings.trust_user_header {
            onward.headers().delete(USER_HEADER).map_err(worker::Error::from)?;
        }
        let answer = worker::Fetch::Request(onward.into()).send().await.map_err(|error| {
            let error = plain_words(&error.to_string());
            let words = format!("The photo worker at ORIGIN_URL did not answer: {error}.");
            Problem::new(Kind::OriginUnreachable, words)
        })?;
        if allowed_origins(lookup(self.env)).unwrap_or_default().is_empty() {
            return Ok(answer);
        }
        // The headers of an answer that was fetched can't be changed. A browser that keeps a picture for the page that
        // embeds it must not give it to one of another origin without the headers for that.
        let headers = answer.headers().clone();
        Ok(reply::to_origin(reply::varying(answer.with_headers(headers))?, self.origin)?)
    }

    /// Asks the object that holds the batch. Its answer goes back untouched, so that this Worker is done with the
    /// request.
    async fn ask_hub(&self, batch: BatchId, caller: Caller, what: What) -> Result<Response, Failure> {
        let stub = hub(self.env, self.settings, &batch)?;
        let ask = Ask { batch, caller, origin: self.origin.map(str::to_owned), what };
        let ask = serde_json::to_string(&ask).unwrap_or_default();
        let headers = Headers::new();
        headers.set(ask::HEADER, &js_sys::encode_uri_component(&ask).as_string().unwrap_or_default())?;
        let init = web_sys::RequestInit::new();
        init.set_headers(headers.as_ref());
        // The object's signal follows this one: it aborts when the client has left.
        init.set_signal(Some(&self.request.inner().signal()));
        let onward = web_sys::Request::new_with_str_and_init("https://hub/", &init).map_err(worker::Error::from)?;
        let asked_at = now();
        let answer = stub.fetch_with_request(onward.into()).await?;
        if answer.status_code() == 404 {
            Delay::from(Duration::from_millis(access::denial_wait(now().saturating_sub(asked_at)))).await;
        }
        Ok(answer)
    }
}

pub(crate) fn header(request: &Request, name: &str) -> Option<String> {
    request.headers().get(name).ok().flatten()
}

/// The page is one file for every address under `/batches/` and `/projects/`.
async fn page(request: Request, env: &Env) -> Result<Response, Failure> {
    let Ok(assets) = env.assets("ASSETS") else {
        return Err(
            Problem::new(Kind::NotFound, "This deployment has no live page: there is no binding ASSETS.").into()
        );
    };
    let mut url = request.url()?;
    url.set_path("/");
    let page = Request::new_with_init(url.as_str(), RequestInit::new().with_method(request.method()))?;
    Ok(assets.fetch_request(page).await?)
}

fn healthy(origin: Option<&str>) -> Result<Response, Failure> {
    Ok(reply::to_origin(reply::plain("text/plain", "ok\n".into())?, origin)?)
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

/// Not now: the client comes back by itself, not in the same second as the others. `origin`: the other origin whose page
/// asks.
pub(crate) fn busy(origin: Option<&str>) -> worker::Result<Response> {
    let spread = (js_sys::Math::random() * BUSY_SPREAD) as Millis;
    reply::to_origin(reply::short_stream(event::retry(BUSY_RETRY + spread) + event::BUSY)?, origin)
}

fn not_now(why: &str, origin: Option<&str>) -> worker::Result<Response> {
    log::warn(&format!("a stream was refused: {why}"));
    busy(origin)
}
