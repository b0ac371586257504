//! Who may do what, asked of the running service.

use std::time::Duration;

use image::ImageFormat;
use publisher::token::{Batches, Grant, Secrets, mint};
use reqwest::{Client, StatusCode, header, multipart::Form};
use ring::hmac;
use serde_json::{Value, json};
use stack::{GUARD, eventually};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    tokens::{Issuer, LATE, Pair, SECRET, claims, compact, jwks, shown, to_be_signed, token},
    world::{Api, World, answer, file, ids, picture},
};

/// A service that takes tokens by [`SECRET`] and nothing else.
async fn closed() -> World {
    World::start(&[("TRUST_USER_HEADER", "false"), ("AUTH_SECRET", SECRET), ("ORIGIN_TOKEN", "t-1")]).await
}

impl World {
    fn bearer(&self, token: &str) -> Api {
        let mut headers = header::HeaderMap::new();
        headers.insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        Api { http: Client::builder().default_headers(headers).build().unwrap(), ..self.client() }
    }

    fn user(&self, name: &str) -> Api {
        self.bearer(&token(Grant::user(name)))
    }
}

/// What each route answers that needs a caller; `batch` and `photo` are there.
async fn all(api: &Api, batch: &str, photo: &str) -> Vec<(StatusCode, Value)> {
    let declaration = json!({ "projectId": "p", "photos": [{ "name": "a.jpg" }] });
    vec![
        answer(api.http.post(api.url("/api/batches")).json(&declaration)).await,
        api.send(Form::new().part("file", file("a.jpg", picture(ImageFormat::Jpeg)))).await,
        api.upload(batch, photo, picture(ImageFormat::Jpeg)).await,
        api.get(&format!("/api/batches/{batch}")).await,
        api.post(&format!("/api/batches/{batch}/retry"), "").await,
        api.post(&format!("/api/batches/{batch}/cancel"), "").await,
        api.get(&format!("/api/photos/{photo}/thumbnail")).await,
        api.get("/api/projects/p/batches").await,
    ]
}

/// What the caller of `api` is told of a batch of someone else's, with the ids taken out.
async fn foreign(api: &Api, batch: &str, photo: &str) -> Vec<(StatusCode, String)> {
    let answers = [
        api.upload(batch, photo, picture(ImageFormat::Jpeg)).await,
        api.get(&format!("/api/batches/{batch}")).await,
        api.post(&format!("/api/batches/{batch}/retry"), "").await,
        api.post(&format!("/api/batches/{batch}/cancel"), "").await,
        api.get(&format!("/api/photos/{photo}/thumbnail")).await,
    ];
    answers.map(|(status, body)| (status, body.to_string().replace(batch, "ID").replace(photo, "ID"))).to_vec()
}

async fn listed(api: &Api) -> Vec<String> {
    let (status, body) = api.get("/api/projects/p/batches").await;
    assert_eq!(status, StatusCode::OK, "{body}");
    body["batches"].as_array().unwrap().iter().map(|batch| batch["batchId"].as_str().unwrap().to_owned()).collect()
}

/// Sends these bytes and nothing more, and waits for the beginning of an answer.
async fn raw(world: &World, request: &str) -> String {
    let exchange = exchange(world, request);
    tokio::time::timeout(GUARD, exchange).await.expect("an answer comes although the body does not")
}

async fn exchange(world: &World, request: &str) -> String {
    let mut stream = TcpStream::connect(world.service.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 16 * 1024];
    let read = stream.read(&mut answer).await.unwrap();
    String::from_utf8(answer[..read].to_vec()).unwrap()
}

fn announced(authorization: &str) -> String {
    format!(
        "POST /api/photos/upload HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=b\r\n\
         content-length: 2000000000\r\n{authorization}\r\n"
    )
}

/// The first half of an upload of one file.
fn begun(token: &str) -> String {
    announced(&format!("authorization: Bearer {token}\r\n")).replace("2000000000", "2000")
        + "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.jpg\"\r\n\r\n..."
}

