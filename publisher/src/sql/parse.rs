//! Rows read as what they mean. Each error names the query and the column.

use jiff::Timestamp;
use wire::{BatchId, BatchStatus, Counts, Head, Json, Photo, PhotoId, PhotoStatus, Position, limits::MAX_INTEGER};

use super::{
    error::SqlError,
    queries::Query,
    row::{Row, Value},
    words,
};

/// A row of a query.
pub(super) struct Columns<'a> {
    pub query: &'a Query,
    pub row: &'a Row,
}

impl Columns<'_> {
    /// The head of the batch, and its owner.
    pub(super) fn head(&self, batch: &BatchId) -> Result<(Head, Option<String>), SqlError> {
        let counts = Counts {
            total: self.count("total")?,
            queued: self.count("queued")?,
            processing: self.count("processing")?,
            completed: self.count("completed")?,
            failed: self.count("failed")?,
        };
        let (epoch, version) = (self.positive("epoch")?, self.positive("version")?);
        let position = Position::new(epoch, version).map_err(|error| self.problem("version", error.to_string()))?;
        let head = Head::new(batch.clone(), position, self.batch_status()?, counts, self.time("updated_at")?);
        let owner = self.text_or_null("owner", self.value_if_any("owner")?.unwrap_or(Value::Null))?;
        Ok((head, owner))
    }

    pub(super) fn photo(&self) -> Result<Photo, SqlError> {
        let id = self.text("photo_id")?;
        let id = PhotoId::new(&id).map_err(|error| self.problem("photo_id", error.to_string()))?;
        let error = self.text_or_null("error", self.value("error")?)?;
        Ok(Photo::new(id, self.photo_status()?, self.positive("version")?)
            .with_result(self.json("result")?)
            .with_error(error))
    }

    pub(super) fn batch_id(&self) -> Result<BatchId, SqlError> {
        let id = self.text("batch_id")?;
        BatchId::new(&id).map_err(|error| self.problem("batch_id", error.to_string()))
    }

    fn batch_status(&self) -> Result<BatchStatus, SqlError> {
        self.status("status", &words::BATCH)
    }

    pub(super) fn photo_status(&self) -> Result<PhotoStatus, SqlError> {
        self.status("status", &words::PHOTO)
    }

    fn status<T: Copy>(&self, column: &'static str, of: &[(&'static str, T)]) -> Result<T, SqlError> {
        let word = self.text(column)?;
        words::read(of, &word).ok_or_else(|| {
            let known: Vec<&str> = of.iter().map(|(word, _)| *word).collect();
            self.problem(column, format!("is {word:?}; it has to be one of {}", known.join(", ")))
        })
    }

    fn count(&self, column: &'static str) -> Result<u32, SqlError> {
        let number = self.integer(column)?;
        u32::try_from(number).map_err(|_| self.problem(column, format!("is {number}; it has to be a count")))
    }

    fn positive(&self, column: &'static str) -> Result<u64, SqlError> {
        let number = self.integer(column)?;
        let fits = u64::try_from(number).ok().filter(|number| *number <= MAX_INTEGER);
        fits.ok_or_else(|| self.problem(column, format!("is {number}; it has to be from 0 to {MAX_INTEGER}")))
    }

    fn integer(&self, column: &'static str) -> Result<i64, SqlError> {
        match self.value(column)? {
            Value::Integer(number) => Ok(number),
            other => Err(self.problem(column, format!("is {}; it has to be a whole number (bigint)", kind(&other)))),
        }
    }

    fn text(&self, column: &'static str) -> Result<String, SqlError> {
        let value = self.value(column)?;
        self.text_or_null(column, value)?.ok_or_else(|| self.problem(column, "is NULL; it has to be text".to_owned()))
    }

    fn text_or_null(&self, column: &'static str, value: Value) -> Result<Option<String>, SqlError> {
        match value {
            Value::Text(text) => Ok(Some(text)),
            Value::Null => Ok(None),
            other => Err(self.problem(column, format!("is {}; it has to be text", kind(&other)))),
        }
    }

    fn json(&self, column: &'static str) -> Result<Option<Json>, SqlError> {
        match self.value(column)? {
            #[cfg(feature = "postgres")]
            Value::Json(json) => Ok(Some(json)),
            Value::Null => Ok(None),
            // The text itself is not shown: it is a user's.
            Value::Text(text) => serde_json::from_str(&text)
                .map(Some)
                .map_err(|error| self.problem(column, format!("is text that is no JSON: {error}"))),
            other => Err(self.problem(column, format!("is {}; it has to be JSON", kind(&other)))),
        }
    }

    /// RFC 3339, of milliseconds since the Unix epoch or as it stands there.
    fn time(&self, column: &'static str) -> Result<String, SqlError> {
        let wrong = |what: String| {
            self.problem(column, format!("is {what}; it has to be milliseconds since the Unix epoch, or RFC 3339"))
        };
        match self.value(column)? {
            Value::Integer(ms) => {
                Timestamp::from_millisecond(ms).map(|time| time.to_string()).map_err(|_| wrong(ms.to_string()))
            }
            Value::Text(text) if text.parse::<Timestamp>().is_ok() => Ok(text),
            Value::Text(text) => Err(wrong(format!("{text:?}"))),
            other => Err(wrong(kind(&other))),
        }
    }

    fn value(&self, column: &'static str) -> Result<Value, SqlError> {
        self.value_if_any(column)?.ok_or_else(|| missing(self.query.name, column))
    }

    fn value_if_any(&self, column: &'static str) -> Result<Option<Value>, SqlError> {
        self.row.value(column).map_err(|error| self.problem(column, error.to_string()))
    }

    fn problem(&self, column: &'static str, problem: String) -> SqlError {
        SqlError::Column { query: self.query.name, column, problem }
    }
}

/// What is said of a column that a query does not have.
pub(super) fn missing(query: &'static str, column: &'static str) -> SqlError {
    SqlError::Column { query, column, problem: format!("is missing; name it so: `… AS {column}`") }
}

fn kind(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(_) => "a whole number".to_owned(),
        Value::Text(_) => "text".to_owned(),
        #[cfg(feature = "postgres")]
        Value::Json(_) => "json".to_owned(),
        Value::Other(name) => format!("of type {name}"),
    }
}
