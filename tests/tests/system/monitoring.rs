//! What `deploy/` says about metrics, held to Debian's Prometheus and to the running parts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use image::{ImageFormat, RgbImage};
use serde_json::{Value, json};
use stack::{GUARD, Part, Stack, eventually, ports, workspace};

/// How often Prometheus asks in these tests.
const INTERVAL: &str = "250ms";

fn deploy(path: &str) -> PathBuf {
    workspace::root().join("deploy").join(path)
}

fn text_of(path: &str) -> Result<String> {
    let path = deploy(path);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

fn yaml(path: &str) -> Result<Value> {
    serde_saphyr::from_str(&text_of(path)?).with_context(|| format!("{path} is not YAML"))
}

fn items<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn words(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn program(name: &str) -> Result<PathBuf> {
    let missing = || format!("no {name} on the PATH: `cargo xtask test` installs it or says how to");
    workspace::find_program(name).with_context(missing)
}

/// Runs promtool in `dir` and gives it `input`; what it printed, or with that the failure.
fn promtool(dir: &Path, args: &[&str], input: &str) -> Result<String> {
    let mut command = Command::new(program("promtool")?);
    command.args(args).current_dir(dir).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    child.stdin.take().context("no stdin")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    ensure!(output.status.success(), "promtool {args:?}: {}\n{said}\nof\n{input}", output.status);
    Ok(said)
}

/// The files of Prometheus as an operator lays them out, with the edge's token beside them.
fn lay_out(dir: &Path, token: &str) -> Result<()> {
    for name in ["prometheus.yml", "alerts.yml", "alerts.test.yml"] {
        fs::write(dir.join(name), text_of(&format!("prometheus/{name}"))?)?;
    }
    Ok(fs::write(dir.join("metrics-token"), token)?)
}

#[test]
fn prometheus_takes_its_configuration_and_each_alert_fires_when_it_should() -> Result<()> {
    let dir = tempfile::tempdir()?;
    lay_out(dir.path(), "token")?;
    let steps: [&[&str]; 3] = [
        &["check", "config", "prometheus.yml"],
        &["check", "rules", "alerts.yml"],
        &["test", "rules", "alerts.test.yml"],
    ];
    for args in steps {
        println!("promtool {}\n{}", args.join(" "), promtool(dir.path(), args, "")?);
    }
    Ok(())
}

/// The rules of alerts.yml.
fn alerts() -> Result<Vec<Value>> {
    let rules = yaml("prometheus/alerts.yml")?;
    Ok(items(&rules, "groups").iter().flat_map(|group| items(group, "rules")).cloned().collect())
}

#[test]
fn every_alert_is_tested_both_ways_and_leads_to_its_paragraph() -> Result<()> {
    let (tests, runbook, alerts) = (yaml("prometheus/alerts.test.yml")?, text_of("RUNBOOK.md")?, alerts()?);
    let cases: Vec<&Value> = items(&tests, "tests").iter().flat_map(|test| items(test, "alert_rule_test")).collect();
    let paragraphs: Vec<(String, &str)> = (runbook.split("\n## ").skip(1))
        .filter_map(|paragraph| paragraph.split_once('\n'))
        .map(|(heading, text)| (heading.to_lowercase().replace(' ', "-"), text))
        .collect();
    assert_eq!(paragraphs.len(), alerts.len(), "a paragraph an alert");
    for alert in &alerts {
        let name = words(&alert["alert"]);
        let expected = |fires: bool| {
            let of_this = |case: &&&Value| case["alertname"] == name;
            cases.iter().filter(of_this).any(|case| items(case, "exp_alerts").is_empty() != fires)
        };
        assert!(expected(true) && expected(false), "{name} is tested when it fires and when it does not");
        let link = words(&alert["annotations"]["runbook_url"]);
        let anchor = link.strip_prefix("deploy/RUNBOOK.md#").with_context(|| format!("{name} leads to {link:?}"))?;
        let paragraph = paragraphs.iter().find(|(heading, _)| heading == anchor);
        let (_, paragraph) = paragraph.with_context(|| format!("{name}: the runbook has no {anchor:?}"))?;
        assert!(paragraph.contains(&format!("`{name}`")), "{anchor} names {name}");
        let says = ["**See", "ix.**", "**Escalate.**"].iter().all(|part| paragraph.contains(part));
        assert!(says, "{anchor} says what to see, how to fix it and when to escalate");
    }
    Ok(())
}

/// A family of metrics: its type, and its labels.
type Family = (String, BTreeSet<String>);

/// The families of a text in Prometheus' format.
fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut family = String::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            family = name.to_owned();
            families.insert(family.clone(), (kind.to_owned(), BTreeSet::new()));
        } else if let Some((_, labels)) = line.split_once('{')
            && let Some((_, known)) = families.get_mut(&family)
        {
            known.extend(labels.split(',').filter_map(|label| Some(label.split_once('=')?.0.to_owned())));
        }
    }
    families
}

