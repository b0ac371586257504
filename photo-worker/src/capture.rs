//! When a photo was taken and how the camera was held, from its EXIF. Nothing else is read from there: above all, no
//! place.

use std::io::Cursor;

use exif::{DateTime, Exif, In, Tag, Value};
use image::metadata::Orientation;
use jiff::civil;

/// What a photo says of how it was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Capture {
    /// `DateTimeOriginal` as an ISO 8601 local date-time, with the offset where the camera wrote one. `None` where
    /// there is none, or none that a calendar knows.
    pub at: Option<String>,
    /// How it is to be turned.
    pub orientation: Orientation,
}

/// Reads the EXIF of a JPEG, PNG or WebP, or as much of it as is in order. Takes no more memory than `bytes` do: unlike
/// the decoder's own reader of WebP, this one does not believe a length that it has not seen.
pub(crate) fn capture(bytes: &[u8]) -> Capture {
    let mut reader = exif::Reader::new();
    let read = reader.continue_on_error(true).read_from_container(&mut Cursor::new(bytes));
    let exif = read.or_else(|error| error.distill_partial_result(|_| {})).ok();
    Capture {
        at: exif.as_ref().and_then(captured_at),
        orientation: exif.as_ref().and_then(orientation).unwrap_or(Orientation::NoTransforms),
    }
}

fn orientation(exif: &Exif) -> Option<Orientation> {
    let value = exif.get_field(Tag::Orientation, In::PRIMARY)?.value.get_uint(0)?;
    Orientation::from_exif(u8::try_from(value).ok()?)
}

fn captured_at(exif: &Exif) -> Option<String> {
    let taken = DateTime::from_ascii(ascii(exif, Tag::DateTimeOriginal)?).ok()?;
    let part = |n: u8| i8::try_from(n).ok();
    let local = civil::DateTime::new(
        i16::try_from(taken.year).ok()?,
        part(taken.month)?,
        part(taken.day)?,
        part(taken.hour)?,
        part(taken.minute)?,
        part(taken.second)?,
        0,
    )
    .ok()?;
    Some(format!("{local}{}", offset(exif, taken).unwrap_or_default()))
}

fn offset(exif: &Exif, mut taken: DateTime) -> Option<String> {
    taken.parse_offset(ascii(exif, Tag::OffsetTimeOriginal)?).ok()?;
    let minutes = taken.offset.filter(|minutes| minutes.abs() <= 14 * 60)?;
    let sign = if minutes < 0 { '-' } else { '+' };
    Some(format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60))
}

fn ascii(exif: &Exif, tag: Tag) -> Option<&[u8]> {
    match &exif.get_field(tag, In::PRIMARY)?.value {
        Value::Ascii(texts) => texts.first().map(Vec::as_slice),
        _ => None,
    }
}
