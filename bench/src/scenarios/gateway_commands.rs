//! Plain commands over HTTP: the gateway beside `webdis`, on the same Redis.

use std::time::Duration;

use anyhow::Result;
use stack::{Part, RedisServer};

use crate::gateway::{self, AUTHORIZATION};
use crate::report::{Bar, Figure, Limit, Scenario};
use crate::requests::Load;
use crate::sample::Sample;
use crate::world::own_cpu;
use crate::{Scale, peers};

const CONNECTIONS: usize = 64;

/// Each load is on for so long before all that is measured.
const WARM_UP: Duration = Duration::from_secs(1);

/// Commands in one pipeline.
const PIPELINE: usize = 10;

/// What one kind of request came to, once a run.
#[derive(Default)]
struct Measured {
    requests_a_second: Sample,
    cpu_us: Sample,
    redis_cpu: Sample,
    load_cpu: Sample,
}

impl Measured {
    async fn add(&mut self, load: &Load, part: &Part, redis: &RedisServer, secs: u64) -> Result<()> {
        let (time, before) = (Duration::from_secs(secs), part.cpu_time()?);
        let (redis_before, own_before) = (redis.cpu_time()?, own_cpu()?);
        let rate = load.rate(CONNECTIONS, time).await?;
        let busy = part.cpu_time()?.saturating_sub(before);
        let share = |after: Duration, before| after.saturating_sub(before).as_secs_f64() / time.as_secs_f64();
        self.redis_cpu.0.push(share(redis.cpu_time()?, redis_before));
        self.load_cpu.0.push(share(own_cpu()?, own_before));
        self.requests_a_second.0.push(rate);
        self.cpu_us.0.push(busy.as_secs_f64() * 1e6 / (rate * time.as_secs_f64()));
        println!("{}: {rate:.0} requests a second", part.url());
        Ok(())
    }
}

pub(crate) async fn run(name: &str, scale: Scale) -> Result<Scenario> {
    let dir = tempfile::tempdir()?;
    let redis = RedisServer::start().await?;
    redis.run::<String>(&["SET", "k", "hello"]).await?;
    let ours = gateway::start(dir.path(), redis.url()).await?;
    let theirs = peers::webdis(dir.path(), redis.port()?).await?;

    let get_load = Load::new(ours.url(), "GET /get/k", AUTHORIZATION, "", r#"{"result":"hello"}"#)?;
    let webdis_load = |webdis: &Part| Load::new(webdis.url(), "GET /GET/k", "", "", r#"{"GET":"hello"}"#);
    let post_load = Load::new(ours.url(), "POST /", AUTHORIZATION, r#"["GET","k"]"#, r#"{"result":"hello"}"#)?;
    let commands = serde_json::json!(vec![["GET", "k"]; PIPELINE]).to_string();
    let pipeline_load = Load::new(ours.url(), "POST /pipeline", AUTHORIZATION, &commands, r#"[{"result":"hello"},"#)?;

    let (mut get, mut webdis) = (Measured::default(), Measured::default());
    let (mut post, mut pipeline) = (Measured::default(), Measured::default());
    for load in [&get_load, &post_load, &pipeline_load] {
        load.closed(CONNECTIONS, WARM_UP).await?;
    }
    if let Some(theirs) = &theirs {
        webdis_load(theirs)?.closed(CONNECTIONS, WARM_UP).await?;
    }
    for _ in 0..scale.runs {
        get.add(&get_load, &ours, &redis, scale.secs).await?;
        if let Some(theirs) = &theirs {
            webdis.add(&webdis_load(theirs)?, theirs, &redis, scale.secs).await?;
        }
        post.add(&post_load, &ours, &redis, scale.secs).await?;
        pipeline.add(&pipeline_load, &ours, &redis, scale.secs).await?;
    }
    let pipelined = pipeline.requests_a_second.median() * PIPELINE as f64 / post.requests_a_second.median();
    let bars = vec![
        Bar::ratio(
            "GET: requests a second, gateway : webdis",
            get.requests_a_second.median() / webdis.requests_a_second.median(),
            Limit::AtLeast(1.0),
        ),
        Bar::ratio("commands a second, in a pipeline of ten : alone", pipelined, Limit::AtLeast(5.0)),
    ];
    let figure = |name, unit, sides: [Sample; 2]| Figure::new(name, unit, sides);
    Ok(Scenario {
        name: name.to_owned(),
        about: format!(
            "{CONNECTIONS} connections, each with one request under way, from one thread. `GET /get/k` at the gateway, \
             which asks for a token, and `GET /GET/k` at webdis, which does not. Then at the gateway alone `POST /` \
             with one command and `POST /pipeline` with {PIPELINE}. {} s a measurement; each load is on for {} s before all \
             that is measured. Where the load's own thread takes a whole processor, it is what bounds the requests.",
            scale.secs,
            WARM_UP.as_secs()
        ),
        sides: vec!["gateway".to_owned(), "webdis".to_owned()],
        figures: vec![
            figure("GET", "requests a second", [get.requests_a_second, webdis.requests_a_second]),
            figure("GET, its own CPU", "µs a request", [get.cpu_us, webdis.cpu_us]),
            figure("GET, Redis' CPU", "of one processor", [get.redis_cpu, webdis.redis_cpu]),
            figure("GET, the load's own CPU", "of one processor", [get.load_cpu, webdis.load_cpu]),
            figure("one command in a body", "requests a second", [post.requests_a_second, Sample::default()]),
            figure("one command in a body, its own CPU", "µs a request", [post.cpu_us, Sample::default()]),
            figure("one command in a body, Redis' CPU", "of one processor", [post.redis_cpu, Sample::default()]),
            figure("one command in a body, the load's own CPU", "of one processor", [post.load_cpu, Sample::default()]),
            figure("pipeline of ten", "requests a second", [pipeline.requests_a_second, Sample::default()]),
            figure("pipeline of ten, its own CPU", "µs a request", [pipeline.cpu_us, Sample::default()]),
            figure("pipeline of ten, Redis' CPU", "of one processor", [pipeline.redis_cpu, Sample::default()]),
            figure("pipeline of ten, the load's own CPU", "of one processor", [pipeline.load_cpu, Sample::default()]),
        ],
        bars,
        missing: theirs.is_none().then(|| peers::NO_WEBDIS.to_owned()).into_iter().collect(),
    })
}
