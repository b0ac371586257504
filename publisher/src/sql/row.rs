//! One row of either database, and what its columns may be.

#[cfg(feature = "postgres")]
use wire::Json;

/// A row.
pub(super) enum Row {
    #[cfg(feature = "postgres")]
    Postgres(sqlx::postgres::PgRow),
    #[cfg(feature = "sqlite")]
    Sqlite(sqlx::sqlite::SqliteRow),
}

/// What stands in a column.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Integer(i64),
    Text(String),
    #[cfg(feature = "postgres")]
    Json(Json),
    /// Something else: the database's name of its type.
    Other(String),
}

impl Row {
    /// `None`: there is no such column.
    pub(super) fn value(&self, column: &str) -> Result<Option<Value>, sqlx::Error> {
        let value = match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(row) => postgres(row, column),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(row) => sqlite(row, column),
        };
        match value {
            Err(sqlx::Error::ColumnNotFound(_)) => Ok(None),
            value => value.map(Some),
        }
    }
}

#[cfg(feature = "postgres")]
fn postgres(row: &sqlx::postgres::PgRow, column: &str) -> Result<Value, sqlx::Error> {
    use sqlx::{Row as _, TypeInfo as _, ValueRef as _};
    let raw = row.try_get_raw(column)?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let kind = raw.type_info();
    Ok(match kind.name() {
        "INT2" => Value::Integer(row.try_get::<i16, _>(column)?.into()),
        "INT4" => Value::Integer(row.try_get::<i32, _>(column)?.into()),
        "INT8" => Value::Integer(row.try_get(column)?),
        "TEXT" | "VARCHAR" | "CHAR" | "NAME" => Value::Text(row.try_get(column)?),
        "JSON" | "JSONB" => Value::Json(row.try_get::<sqlx::types::Json<Json>, _>(column)?.0),
        other => Value::Other(other.to_lowercase()),
    })
}

#[cfg(feature = "sqlite")]
fn sqlite(row: &sqlx::sqlite::SqliteRow, column: &str) -> Result<Value, sqlx::Error> {
    use sqlx::{Row as _, TypeInfo as _, ValueRef as _};
    let raw = row.try_get_raw(column)?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let kind = raw.type_info();
    Ok(match kind.name() {
        // Unchecked: a column's declared type is only advice to SQLite, what counts is the value's own.
        "INTEGER" => Value::Integer(row.try_get_unchecked(column)?),
        "TEXT" => Value::Text(row.try_get_unchecked(column)?),
        other => Value::Other(other.to_lowercase()),
    })
}
