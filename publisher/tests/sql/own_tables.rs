//! The application's own tables, read by its own queries.

use std::time::{Duration, UNIX_EPOCH};

use batchcast_publisher::{BatchStatus, PhotoStatus, ProgressSource as _, Queries, SqlError};

use crate::world::{World, id, on_both, refused};

on_both!(
    tables_of_ones_own_are_read_by_queries_of_ones_own,
    a_missing_column_is_found_at_start,
    a_query_that_can_not_be_run_is_named_at_start,
    what_a_column_can_not_hold_is_named,
    a_query_without_a_condition_on_the_version_gives_only_what_changed,
);

/// UUIDs, `timestamptz` and `jsonb` in Postgres, counts that are counted.
const POSTGRES: &str = r#"
    CREATE TABLE imports (id uuid PRIMARY KEY, opened timestamptz, changed timestamptz, revision int, state varchar(20));
    CREATE TABLE files (id serial, import uuid, revision smallint, state text, found jsonb);
    INSERT INTO imports VALUES ('6f1ed002-ab59-4e2b-8f0a-1d3c4b5a6978', to_timestamp(1000), to_timestamp(2000), 3, 'PROCESSING');
    INSERT INTO files (import, revision, state, found) VALUES
      ('6f1ed002-ab59-4e2b-8f0a-1d3c4b5a6978', 2, 'COMPLETED', '{"width": 640}'),
      ('6f1ed002-ab59-4e2b-8f0a-1d3c4b5a6978', 3, 'QUEUED', NULL)"#;
const SQLITE: &str = r#"
    CREATE TABLE imports (id, opened DATETIME, changed DATETIME, revision, state);
    CREATE TABLE files (id INTEGER PRIMARY KEY, import, revision, state, found JSON);
    INSERT INTO imports VALUES ('6f1ed002-ab59-4e2b-8f0a-1d3c4b5a6978', 1000, '1970-01-01T00:33:20Z', 3, 'PROCESSING');
    INSERT INTO files (import, revision, state, found) VALUES
      ('6f1ed002-ab59-4e2b-8f0a-1d3c4b5a6978', 2, 'COMPLETED', '{"width": 640}'),
      ('6f1ed002-ab59-4e2b-8f0a-1d3c4b5a6978', 3, 'QUEUED', NULL)"#;

fn queries(world: &World) -> Queries {
    let (epoch, changed, text) = if world.is_postgres() {
        ("(extract(epoch FROM opened) * 1000)::bigint", "(extract(epoch FROM changed) * 1000)::bigint", "::text")
    } else {
        ("opened * 1000", "changed", "")
    };
    let count = |state: &str| format!("(SELECT count(*) FROM files WHERE import = imports.id AND state = '{state}')");
    Queries::default()
        .head(&format!(
            "SELECT {epoch} AS epoch, revision AS version, state AS status,
               (SELECT count(*) FROM files WHERE import = imports.id) AS total, {} AS queued, 0 AS processing,
               {} AS completed, {} AS failed, {changed} AS updated_at FROM imports WHERE id{text} = $1",
            count("QUEUED"),
            count("COMPLETED"),
            count("FAILED")
        ))
        .photos(&format!(
            "SELECT {} AS photo_id, state AS status, revision AS version, found AS result, NULL AS error
             FROM files WHERE import{text} = $1 AND revision > $2 ORDER BY id",
            if world.is_postgres() { "id::text" } else { "CAST(id AS TEXT)" }
        ))
        .unsettled(&format!("SELECT id{text} AS batch_id FROM imports WHERE state = 'PROCESSING' AND $1 >= 0"))
}

