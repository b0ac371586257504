//! A database of a test's own, of either kind.

use std::sync::Arc;

use batchcast_publisher::{
    BatchId, Photo, PhotoId, PhotoStatus, Position, ProgressSource as _, Queries, SqlError, SqlSource, SqlSourceBuilder,
};
use sqlx::{Connection as _, PgConnection, SqliteConnection};
use stack::PostgresServer;
use tempfile::TempDir;

/// Runs a test on both databases: `on_both!(a_rule_that_holds)` for `async fn a_rule_that_holds(world: World)`.
macro_rules! on_both {
    ($($test:ident),+ $(,)?) => {
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test($crate::world::World::postgres().await).await;
            })+
        }
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test($crate::world::World::sqlite().await).await;
            })+
        }
    };
}
pub(crate) use on_both;

/// A database with nothing in it.
pub(crate) struct World {
    pub url: String,
    _keep: Keep,
}

enum Keep {
    Server { _server: Arc<PostgresServer> },
    File { _dir: TempDir },
}

impl World {
    pub(crate) async fn postgres() -> Self {
        let server = PostgresServer::shared().await.unwrap();
        Self { url: server.database().unwrap(), _keep: Keep::Server { _server: server } }
    }

    pub(crate) async fn sqlite() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}?mode=rwc", dir.path().join("a.db").display());
        let world = Self { url, _keep: Keep::File { _dir: dir } };
        world.run("PRAGMA journal_mode = WAL").await;
        world
    }

    pub(crate) fn is_postgres(&self) -> bool {
        self.url.starts_with("postgres:")
    }

    pub(crate) fn builder(&self) -> SqlSourceBuilder {
        if self.is_postgres() { SqlSource::postgres(&self.url) } else { SqlSource::sqlite(&self.url) }
    }

    /// A source with these queries, and nothing made for it.
    pub(crate) async fn source(&self, queries: Queries) -> SqlSource {
        self.builder().queries(queries).connect().await.unwrap()
    }

    /// A source on the default schema.
    pub(crate) async fn migrated(&self) -> SqlSource {
        let source = self.source(Queries::default()).await;
        source.migrate().await.unwrap();
        source
    }

    /// Statements of the application's own.
    pub(crate) async fn run(&self, sql: &str) {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        if self.is_postgres() {
            let mut connection = PgConnection::connect(&self.url).await.unwrap();
            sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        } else {
            let mut connection = SqliteConnection::connect(&self.url).await.unwrap();
            sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        }
    }
}

pub(crate) fn id(text: &str) -> BatchId {
    BatchId::new(text).unwrap()
}

/// A batch of so many photos in the default schema, and where it stands.
pub(crate) async fn batch(source: &SqlSource, id: &BatchId, photos: usize) -> (Vec<PhotoId>, Position) {
    let photos: Vec<PhotoId> = (0..photos).map(|n| PhotoId::new(&format!("photo-{n}")).unwrap()).collect();
    let position = source.create(id, Some("anna"), &photos).await.unwrap();
    (photos, position)
}

pub(crate) fn done(photo: &PhotoId) -> Photo {
    Photo::new(photo.clone(), PhotoStatus::Completed, 0)
}

/// What a source says is wrong, when it is asked for the batch `b`.
pub(crate) async fn refused(source: &SqlSource) -> SqlError {
    let error = source.changes(&id("b"), None).await.unwrap_err();
    *error.downcast::<SqlError>().unwrap()
}
