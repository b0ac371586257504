//! Tokens that are checked by the keys of an issuer.

use std::{net::SocketAddr, path::Path, process::Command, sync::Arc, time::Duration};

use publisher::token::Grant;
use reqwest::{Client, StatusCode};
use stack::RedisServer;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};

use crate::{
    process::Program,
    tokens::{Issuer, Pair, SECRET, jwks, token},
    world::{Place, World, answer},
};

/// More than the pause between two fetches of a key set.
const PAUSE: Duration = Duration::from_secs(31);

async fn world(issuer: &Issuer) -> World {
    World::start(&[("TRUST_USER_HEADER", "false"), ("AUTH_JWKS_URL", &issuer.url())]).await
}

async fn status(world: &World, token: &str) -> StatusCode {
    let api = world.client();
    answer(api.http.get(api.url("/api/projects/p/batches")).bearer_auth(token)).await.0
}

/// The service runs on this test's own clock.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn the_keys_are_fetched_once_for_all_who_come() {
    let pair = Pair::new("k-1");
    let issuer = Issuer::start(&[&pair]).await;
    let world = world(&issuer).await;
    assert_eq!(issuer.asked(), 0, "not before they are needed");
    let token = pair.token("anna");
    let many: Vec<StatusCode> = futures::future::join_all((0..20).map(|_| status(&world, &token))).await;
    assert_eq!((many, issuer.asked()), (vec![StatusCode::OK; 20], 1));
    assert_eq!((status(&world, &pair.token("bert")).await, issuer.asked()), (StatusCode::OK, 1));
}

#[tokio::test]
async fn a_new_key_is_taken_and_one_that_was_taken_out_is_not() {
    let (old, new) = (Pair::new("k-1"), Pair::new("k-2"));
    let issuer = Issuer::start(&[&old]).await;
    let world = world(&issuer).await;
    assert_eq!(status(&world, &old.token("anna")).await, StatusCode::OK);
    issuer.answers(StatusCode::OK, jwks(&[&new]));
    pass(PAUSE).await;
    assert_eq!((status(&world, &new.token("anna")).await, issuer.asked()), (StatusCode::OK, 2));
    assert_eq!(status(&world, &old.token("anna")).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn invented_names_of_keys_cause_no_more_fetches() {
    let pair = Pair::new("k-1");
    let issuer = Issuer::start(&[&pair]).await;
    let world = world(&issuer).await;
    for n in 0..20 {
        let token = Pair::new("k-1").token_named(&format!("invented-{n}"), "anna");
        assert_eq!(status(&world, &token).await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!((status(&world, &pair.token("anna")).await, issuer.asked()), (StatusCode::OK, 1));
}

#[tokio::test]
async fn a_secret_is_no_use_where_only_keys_are_set() {
    let issuer = Issuer::start(&[&Pair::new("k-1")]).await;
    let world = world(&issuer).await;
    assert_eq!(status(&world, &token(Grant::user("anna"))).await, StatusCode::UNAUTHORIZED);
    assert_eq!(issuer.asked(), 0, "no key is looked for");
}

#[tokio::test]
async fn an_issuer_that_gives_no_keys_makes_the_service_unavailable_until_it_does() {
    let pair = Pair::new("k-1");
    let issuer = Issuer::start(&[&pair]).await;
    let good = jwks(&[&pair]);
    let world = world(&issuer).await;
    for (status, body) in [
        (StatusCode::INTERNAL_SERVER_ERROR, good.clone()),
        (StatusCode::OK, "<html>".to_owned()),
        (StatusCode::OK, format!("{good}{}", " ".repeat(wire::limits::MAX_KEY_SET_BYTES))),
        (StatusCode::FOUND, good.clone()),
    ] {
        issuer.answers(status, body);
        let api = world.client();
        let request = api.http.get(api.url("/api/projects/p/batches")).bearer_auth(pair.token("anna"));
        let response = request.send().await.unwrap();
        assert_eq!(
            (response.status(), &response.headers()["retry-after"]),
            (StatusCode::SERVICE_UNAVAILABLE, &"5".parse().unwrap())
        );
        let problem: serde_json::Value = response.json().await.unwrap();
        assert_eq!(problem["type"], "urn:batchcast:problem:unavailable");
        pass(Duration::from_secs(6)).await;
    }
    issuer.answers(StatusCode::OK, good);
    assert_eq!((status(&world, &pair.token("anna")).await, issuer.asked()), (StatusCode::OK, 5));
    issuer.answers(StatusCode::INTERNAL_SERVER_ERROR, String::new());
    pass(Duration::from_secs(11 * 60)).await;
    assert_eq!((status(&world, &pair.token("anna")).await, issuer.asked()), (StatusCode::OK, 6), "the known keys stay");
}

#[tokio::test]
async fn an_issuer_behind_https_is_asked_when_its_certificate_is_good() {
    let (redis, dir) = (RedisServer::start().await.unwrap(), Place::new().await);
    let pair = Pair::new("k-1");
    let url = format!("https://{}/jwks.json", https(dir.path(), jwks(&[&pair])).await);
    certificate(dir.path(), "other", &AUTHORITY);
    let [known, other] = ["ca.pem", "other.pem"].map(|name| dir.path().join(name).display().to_string());
    for (authorities, expected) in [(&*known, StatusCode::OK), (&*other, StatusCode::SERVICE_UNAVAILABLE)] {
        let variables = [("TRUST_USER_HEADER", "false"), ("AUTH_SECRET", SECRET), ("AUTH_JWKS_URL", &*url)];
        let variables = [&variables[..], &[("SSL_CERT_FILE", authorities)]].concat();
        let program = Program::start_with(&redis, &dir, &variables);
        let request = Client::new().get(format!("{}/api/projects/p/batches", program.base));
        assert_eq!(request.bearer_auth(pair.token("anna")).send().await.unwrap().status(), expected);
    }
}

const AUTHORITY: [&str; 2] = ["-addext", "basicConstraints=critical,CA:TRUE"];

/// Makes a certificate and its key, `NAME.pem` and `NAME.key`.
fn certificate(dir: &Path, name: &str, options: &[&str]) {
    let (chain, key) = (format!("{name}.pem"), format!("{name}.key"));
    std::fs::write(dir.join("openssl.cnf"), "[req]\ndistinguished_name=name\nprompt=no\n[name]\nCN=tests\n").unwrap();
    let output = Command::new("openssl")
        .current_dir(dir)
        .args(["req", "-x509", "-config", "openssl.cnf", "-days", "2", "-nodes", "-out", &chain, "-keyout", &key])
        .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(options)
        .output()
        .expect("openssl is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Serves `body` over TLS, with a certificate for 127.0.0.1 by the authority in `dir/ca.pem`.
async fn https(dir: &Path, body: String) -> SocketAddr {
    certificate(dir, "ca", &AUTHORITY);
    let extensions = ["-addext", "basicConstraints=critical,CA:FALSE", "-addext", "subjectAltName=IP:127.0.0.1"];
    certificate(dir, "tls", &[&extensions[..], &["-CA", "ca.pem", "-CAkey", "ca.key"]].concat());
    let chain = vec![CertificateDer::from_pem_file(dir.join("tls.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(dir.join("tls.key")).unwrap();
    let config = ServerConfig::builder_with_provider(ring::default_provider().into());
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // A client that does not know the authority goes away here.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _ = stream.read(&mut [0; 4096]).await;
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    address
}
