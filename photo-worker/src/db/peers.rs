//! Processes that share the rows of one Postgres: which of them live. What one that is gone has committed and not told,
//! another has to tell. On SQLite there is one process, whose start tells it.

use super::{Db, DbError, Worker};

/// A process that is gone, as it is settled.
#[derive(Debug, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Gone {
    pub(super) id: String,
    alive_until: i64,
}

impl Db {
    /// This process lives, for another lease.
    pub(crate) async fn alive(&self, worker: &Worker, now: i64) -> Result<(), DbError> {
        self.alive_until(worker, now.saturating_add(worker.lease_ms)).await
    }

    /// The processes that have not been heard of for a lease, or have said that they left something untold. They are
    /// this process' to settle: nobody else is told of them, unless it is not done within a lease.
    pub(crate) async fn gone(&self, worker: &Worker, now: i64) -> Result<Vec<Gone>, DbError> {
        if !self.is_shared() {
            return Ok(vec![]);
        }
        let query =
            sqlx::query_as("UPDATE workers SET alive_until = $1 WHERE alive_until <= $2 RETURNING id, alive_until");
        Ok(query.bind(now.saturating_add(worker.lease_ms)).bind(now).fetch_all(&self.writes).await?)
    }

    /// What they left has been told. One that has been heard of again meanwhile stays known.
    pub(crate) async fn settled(&self, gone: &[Gone]) -> Result<(), DbError> {
        for Gone { id, alive_until } in gone {
            let query = sqlx::query("DELETE FROM workers WHERE id = $1 AND alive_until = $2");
            query.bind(id).bind(alive_until).execute(&self.writes).await?;
        }
        Ok(())
    }

    /// This process ends, and has told everything.
    pub(crate) async fn leave(&self, worker: &Worker) -> Result<(), DbError> {
        if self.is_shared() {
            sqlx::query("DELETE FROM workers WHERE id = $1").bind(&worker.id).execute(&self.writes).await?;
        }
        Ok(())
    }

    /// This process ends and may leave something untold: nobody waits until its lease is over.
    pub(crate) async fn leave_untold(&self, worker: &Worker) -> Result<(), DbError> {
        self.alive_until(worker, 0).await
    }

    async fn alive_until(&self, worker: &Worker, time: i64) -> Result<(), DbError> {
        if self.is_shared() {
            let query = sqlx::query(
                "INSERT INTO workers (id, alive_until) VALUES ($1, $2)
                 ON CONFLICT (id) DO UPDATE SET alive_until = excluded.alive_until",
            );
            query.bind(&worker.id).bind(time).execute(&self.writes).await?;
        }
        Ok(())
    }
}
