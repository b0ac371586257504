//! What is asked of the database: the default schema's queries, or the application's own.

use std::sync::Arc;

/// The three queries of a [`crate::SqlSource`]. [`Queries::default`] has those of the default schema; each may be
/// replaced by the application's own, for its own tables.
///
/// A column that is read is named as below, whatever it is called in the table (`AS`). Whole numbers are `smallint`,
/// `integer` or `bigint`, text is `text` or `varchar`: what is something else in a table is cast, `id::text AS photo_id`
/// say, `count(*)` is right as it is, and `sum(…)` of `bigint` needs `::bigint`. Columns with other names are let alone.
///
/// ```
/// use batchcast_publisher::Queries;
///
/// // The application's own tables in Postgres, with ids as UUIDs and times as `timestamptz`.
/// let queries = Queries::default()
///     .head(
///         "SELECT (extract(epoch FROM opened_at) * 1000)::bigint AS epoch, version, status, total, queued, processing,
///            completed, failed, (extract(epoch FROM changed_at) * 1000)::bigint AS updated_at, user_id::text AS owner
///          FROM imports WHERE id::text = $1",
///     )
///     .photos(
///         "SELECT id::text AS photo_id, status, version, result, error
///          FROM import_files WHERE import_id::text = $1 AND version > $2",
///     )
///     .unsettled(
///         "SELECT id::text AS batch_id FROM imports
///          WHERE status IN ('QUEUED', 'PROCESSING') OR changed_at > to_timestamp($1 / 1000.0)",
///     );
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Queries {
    pub(super) head: Query,
    pub(super) photos: Query,
    pub(super) unsettled: Query,
}

/// A query, and the columns that it has to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Query {
    pub name: &'static str,
    pub sql: Arc<str>,
    pub columns: &'static [&'static str],
    pub parameters: &'static [Parameter],
}

impl Query {
    /// One of our own, whose columns are known.
    pub(super) fn of(name: &'static str, sql: &str) -> Self {
        Self { name, sql: sql.into(), columns: &[], parameters: &[] }
    }
}

/// What a query is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parameter {
    Text,
    Integer,
}

const HEAD: &str = "SELECT epoch, version, status, total, queued, processing, completed, failed, updated_at, owner
 FROM batches WHERE id = $1";
const PHOTOS: &str = "SELECT id AS photo_id, status, version, result, error
 FROM photos WHERE batch_id = $1 AND version > $2";
const UNSETTLED: &str = "SELECT id AS batch_id FROM batches
 WHERE status IN ('QUEUED', 'PROCESSING') OR updated_at > $1";

impl Default for Queries {
    fn default() -> Self {
        use Parameter::{Integer, Text};
        Self {
            head: Query {
                name: "head",
                sql: HEAD.into(),
                columns: &[
                    "epoch",
                    "version",
                    "status",
                    "total",
                    "queued",
                    "processing",
                    "completed",
                    "failed",
                    "updated_at",
                ],
                parameters: &[Text],
            },
            photos: Query {
                name: "photos",
                sql: PHOTOS.into(),
                columns: &["photo_id", "status", "version", "result", "error"],
                parameters: &[Text, Integer],
            },
            unsettled: Query {
                name: "unsettled",
                sql: UNSETTLED.into(),
                columns: &["batch_id"],
                parameters: &[Integer],
            },
        }
    }
}

impl Queries {
    /// The batch with the id `$1`, a text: one row, or none where there is no such batch.
    ///
    /// | column | type | |
    /// |---|---|---|
    /// | `epoch`, `version` | whole number | the position |
    /// | `status` | text | `QUEUED`, `PROCESSING`, `COMPLETED`, `PARTIAL`, `FAILED`, `CANCELLED` |
    /// | `total`, `queued`, `processing`, `completed`, `failed` | whole number | the last four add up to the first |
    /// | `updated_at` | whole number, or text | milliseconds since the Unix epoch, or RFC 3339 |
    /// | `owner` | text or `NULL` | whose it is; the column may be left out |
    ///
    /// ```
    /// use batchcast_publisher::Queries;
    ///
    /// // A table of uploads that counts by itself, and is never opened again: one epoch.
    /// let queries = Queries::default().head(
    ///     "SELECT 1 AS epoch, version, status, total, queued, processing, completed, failed, changed_ms AS updated_at
    ///      FROM uploads WHERE id = $1",
    /// );
    /// ```
    pub fn head(mut self, sql: &str) -> Self {
        self.head.sql = sql.into();
        self
    }

    /// The photos of the batch with the id `$1`, a text, whose version is greater than `$2`, a whole number; -1: all.
    /// A condition on the version spares work. What it lets through beyond that is left out here.
    ///
    /// | column | type | |
    /// |---|---|---|
    /// | `photo_id` | text | |
    /// | `status` | text | `QUEUED`, `PROCESSING`, `COMPLETED`, `FAILED` |
    /// | `version` | whole number | the batch's at which it last changed |
    /// | `result` | `json`, `jsonb`, or text that is JSON; or `NULL` | what the application found out |
    /// | `error` | text or `NULL` | why it failed |
    ///
    /// ```
    /// use batchcast_publisher::Queries;
    ///
    /// // Nothing is found out of a photo, and why it failed is not for everyone.
    /// let queries = Queries::default().photos(
    ///     "SELECT file AS photo_id, status, version, NULL AS result, NULL AS error
    ///      FROM upload_files WHERE upload_id = $1 AND version > $2",
    /// );
    /// ```
    pub fn photos(mut self, sql: &str) -> Self {
        self.photos.sql = sql.into();
        self
    }

    /// The open batches, and those that changed after `$1`, in milliseconds since the Unix epoch, a whole number. One
    /// column, `batch_id`, a text.
    ///
    /// ```
    /// use batchcast_publisher::Queries;
    ///
    /// let queries = Queries::default().unsettled(
    ///     "SELECT id AS batch_id FROM uploads WHERE status IN ('QUEUED', 'PROCESSING') OR changed_ms > $1",
    /// );
    /// ```
    pub fn unsettled(mut self, sql: &str) -> Self {
        self.unsettled.sql = sql.into();
        self
    }
}