#[tokio::test]
async fn whoever_shows_nothing_is_let_in_nowhere_but_to_health_and_metrics() {
    let world = closed().await;
    let (batch, photos) = world.user("anna").declare(&["a.jpg"]).await;
    // The client's declaration says x-user-id too: not trusted, it is as good as nothing.
    let mut named = header::HeaderMap::new();
    named.insert("x-user-id", header::HeaderValue::from_static("anna"));
    let named = Api { http: Client::builder().default_headers(named).build().unwrap(), ..world.client() };
    for api in [world.client(), named] {
        for (status, problem) in all(&api, &batch, &photos[0]).await {
            assert_eq!((status.as_u16(), &problem["type"]), (401, &"urn:batchcast:problem:unauthorized".into()));
        }
    }
    let response = world.client().http.get(world.client().url("/api/projects/p/batches")).send().await.unwrap();
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(world.client().get(path).await.0, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_token_that_is_not_good_is_refused_with_the_reason() {
    let pair = Pair::new("k-1");
    let issuer = Issuer::start(&[&pair]).await;
    let url = issuer.url();
    let variables = [("TRUST_USER_HEADER", "false"), ("AUTH_SECRET", SECRET), ("AUTH_JWKS_URL", &*url)];
    let world = World::start(&variables).await;

    let anna = json!({ "sub": "anna", "exp": LATE / 1000 });
    let hs256 = to_be_signed(&json!({ "alg": "HS256" }), &anna);
    let by =
        |key: &[u8]| compact(&hs256, hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), hs256.as_bytes()).as_ref());
    let none = compact(&to_be_signed(&json!({ "alg": "none" }), &anna), b"");
    let secrets = Secrets::parse(SECRET).unwrap();
    let mut expired = claims(Grant::user("anna"));
    expired.expires = 1_000;
    let ticket = claims(Grant::user("anna")).ticket(&"b_1".parse().unwrap(), LATE - 1_000);
    for (token, reason) in [
        (mint(&secrets, &expired), "expired"),
        (by(b"another secret of more than 32 bytes in all"), "signature"),
        (none, "alg"),
        (by(pair.public()), "signature"),
        (by(jwks(&[&pair]).as_bytes()), "signature"),
        (Pair::new("k-1").token("anna"), "signature"),
        (mint(&secrets, &ticket), "ticket"),
        ("t-1".to_owned(), "three parts"),
    ] {
        let api = world.bearer(&token);
        let response = api.http.get(api.url("/api/projects/p/batches")).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.headers()["www-authenticate"], r#"Bearer error="invalid_token""#);
        let problem: Value = response.json().await.unwrap();
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(reason) && !detail.contains(&token), "{detail}");
    }
    assert_eq!(world.bearer(&by(SECRET.as_bytes())).get("/api/projects/p/batches").await.0, StatusCode::OK);
}

#[tokio::test]
async fn with_nothing_set_nobody_is_let_in_and_is_told_what_to_set() {
    let world = World::start(&[("TRUST_USER_HEADER", "")]).await;
    for api in [world.client(), world.user("anna")] {
        for (status, problem) in all(&api, "b_1", "ph_1").await {
            assert_eq!(status, StatusCode::UNAUTHORIZED);
            assert!(problem["detail"].as_str().unwrap().contains("AUTH_SECRET"), "{problem}");
        }
    }
}