/// The families that the tables of METRICS.md name.
fn documented() -> Result<BTreeMap<String, Family>> {
    let text = text_of("METRICS.md")?;
    let in_backticks = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<BTreeSet<_>>();
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, meaning] = cells[..] else { return None };
        let is_metric = ["counter", "gauge", "histogram"].contains(&kind) && !meaning.is_empty();
        is_metric.then(|| (name.trim_matches('`').to_owned(), (kind.to_owned(), in_backticks(labels))))
    };
    Ok(text.lines().filter_map(row).collect())
}

/// Names that look like metrics of ours.
fn metrics_named_in(text: &str) -> BTreeSet<&str> {
    let names = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    names.filter(|name| name.starts_with("batchcast_") || name.starts_with("photo_worker_")).collect()
}

#[tokio::test]
async fn what_the_parts_serve_is_what_the_table_says_and_promtool_takes() -> Result<()> {
    let stack = Stack::builder().bare().start().await?;
    // The gateway counts requests by status, and so shows a status when it has answered with it.
    let edge = stack.edge_metrics().await?;
    let text = async |url: String| Ok::<_, anyhow::Error>(reqwest::get(url).await?.error_for_status()?.text().await?);
    let gateway = text(format!("{}/metrics", stack.gateway_admin_url())).await?;
    let photo_worker = text(format!("{}/metrics", stack.photo_worker.url())).await?;
    let mut served = BTreeMap::new();
    for text in [&edge, &gateway, &photo_worker] {
        let said = promtool(Path::new("."), &["check", "metrics"], text)?;
        assert_eq!(said, "", "promtool check metrics finds something to say");
        served.append(&mut families(text));
    }
    let documented = documented()?;
    for (name, family) in &served {
        assert_eq!(documented.get(name), Some(family), "{name} in METRICS.md");
    }
    assert_eq!(documented.keys().collect::<Vec<_>>(), served.keys().collect::<Vec<_>>());

    let files = ["METRICS.md", "RUNBOOK.md", "prometheus/alerts.yml", "prometheus/alerts.test.yml"];
    for file in files.into_iter().chain(["grafana/batchcast.json"]) {
        for name in metrics_named_in(&text_of(file)?) {
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            // `batchcast_publisher_…` stands for all of them.
            let is_served = served.contains_key(name) || served.contains_key(family) || name.ends_with('_');
            assert!(is_served, "{file} names {name}, which no part serves");
        }
    }
    Ok(())
}

/// A running Prometheus.
struct Prometheus {
    part: Part,
}

