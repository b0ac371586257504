//! When a photo was taken, from its EXIF. Nothing else is read from there: above all, no place.

use std::io::Cursor;

use exif::{DateTime, Exif, In, Tag, Value};
use jiff::civil;

/// `DateTimeOriginal` as an ISO 8601 local date-time, with the offset where the camera wrote one. `None` where there is
/// none, or none that a calendar knows.
pub(crate) fn captured_at(bytes: &[u8]) -> Option<String> {
    let exif = exif::Reader::new().read_from_container(&mut Cursor::new(bytes)).ok()?;
    let taken = DateTime::from_ascii(ascii(&exif, Tag::DateTimeOriginal)?).ok()?;
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
    Some(format!("{local}{}", offset(&exif, taken).unwrap_or_default()))
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
