//! A JSON value kept as the text it came in.
//!
//! ```
//! use batchcast_wire::Json;
//!
//! // More digits than a float holds, and white space: a browser gets what the worker stored.
//! let stored = r#"{"hash": 12345678901234567890123}"#;
//! assert_eq!(serde_json::from_str::<Json>(stored)?.as_str(), stored);
//! # Ok::<(), serde_json::Error>(())
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// An application's JSON value, passed on byte for byte: what a photo worker stored is what a browser gets, also where
/// a number would not fit a machine number. Two values are equal when their texts are.
///
/// ```
/// use batchcast_wire::{Json, Photo, PhotoId, PhotoStatus};
///
/// let width = Json::new(&serde_json::json!({"width": 4032}))?;
/// let photo = Photo::new(PhotoId::new("beach")?, PhotoStatus::Completed, 42).with_result(width);
/// assert!(photo.to_json()?.contains(r#""result":{"width":4032}"#));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Json(Box<RawValue>);

impl Json {
    /// Writes `value` as JSON.
    ///
    /// ```
    /// use batchcast_wire::Json;
    ///
    /// #[derive(serde::Serialize)]
    /// struct Found { width: u32, height: u32 }
    /// assert_eq!(Json::new(&Found { width: 4032, height: 3024 })?.as_str(), r#"{"width":4032,"height":3024}"#);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    ///
    /// # Errors
    /// When `value` can't be JSON (a map with keys that are no strings, say).
    pub fn new(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        serde_json::value::to_raw_value(value).map(Self)
    }

    /// The JSON text.
    ///
    /// ```
    /// use batchcast_wire::Json;
    ///
    /// let result: Json = serde_json::from_str(r#"{"width":4032}"#)?;
    /// let mine: serde_json::Value = serde_json::from_str(result.as_str())?; // Into a type of one's own.
    /// assert_eq!(mine["width"], 4032);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn as_str(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