#[tokio::test]
async fn a_batch_of_someone_else_is_answered_like_one_that_is_not_there() {
    let world = closed().await;
    let (anna, bert) = (world.user("anna"), world.user("bert"));
    let (batch, photos) = anna.declare(&["a.jpg", "b.jpg"]).await;
    anna.upload(&batch, &photos[0], picture(ImageFormat::Jpeg)).await;
    anna.upload(&batch, &photos[1], b"text".to_vec()).await;
    world.watched(&batch).await;
    assert_eq!(anna.get(&format!("/api/photos/{}/thumbnail", photos[0])).await.0, StatusCode::OK);

    let unknown = foreign(&bert, "b_unknown", "ph_unknown").await;
    assert!(unknown.iter().all(|(status, _)| *status == StatusCode::NOT_FOUND), "{unknown:?}");
    assert_eq!(foreign(&bert, &batch, &photos[0]).await, unknown);
    assert_eq!(listed(&bert).await, [""; 0]);

    assert_eq!(listed(&anna).await, [&*batch]);
    assert_eq!(anna.get(&format!("/api/batches/{batch}")).await.1["status"], "PARTIAL");
    assert_eq!(anna.post(&format!("/api/batches/{batch}/retry"), "").await.0, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_batch_belongs_to_the_user_of_the_token_whatever_else_is_said() {
    let world = closed().await;
    // `declare` sends `x-user-id: user-1`.
    let (batch, _) = world.user("anna").declare(&["a.jpg"]).await;
    let (status, made) =
        world.user("anna").send(Form::new().part("file", file("a.jpg", picture(ImageFormat::Jpeg)))).await;
    assert_eq!(status, StatusCode::CREATED);
    for batch in [batch, ids(&made).0] {
        let edge = world.bearer("t-1");
        let response = edge.http.get(edge.url(&format!("/api/batches/{batch}"))).send().await.unwrap();
        assert_eq!(response.headers()["batchcast-owner"], "anna");
        let hers = world.user("anna");
        let response = hers.http.get(hers.url(&format!("/api/batches/{batch}"))).send().await.unwrap();
        assert_eq!((response.status(), response.headers().get("batchcast-owner")), (StatusCode::OK, None));
        let owner = async || world.redis.run::<String>(&["HGET", &format!("batch:progress:{batch}"), "owner"]).await;
        assert_eq!(eventually(GUARD, owner).await.expect("it is published"), "anna");
    }
}

#[tokio::test]
async fn a_token_without_a_user_makes_no_batch() {
    let world = closed().await;
    let (batch, photos) = world.user("anna").declare(&["a.jpg"]).await;
    let admin = world.bearer(&token(shown(Batches::All)));
    let answers = all(&admin, &batch, &photos[0]).await;
    for (status, problem) in &answers[..2] {
        assert_eq!((status.as_u16(), &problem["type"]), (403, &"urn:batchcast:problem:forbidden".into()), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("sub"));
    }
    // But with "*" any batch is seen and changed: the upload is taken, the retry comes too early or too late.
    let rest: Vec<u16> = answers[2..].iter().map(|(status, _)| status.as_u16()).collect();
    assert_eq!(rest[..2], [202, 200]);
    assert!([202, 409].contains(&rest[2]) && [200, 409].contains(&rest[3]), "{rest:?}");
    assert_eq!(listed(&admin).await, [batch]);
}

#[tokio::test]
async fn whom_a_batch_is_shown_to_sees_it_and_changes_nothing() {
    let world = closed().await;
    let (batch, photos) = world.user("anna").declare(&["a.jpg"]).await;
    let shown = token(shown(Batches::These(vec![batch.parse().unwrap()])));
    let guest = world.bearer(&shown);
    assert_eq!(listed(&guest).await, [&*batch]);
    assert_eq!(guest.get(&format!("/api/batches/{batch}")).await.0, StatusCode::OK);
    for verb in ["retry", "cancel"] {
        assert_eq!(guest.post(&format!("/api/batches/{batch}/{verb}"), "").await.0, StatusCode::NOT_FOUND);
    }
    assert_eq!(guest.upload(&batch, &photos[0], picture(ImageFormat::Jpeg)).await.0, StatusCode::FORBIDDEN);
    let answer = raw(&world, &begun(&shown)).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "no file is waited for that no batch would take: {answer}");
    world.user("anna").upload(&batch, &photos[0], picture(ImageFormat::Jpeg)).await;
    world.watched(&batch).await;
    let thumbnail = guest.http.get(guest.url(&format!("/api/photos/{}/thumbnail", photos[0]))).send().await.unwrap();
    assert_eq!(thumbnail.status(), StatusCode::OK);
    let [kept, varies] = ["cache-control", "vary"].map(|name| thumbnail.headers()[name].to_str().unwrap());
    assert_eq!((kept, varies), ("private, max-age=3600", "Authorization, Cookie"));
}

#[tokio::test]
async fn a_list_is_filled_with_the_batches_that_may_be_seen() {
    let world = closed().await;
    let (anna, bert) = (world.user("anna"), world.user("bert"));
    let (old, _) = anna.declare(&["a.jpg"]).await;
    for _ in 0..101 {
        bert.declare(&["b.jpg"]).await;
    }
    assert_eq!(listed(&anna).await, [old]);
    assert_eq!(listed(&bert).await.len(), 100);
}

#[tokio::test]
async fn a_cookie_is_as_good_as_the_header() {
    let world = World::start(&[("TRUST_USER_HEADER", "false"), ("AUTH_SECRET", SECRET), ("AUTH_COOKIE", "who")]).await;
    let (batch, _) = world.user("anna").declare(&["a.jpg"]).await;
    let with = async |cookie: String| {
        let api = world.client();
        answer(api.http.get(api.url(&format!("/api/batches/{batch}"))).header("cookie", cookie)).await.0
    };
    assert_eq!(with(format!("a=b; who={}", token(Grant::user("anna")))).await, StatusCode::OK);
    assert_eq!(with(format!("who={}", token(Grant::user("bert")))).await, StatusCode::NOT_FOUND);
    assert_eq!(with(format!("__Host-batchcast={}", token(Grant::user("anna")))).await, StatusCode::UNAUTHORIZED);
    assert_eq!(with("who=worn-out".into()).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn in_development_a_user_is_named_by_a_header() {
    let world = World::start(&[]).await;
    let (batch, _) = world.client().declare(&["a.jpg"]).await;
    let path = format!("/api/batches/{batch}");
    let named =
        async |user: &str| answer(world.client().http.get(world.client().url(&path)).header("x-user-id", user)).await.0;
    assert_eq!((named("user-1").await, named("user-2").await), (StatusCode::OK, StatusCode::NOT_FOUND));
    let response = world.client().http.get(world.client().url(&path)).send().await.unwrap();
    assert_eq!(
        (response.status(), &response.headers()["batchcast-owner"]),
        (StatusCode::OK, &"user-1".parse().unwrap())
    );
}

#[tokio::test]
async fn without_a_token_for_the_origin_it_is_still_closed() {
    let world = World::start(&[("TRUST_USER_HEADER", "false"), ("AUTH_SECRET", SECRET)]).await;
    let (batch, _) = world.user("anna").declare(&["a.jpg"]).await;
    let path = format!("/api/batches/{batch}");
    assert_eq!(world.client().get(&path).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(world.bearer("").get(&path).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(world.user("anna").get(&path).await.0, StatusCode::OK);
}

#[tokio::test]
async fn an_upload_of_a_stranger_is_refused_before_its_body_comes() {
    let world = closed().await;
    let answer = raw(&world, &announced("")).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    let asking = announced("").replace("\r\n\r\n", "\r\nexpect: 100-continue\r\n\r\n");
    let answer = raw(&world, &asking).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}

#[tokio::test]
async fn an_upload_that_announces_too_much_is_refused_at_once() {
    let world = closed().await;
    let authorization = format!("authorization: Bearer {}\r\n", token(Grant::user("anna")));
    let answer = raw(&world, &announced(&authorization)).await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("512 MiB"), "{answer}");
}

#[tokio::test]
async fn one_user_has_few_uploads_at_the_same_time_and_one_that_stands_still_is_given_up() {
    let world = closed().await;
    let half = begun(&token(Grant::user("anna")));
    let standing = futures::future::join_all((0..8).map(|_| exchange(&world, &half)));
    let upload = async |user: &str| {
        let form = Form::new().part("file", file("a.jpg", picture(ImageFormat::Jpeg)));
        let api = world.user(user);
        api.http.post(api.url("/api/photos/upload")).multipart(form).send().await.unwrap()
    };
    let under_way = || std::fs::read_dir(world.dir.path().join("photos/incoming")).unwrap().count();
    let time_passes = async {
        let all = async || if under_way() == 8 { Ok(()) } else { Err(anyhow::anyhow!("{} began", under_way())) };
        eventually(GUARD, all).await.unwrap();
        let refused = upload("anna").await;
        assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (429, &"10".parse().unwrap()));
        let problem: Value = refused.json().await.unwrap();
        assert_eq!(problem["type"], "urn:batchcast:problem:too-many-requests");
        assert_eq!(upload("bert").await.status(), StatusCode::CREATED);
        // The service runs on this test's own clock.
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(31)).await;
        tokio::time::resume();
    };
    let (answers, ()) = tokio::join!(standing, time_passes);
    for answer in answers {
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("too-slow"), "{answer}");
    }
    assert_eq!(upload("anna").await.status(), StatusCode::CREATED);
}
