//! Settings that are wrong, databases that are away, queries that take too long.

use std::time::Duration;

use batchcast_publisher::{PhotoId, ProgressSource as _, Queries, SqlError, SqlSource};
use stack::{Authority, GUARD, PostgresServer};

use crate::world::{World, id, on_both, refused};

on_both!(a_query_that_never_ends_is_given_up, a_setting_that_is_wrong_is_named);

async fn a_query_that_never_ends_is_given_up(world: World) {
    world.migrated().await;
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT (i + 1) % 1000 FROM n)
        SELECT i AS epoch, i AS version, 'QUEUED' AS status, 0 AS total, 0 AS queued, 0 AS processing, 0 AS completed,
          0 AS failed, 0 AS updated_at FROM n WHERE i < 0 AND $1 <> ''";
    let builder = world.builder().queries(Queries::default().head(endless)).connections(1);
    let source = builder.statement_timeout(Duration::from_millis(200)).connect().await.unwrap();
    for _ in 0..2 {
        let error = tokio::time::timeout(GUARD, refused(&source)).await.expect("it is given up");
        assert!(matches!(error, SqlError::TimedOut { query: "head" }), "{error}");
    }
    source.check().await.expect("the connection is of use again");
}

async fn a_setting_that_is_wrong_is_named(world: World) {
    for (builder, named) in [
        (world.builder().connections(0), "connections"),
        (world.builder().statement_timeout(Duration::ZERO), "statement_timeout"),
    ] {
        let error = builder.connect().await.unwrap_err();
        assert!(matches!(error, SqlError::Config { setting, .. } if setting == named), "{error}");
    }
}

#[tokio::test]
async fn an_address_of_another_database_is_refused_and_a_password_never_shown() {
    for builder in [
        SqlSource::postgres("mysql://user:secret@host/db"),
        SqlSource::postgres("postgres://user:secret@host:port/db"),
        SqlSource::postgres("secret"),
        SqlSource::sqlite("postgres://user:secret@host/db"),
        SqlSource::sqlite("sqlite://a.db?mode=secret"),
    ] {
        let debug = format!("{builder:?}");
        let error = builder.connect().await.unwrap_err();
        assert!(matches!(error, SqlError::Config { setting: "url", .. }), "{error}");
        assert!(!format!("{debug}{error}{error:?}").contains("secret"), "{error:?}");
    }
}

#[tokio::test]
async fn a_database_that_is_not_there_is_unreachable() {
    let server = PostgresServer::shared().await.unwrap();
    let url = server.database().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let nowhere = format!("postgres://user:secret@127.0.0.1:{}/db", stack::ports::free().unwrap());
    for builder in [
        SqlSource::postgres(&nowhere),
        SqlSource::postgres(&format!("{url}_that_is_not_there")),
        SqlSource::postgres(&url.replace("postgres@", "nobody:secret@")),
        SqlSource::sqlite(&format!("sqlite://{}", dir.path().join("missing.db").display())),
    ] {
        let source = builder.statement_timeout(Duration::from_secs(2)).connect().await.unwrap();
        let error = source.check().await.unwrap_err();
        assert!(matches!(error, SqlError::Unreachable { .. }), "{error:?}");
        assert!(!format!("{source:?}{error}{error:?}").contains("secret"), "{error:?}");
    }
}

#[tokio::test]
async fn a_database_that_was_restarted_is_read_again() {
    let mut server = PostgresServer::start().await.unwrap();
    let source = SqlSource::postgres(&server.database().unwrap()).connect().await.unwrap();
    source.migrate().await.unwrap();
    source.create(&id("b"), None, &[PhotoId::new("a").unwrap()]).await.unwrap();
    server.restart().await.unwrap();
    let read = async || source.changes(&id("b"), None).await.map_err(anyhow::Error::from_boxed);
    assert!(stack::eventually(GUARD, read).await.unwrap().is_some());
}

#[tokio::test]
async fn a_server_is_reached_by_tls_where_its_certificate_is_believed() {
    let (authority, foreign) = (Authority::new().unwrap(), Authority::new().unwrap());
    let server = PostgresServer::start_with_tls(&authority.issue("served").unwrap()).await.unwrap();
    let url = server.database().unwrap();
    let by = |authority: &Authority| format!("{url}?sslmode=verify-full&sslrootcert={}", authority.root().display());
    let source = SqlSource::postgres(&by(&authority)).connect().await.unwrap();
    source.migrate().await.unwrap();
    source.check().await.unwrap();
    for wrong in [by(&foreign), format!("{url}?sslmode=verify-full"), format!("{url}?sslmode=disable")] {
        let source = SqlSource::postgres(&wrong).statement_timeout(Duration::from_secs(2)).connect().await.unwrap();
        let error = source.check().await.unwrap_err();
        assert!(matches!(error, SqlError::Unreachable { .. }), "{wrong}: {error:?}");
    }
}
