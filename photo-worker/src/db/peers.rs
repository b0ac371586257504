//! Processes that share the rows of one Postgres: which of them live. What one that is gone has committed and not told,
//! another has to tell. On SQLite there is one process, whose start tells it.

use super::{Db, DbError, Worker};

impl Db {
    /// This process lives, for another lease.
    pub(crate) async fn alive(&self, worker: &Worker, now: i64) -> Result<(), DbError> {
        if self.is_shared() {
            let query = sqlx::query(
                "INSERT INTO workers (id, alive_until) VALUES ($1, $2)
                 ON CONFLICT (id) DO UPDATE SET alive_until = excluded.alive_until",
            );
            query.bind(&worker.id).bind(now.saturating_add(worker.lease_ms)).execute(&self.writes).await?;
        }
        Ok(())
    }

    /// The processes that have not been heard of for a lease, or have said that they left something untold.
    pub(crate) async fn gone(&self, now: i64) -> Result<Vec<String>, DbError> {
        if !self.is_shared() {
            return Ok(vec![]);
        }
        let query = sqlx::query_scalar("SELECT id FROM workers WHERE alive_until <= $1 ORDER BY id").bind(now);
        Ok(query.fetch_all(&self.reads).await?)
    }

    /// What a process left has been told.
    pub(crate) async fn settled(&self, worker: &str) -> Result<(), DbError> {
        if self.is_shared() {
            sqlx::query("DELETE FROM workers WHERE id = $1").bind(worker).execute(&self.writes).await?;
        }
        Ok(())
    }

    /// This process ends and leaves something untold: nobody waits until its lease is over.
    pub(crate) async fn leaves_untold(&self, worker: &Worker) -> Result<(), DbError> {
        if self.is_shared() {
            let query = sqlx::query("UPDATE workers SET alive_until = 0 WHERE id = $1");
            query.bind(&worker.id).execute(&self.writes).await?;
        }
        Ok(())
    }
}
