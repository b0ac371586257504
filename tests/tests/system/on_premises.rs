//! The edge as deploy/ON-PREMISES.md runs it: `workerd` with the configuration of deploy/workerd.

use std::collections::BTreeSet;
use std::fs;
use std::io::Cursor;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use image::{ImageFormat, RgbImage};
use reqwest::{Client, Response, StatusCode};
use stack::{Api, Part, Stack, Viewer, ports, workspace};

/// The files as an operator lays them out.
fn lay_out(dir: &Path) -> Result<()> {
    let root = workspace::root();
    for file in ["deploy/workerd/config.capnp", "deploy/workerd/front.js"] {
        fs::copy(root.join(file), dir.join(Path::new(file).file_name().context("no name")?))?;
    }
    for file in ["index.js", "index_bg.wasm"] {
        fs::copy(workspace::built("edge/build")?.join(file), dir.join(file))?;
    }
    std::os::unix::fs::symlink(workspace::built("client/dist")?, dir.join("files"))?;
    Ok(fs::create_dir(dir.join("objects"))?)
}

/// The edge beside the other parts of a stack whose own edge is not started.
async fn edge(stack: &Stack, dir: &Path) -> Result<Part> {
    lay_out(dir)?;
    let address = format!("127.0.0.1:{}", ports::free()?);
    let url = format!("http://{address}");
    let health = format!("{url}/healthz");
    let args = ["serve", "config.capnp", &format!("--socket-addr=http={address}")];
    let mut edge = Part::foreign("edge", url, health, workspace::workerd()?, &args, dir);
    let addresses = stack.addresses();
    for (name, value) in [
        ("UPSTASH_REDIS_REST_URL", stack.gateway.url()),
        ("UPSTASH_REDIS_REST_TOKEN", &addresses.gateway_token),
        ("ORIGIN_URL", stack.photo_worker.url()),
        ("ORIGIN_TOKEN", stack.origin_token()),
        ("AUTH_SECRET", stack.auth_secret()),
        ("METRICS_TOKEN", stack.metrics_token()),
    ] {
        edge.env(name, value);
    }
    edge.start().await?;
    Ok(edge)
}

fn content_type(response: &Response) -> &str {
    response.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default()
}

#[tokio::test]
async fn the_edge_on_premises_serves_the_page_and_takes_a_batch_from_upload_to_end() -> Result<()> {
    let mut stack = Stack::builder().closed().plan()?.stopped()?;
    stack.redis.start().await?;
    stack.gateway.start().await?;
    stack.photo_worker.start().await?;
    let dir = tempfile::tempdir()?;
    let edge = edge(&stack, dir.path()).await?;

    let (http, api) = (Client::new(), Api::new(edge.url()));
    for (path, expected) in [
        ("/", "text/html; charset=utf-8"),
        ("/batches/b-1", "text/html; charset=utf-8"),
        ("/projects/p", "text/html; charset=utf-8"),
        ("/assets/main.js", "text/javascript; charset=utf-8"),
        ("/assets/main.css", "text/css; charset=utf-8"),
        ("/assets/favicon.svg", "image/svg+xml"),
    ] {
        let page = api.get(path).await?.error_for_status()?;
        assert_eq!(content_type(&page), expected, "{path}");
        ensure!(!page.bytes().await?.is_empty(), "{path} is empty");
    }
    let absent = api.get("/assets/absent.js").await?;
    assert_eq!((absent.status(), content_type(&absent)), (StatusCode::NOT_FOUND, "application/problem+json"));
    assert_eq!(api.get("/api/batches/b-1").await?.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(api.get("/readyz").await?.status(), StatusCode::OK);

    // Behind a proxy that speaks TLS: the page's own origin is the one that the browser sees.
    let own = edge.url().replace("http://", "https://");
    for (protocol, expected) in [("https", StatusCode::UNAUTHORIZED), ("http", StatusCode::FORBIDDEN)] {
        let request = http.get(format!("{}/api/batches/b-1", edge.url())).header("origin", &own);
        let answer = request.header("x-forwarded-proto", protocol).send().await?;
        assert_eq!(answer.status(), expected, "{protocol}");
    }

    let mut photo = Vec::new();
    RgbImage::from_pixel(64, 48, image::Rgb([9, 9, 9])).write_to(&mut Cursor::new(&mut photo), ImageFormat::Png)?;
    let token = stack.token("anna");
    let form = reqwest::multipart::Form::new()
        .text("projectId", "p")
        .part("file", reqwest::multipart::Part::bytes(photo).file_name("a.png"));
    let uploaded = http.post(format!("{}/api/photos/upload", edge.url())).bearer_auth(&token).multipart(form);
    let uploaded: serde_json::Value = uploaded.send().await?.error_for_status()?.json().await?;
    let batch = uploaded["batchId"].as_str().context("no batchId")?;
    let stream = format!("{}/api/batches/{batch}/stream", edge.url());
    let mut viewer = Viewer::open_with(Viewer::request(&stream).bearer_auth(&token)).await?;
    let events = viewer.rest().await?;
    let last = events.last().context("no events")?;
    assert_eq!((last.event.as_str(), last.data["status"].as_str()), ("complete", Some("COMPLETED")));
    Ok(())
}

#[test]
fn every_setting_of_the_edge_can_be_given_to_workerd() -> Result<()> {
    let read = |path| fs::read_to_string(workspace::root().join(path));
    let (readme, config) = (read("README.md")?, read("deploy/workerd/config.capnp")?);
    let table = readme.split("**Edge**").nth(1).and_then(|rest| rest.split("**Gateway**").next());
    let names = |text: &str, before: &str| {
        let names = text.split(before).skip(1).filter_map(|rest| rest.split(['`', '"']).next().map(str::to_owned));
        names.filter(|name| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')).collect::<BTreeSet<_>>()
    };
    let rows = table.context("no table of the edge's settings")?.lines().filter(|line| line.starts_with("| `"));
    let cells: String = rows.filter_map(|row| row.split('|').nth(1)).collect();
    let mut documented = names(&cells, "`");
    // They place objects in Cloudflare's network.
    assert!(documented.remove("HUB_LOCATION") && documented.remove("HUB_JURISDICTION"));
    let given = names(&config, "fromEnvironment = \"");
    documented.retain(|name| !name.is_empty());
    assert_eq!(given, documented);
    Ok(())
}