async fn tables_of_ones_own_are_read_by_queries_of_ones_own(world: World) {
    world.run(if world.is_postgres() { POSTGRES } else { SQLITE }).await;
    let source = world.source(queries(&world)).await;
    source.check().await.unwrap();
    let b = id("6f1ed002-ab59-4e2b-8f0a-1d3c4b5a6978");
    let whole = source.changes(&b, None).await.unwrap().unwrap();
    assert_eq!(whole.check(), Ok(()));
    assert_eq!((whole.head.position.to_string().as_str(), whole.head.status), ("1000000-3", BatchStatus::Processing));
    assert_eq!((whole.head.updated_at.as_str(), whole.owner), ("1970-01-01T00:33:20Z", None));
    assert_eq!((whole.photos.len(), whole.photos[0].status), (2, PhotoStatus::Completed));
    assert_eq!(whole.photos[0].result.as_ref().unwrap().as_str(), r#"{"width": 640}"#);
    assert_eq!(source.changes(&id("no-uuid"), None).await.unwrap(), None);
    assert_eq!(source.unsettled(UNIX_EPOCH + Duration::from_secs(1)).await.unwrap(), [b]);
}

async fn a_missing_column_is_found_at_start(world: World) {
    world.run("CREATE TABLE batches (id TEXT)").await;
    let head =
        Queries::default().head("SELECT 1 AS epoch, 2 AS version, 'QUEUED' AS status FROM batches WHERE id = $1");
    let error = world.source(head).await.check().await.unwrap_err();
    assert_eq!(error.to_string(), r#"the query "head", column "total": is missing; name it so: `… AS total`"#);
    let error = world.source(Queries::default()).await.migrate().await.unwrap_err();
    assert!(matches!(error, SqlError::Query { .. }), "tables of another kind: {error}");
}

async fn a_query_that_can_not_be_run_is_named_at_start(world: World) {
    world.migrated().await;
    for (queries, name) in [
        (Queries::default().head("SELECT nonsense FROM batches WHERE id = $1"), "head"),
        (Queries::default().photos("SELEC"), "photos"),
        (Queries::default().unsettled("SELECT batch_id FROM nowhere WHERE x > $1"), "unsettled"),
    ] {
        let error = world.source(queries).await.check().await.unwrap_err();
        assert!(matches!(&error, SqlError::Query { query, .. } if *query == name), "{error}");
        assert!(["nonsense", "SELEC", "nowhere"].iter().any(|word| error.to_string().contains(word)), "{error}");
    }
}

async fn what_a_column_can_not_hold_is_named(world: World) {
    let head = |column: &str, value: &str| {
        let columns = [
            ("epoch", "1"),
            ("version", "2"),
            ("status", "'QUEUED'"),
            ("total", "1"),
            ("queued", "1"),
            ("processing", "0"),
            ("completed", "0"),
            ("failed", "0"),
            ("updated_at", "0"),
            ("owner", "NULL"),
        ];
        let columns = columns.map(|(name, right)| format!("{} AS {name}", if name == column { value } else { right }));
        Queries::default().head(&format!("SELECT {} WHERE $1 = 'b'", columns.join(", ")))
    };
    let photos = |result: &str, id: &str| {
        let columns = format!("{id} AS photo_id, 'QUEUED' AS status, 1 AS version, {result} AS result, NULL AS error");
        head("", "").photos(&format!("SELECT {columns} WHERE $1 = 'b' AND $2 >= -1"))
    };
    for (queries, column, says) in [
        (head("status", "'queued'"), "status", "\"queued\""),
        (head("status", "7"), "status", "has to be text"),
        (head("total", "NULL"), "total", "is NULL"),
        (head("total", "-1"), "total", "has to be a count"),
        (head("failed", "1.5"), "failed", "has to be a whole number"),
        (head("epoch", "'1'"), "epoch", "is text"),
        (head("version", "-2"), "version", "from 0 to"),
        (head("updated_at", "'yesterday'"), "updated_at", "RFC 3339"),
        (head("owner", "7"), "owner", "has to be text"),
        (photos("'secret {'", "'p'"), "result", "no JSON"),
        (photos("7", "'p'"), "result", "has to be JSON"),
        (photos("NULL", "'a b'"), "photo_id", "holds only"),
    ] {
        let source = world.source(queries).await;
        let error = refused(&source).await;
        assert!(matches!(&error, SqlError::Column { column: named, .. } if *named == column), "{error}");
        assert!(error.to_string().contains(says) && !error.to_string().contains("secret"), "{error}");
    }
}

async fn a_query_without_a_condition_on_the_version_gives_only_what_changed(world: World) {
    let careless = "SELECT id AS photo_id, status, version, result, error FROM photos WHERE batch_id = $1 AND $2 >= -1";
    let (source, b) = (world.migrated().await, id("b"));
    let (photos, made) = crate::world::batch(&source, &b, 3).await;
    source.step(&b, &crate::world::done(&photos[0])).await.unwrap().unwrap();
    let source = world.source(Queries::default().photos(careless)).await;
    assert_eq!(source.changes(&b, Some(made)).await.unwrap().unwrap().photos.len(), 1);
    assert_eq!(source.changes(&b, None).await.unwrap().unwrap().photos.len(), 3);
}