impl Prometheus {
    /// With the configuration of `deploy/`, its targets put in place of those of compose.yaml, and asking more often.
    async fn start(stack: &Stack, dir: &Path) -> Result<Self> {
        lay_out(dir, stack.metrics_token())?;
        let targets = [
            ("batchcast-edge", stack.edge.url()),
            ("batchcast-gateway", stack.gateway_admin_url()),
            ("batchcast-publisher", stack.photo_worker.url()),
        ];
        let mut config = yaml("prometheus/prometheus.yml")?;
        config["global"] = json!({ "scrape_interval": INTERVAL, "evaluation_interval": INTERVAL });
        for job in config["scrape_configs"].as_array_mut().context("no scrape_configs")? {
            let target = targets.iter().find(|(name, _)| job["job_name"] == *name);
            let (_, url) = target.with_context(|| format!("a job that is unknown here: {job}"))?;
            job["scrape_interval"] = json!(INTERVAL);
            job["static_configs"] = json!([{ "targets": [url.trim_start_matches("http://")] }]);
        }
        // JSON is YAML.
        fs::write(dir.join("prometheus.yml"), config.to_string())?;
        let address = format!("127.0.0.1:{}", ports::free()?);
        let args =
            ["--config.file=prometheus.yml", "--storage.tsdb.path=data", &format!("--web.listen-address={address}")];
        let url = format!("http://{address}");
        let health = format!("{url}/-/ready");
        let mut part = Part::foreign("prometheus", url, health, program("prometheus")?, &args, dir);
        part.start().await?;
        Ok(Self { part })
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value> {
        let url = format!("{}/api/v1/{path}", self.part.url());
        let answer: Value = reqwest::Client::new().get(url).query(query).send().await?.json().await?;
        ensure!(answer["status"] == "success", "{query:?}: {answer}");
        Ok(answer["data"].clone())
    }

    /// The series that a query gives now, each with its labels and a number.
    ///
    /// # Errors
    /// Also when it gives none, or something that is no number.
    async fn ask(&self, query: &str) -> Result<Vec<(String, f64)>> {
        let data = self.get("query", &[("query", query)]).await?;
        let number = |series: &Value| {
            let value: f64 = words(&series["value"][1]).parse()?;
            ensure!(value.is_finite(), "{query} is {value}");
            Ok((series["metric"].to_string(), value))
        };
        let series = items(&data, "result").iter().map(number).collect::<Result<Vec<_>>>()?;
        ensure!(!series.is_empty(), "{query} gives nothing");
        Ok(series)
    }

    /// Waits until a query gives one series, of this value.
    async fn until(&self, query: &str, expected: f64) -> Result<()> {
        eventually(GUARD, async || {
            let found = self.ask(query).await?;
            ensure!(matches!(found[..], [(_, value)] if value == expected), "{query}: {found:?}");
            Ok(())
        })
        .await
    }
}

/// The queries of the dashboard, each with the title of its panel.
fn dashboard() -> Result<Vec<(String, String)>> {
    let dashboard: Value = serde_json::from_str(&text_of("grafana/batchcast.json")?)?;
    let queries = |panel: &Value| {
        let title = words(&panel["title"]).to_owned();
        let queries =
            items(panel, "targets").iter().map(move |target| (title.clone(), words(&target["expr"]).to_owned()));
        queries.collect::<Vec<_>>()
    };
    Ok(items(&dashboard, "panels").iter().flat_map(queries).collect())
}

#[test]
fn the_runbook_speaks_of_panels_that_there_are() -> Result<()> {
    let titles: BTreeSet<String> = dashboard()?.into_iter().map(|(title, _)| title).collect();
    let runbook = text_of("RUNBOOK.md")?;
    // Without code, in which an asterisk is an asterisk, and without what is bold.
    let runbook = runbook.split('`').step_by(2).collect::<String>().replace("**", "");
    let named: BTreeSet<String> = runbook.split('*').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(!named.is_empty());
    assert_eq!(named.difference(&titles).collect::<Vec<_>>(), [""; 0]);
    Ok(())
}

#[tokio::test]
async fn every_query_of_the_dashboard_has_a_value_on_a_running_system() -> Result<()> {
    // One object holds both rooms, and tells of the second when the first closes.
    let stack = Stack::builder().bare().edge_var("LINGER_SECS", "0").edge_var("HUB_SHARDS", "1").start().await?;
    let dir = tempfile::tempdir()?;
    let prometheus = Prometheus::start(&stack, dir.path()).await?;
    // All are known at nought before anything happens, so that what happens is seen as an increase.
    prometheus.until(r#"count(up{job=~"batchcast-.+"} == 1)"#, 3.0).await?;

    let mut photo = Vec::new();
    RgbImage::from_pixel(64, 48, image::Rgb([90, 120, 40]))
        .write_to(&mut Cursor::new(&mut photo), ImageFormat::Jpeg)?;
    let declared = |count| vec![("a.jpg".to_owned(), photo.len() as u64); count];
    let api = stack.api();
    let watched = api.create_batch("p", &declared(1)).await?;
    let mut staying = stack.view(&watched.batch_id).await?;
    staying.next_of("progress").await?;
    let batch = api.create_batch("p", &declared(3)).await?;
    let mut viewer = stack.view(&batch.batch_id).await?;
    viewer.next_of("progress").await?;
    for id in &batch.photo_ids {
        api.upload("p", &batch.batch_id, id, "a.jpg", photo.clone()).await?;
        api.read(&batch.batch_id).await?;
    }
    viewer.rest().await?;

    for (query, value) in [("sum(batchcast_viewers)", 1.0), ("sum(batchcast_rooms)", 1.0)] {
        prometheus.until(query, value).await?;
    }
    let mut titled = "";
    let queries = dashboard()?;
    for (title, query) in &queries {
        let values = eventually(GUARD, async || prometheus.ask(query).await).await?;
        if titled != title {
            println!("{title}");
            titled = title;
        }
        println!("  {query}");
        values.iter().for_each(|(labels, value)| println!("    {labels} {value}"));
    }
    println!("{} queries", queries.len());
    for query in [
        "sum(rate(batchcast_sse_events_total[5m])) > 0",
        "histogram_quantile(0.5, sum by (le) (rate(batchcast_sse_latency_seconds_bucket[5m]))) > 0",
        "histogram_quantile(0.5, sum by (le) (rate(batchcast_publisher_lag_seconds_bucket[5m]))) > 0",
        r#"sum(rate(batchcast_cache_requests_total{result="hit"}[5m])) > 0"#,
        r#"sum(rate(photo_worker_photos_total{outcome="completed"}[5m])) > 0"#,
    ] {
        eventually(GUARD, async || prometheus.ask(query).await).await?;
    }

    // The same rules that were tried on made-up figures, on real ones.
    let rules = eventually(GUARD, async || {
        let data = prometheus.get("rules", &[]).await?;
        let rules: Vec<Value> =
            items(&data, "groups").iter().flat_map(|group| items(group, "rules")).cloned().collect();
        ensure!(rules.iter().all(|rule| rule["health"] == "ok"), "{rules:?}");
        Ok(rules)
    })
    .await?;
    assert_eq!(rules.len(), alerts()?.len());
    assert!(rules.iter().all(|rule| rule["state"] == "inactive"), "{rules:?}");
    Ok(())
}
