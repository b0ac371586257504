//! Who else is told of a batch's end, by the settings.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post, serve::Listener};
use image::ImageFormat;
use serde_json::Value;
use stack::{Authority, Certificate, GUARD, RedisServer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring::default_provider,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
    server::TlsStream,
};

use crate::{
    process::Program,
    world::{Api, Place, World, picture},
};

type Posted = Arc<Mutex<Vec<(String, HeaderMap, Value)>>>;

async fn webhook(State(posted): State<Posted>, headers: HeaderMap, body: Bytes) {
    posted.lock().unwrap().push(("webhook".to_owned(), headers, serde_json::from_slice(&body).unwrap()));
}

async fn slack(State(posted): State<Posted>, headers: HeaderMap, body: Bytes) {
    posted.lock().unwrap().push(("slack".to_owned(), headers, serde_json::from_slice(&body).unwrap()));
}

#[tokio::test]
async fn the_end_of_a_batch_is_posted_where_the_settings_say() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let posted = Posted::default();
    let app = Router::new().route("/webhook", post(webhook)).route("/slack", post(slack));
    let app = app.with_state(Arc::clone(&posted));
    let server = tokio::spawn(async move { axum::serve(listener, app).await });

    let world = World::start(&[
        ("WEBHOOK_URL", &format!("{url}/webhook")),
        ("WEBHOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("WEBHOOK_ALLOW_PRIVATE", "true"),
        ("SLACK_WEBHOOK_URL", &format!("{url}/slack")),
        ("BATCH_PAGE_URL", "https://photos.example.com/batches/{id}"),
        ("REDACT", "sharpness"),
    ])
    .await;
    let api = world.client();
    let (batch, photos) = api.declare(&["a.jpg", "notes.txt"]).await;
    api.upload(&batch, &photos[0], picture(ImageFormat::Jpeg)).await;
    api.upload(&batch, &photos[1], b"not a photo".to_vec()).await;
    let told = stack::eventually(GUARD, async || {
        let (_, metrics) = api.get("/metrics").await;
        let lines = ["webhook", "slack"]
            .map(|sink| format!("batchcast_sink_deliveries_total{{sink=\"{sink}\",outcome=\"delivered\"}} 1\n"));
        let metrics = metrics.as_str().unwrap().to_owned();
        anyhow::ensure!(lines.iter().all(|line| metrics.contains(line)), "{metrics}");
        Ok(posted.lock().unwrap().clone())
    });
    let told = told.await.unwrap();
    assert_eq!(told.len(), 2, "{told:?}");
    let by = |name: &str| told.iter().find(|(sink, ..)| sink == name).unwrap();

    let (_, headers, body) = by("webhook");
    assert!(headers["webhook-signature"].to_str().unwrap().starts_with("v1,"));
    assert_eq!((&body["type"], &body["data"]["status"]), (&"batch.ended".into(), &"PARTIAL".into()));
    assert_eq!(headers["webhook-id"], format!("{batch}:{}", body["data"]["position"].as_str().unwrap()));
    let text = body.to_string();
    assert!(text.contains("thumbnail") && !text.contains("sharpness") && !text.contains("user-1"), "{text}");

    let (_, _, message) = by("slack");
    let text = message["text"].as_str().unwrap();
    let first = format!(
        ":warning: Batch <https://photos.example.com/batches/{batch}|{batch}> is partly completed: \
         1 of 2 photos completed, 1 failed"
    );
    assert_eq!(text.lines().next(), Some(&*first));
    assert!(world.service.stop().await.is_empty());
    server.abort();
}

/// Takes connections by TLS; who does not believe the certificate is dropped.
struct Secured {
    tcp: TcpListener,
    tls: TlsAcceptor,
}

impl Secured {
    async fn bind(certificate: &Certificate) -> Self {
        let chain = CertificateDer::pem_file_iter(&certificate.chain).unwrap().collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_file(&certificate.key).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let config = config.with_single_cert(chain, key).unwrap();
        Self { tcp: TcpListener::bind("127.0.0.1:0").await.unwrap(), tls: TlsAcceptor::from(Arc::new(config)) }
    }
}

impl Listener for Secured {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (stream, address) = self.tcp.accept().await.unwrap();
            if let Ok(stream) = self.tls.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// Waits until a delivery of the webhook has ended so.
async fn until_counted(api: &Api, outcome: &str) {
    let line = format!("batchcast_sink_deliveries_total{{sink=\"webhook\",outcome=\"{outcome}\"}} ");
    let counted = stack::eventually(GUARD, async || {
        let (_, metrics) = api.get("/metrics").await;
        let count = metrics.as_str().unwrap().lines().find_map(|shown| shown.strip_prefix(&line)).unwrap().to_owned();
        anyhow::ensure!(count != "0", "no {outcome} delivery");
        Ok(())
    });
    counted.await.unwrap();
}

#[tokio::test]
async fn a_webhook_by_tls_is_told_where_its_certificate_is_believed_and_nothing_is_sent_where_not() {
    let (authority, foreign) = (Authority::new().unwrap(), Authority::new().unwrap());
    let listener = Secured::bind(&authority.issue("receiver").unwrap()).await;
    let url = format!("https://{}/webhook", listener.local_addr().unwrap());
    let posted = Posted::default();
    let app = Router::new().route("/webhook", post(webhook)).with_state(Arc::clone(&posted));
    let server = tokio::spawn(async move { axum::serve(listener, app).await });

    let redis = RedisServer::start().await.unwrap();
    for (believed, outcome) in [(&foreign, "failed"), (&authority, "delivered")] {
        let dir = Place::new().await;
        let root = believed.root().display().to_string();
        let program = Program::start_with(
            &redis,
            &dir,
            &[
                ("WEBHOOK_URL", &url),
                ("WEBHOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
                ("WEBHOOK_ALLOW_PRIVATE", "true"),
                ("SSL_CERT_FILE", &root),
            ],
        );
        let api = program.api();
        let (batch, photos) = api.declare(&["a.jpg"]).await;
        api.upload(&batch, &photos[0], picture(ImageFormat::Jpeg)).await;
        until_counted(&api, outcome).await;
        let told: Vec<Value> =
            posted.lock().unwrap().iter().map(|(.., body)| body["data"]["batchId"].clone()).collect();
        assert_eq!(told, if outcome == "failed" { vec![] } else { vec![Value::from(batch)] });
    }
    server.abort();
}
