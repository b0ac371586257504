//! What is found out about one photo. Bytes in, findings out; takes as long as it takes, so it runs on its own thread.

use std::io::Cursor;

use image::{
    DynamicImage, ImageDecoder as _, ImageFormat, ImageReader, Limits, codecs::jpeg::JpegEncoder, metadata::Orientation,
};
use serde::Serialize;
use wire::PhotoId;

use crate::{capture::captured_at, sharpness::sharpness};

/// Longer side of a thumbnail, in pixels.
const THUMBNAIL_SIDE: u32 = 320;
/// Longer side of the copy on which sharpness is measured.
const MEASURED_SIDE: u32 = 640;
const THUMBNAIL_QUALITY: u8 = 82;

/// Pixels of a photo: more than any camera of today takes, and 400 MB of memory at most while it is decoded.
const MAX_PIXELS: u64 = 100_000_000;

/// What is kept of a photo, beside its thumbnail.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Findings {
    /// The name it was uploaded under.
    pub name: String,
    /// Pixels, as the photo is looked at (EXIF orientation applied).
    pub width: u32,
    pub height: u32,
    /// When it was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub captured_at: Option<String>,
    /// See [`sharpness`].
    pub sharpness: f64,
    /// Where its thumbnail is.
    pub thumbnail: String,
}

/// Why there are no findings, in words for the person who uploaded the photo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AnalysisError {
    #[error("not an image we can read (JPEG, PNG, WebP)")]
    NotAnImage,
    #[error("the image is damaged: it can't be decoded")]
    Damaged,
    #[error("the image has more than {} megapixels", MAX_PIXELS / 1_000_000)]
    TooManyPixels,
}

/// Looks at the photo `id`, uploaded as `name`. Returns what was found and the thumbnail, a JPEG without metadata.
pub(crate) fn analyse(id: &PhotoId, name: &str, bytes: &[u8]) -> Result<(Findings, Vec<u8>), AnalysisError> {
    let (image, orientation) = decode(bytes)?;
    let (width, height) = match orientation {
        Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH => {
            (image.height(), image.width())
        }
        _ => (image.width(), image.height()),
    };
    // Scaled down first and turned afterwards: turning twelve million pixels takes longer than all the rest.
    let small = if width.max(height) > MEASURED_SIDE { image.thumbnail(MEASURED_SIDE, MEASURED_SIDE) } else { image };
    let findings = Findings {
        name: name.to_owned(),
        width,
        height,
        captured_at: captured_at(bytes),
        sharpness: sharpness(&small.to_luma8()),
        thumbnail: format!("/api/photos/{id}/thumbnail"),
    };
    Ok((findings, thumbnail(small, orientation)?))
}

/// By content, never by name.
fn decode(bytes: &[u8]) -> Result<(DynamicImage, Orientation), AnalysisError> {
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let mut reader = reader.map_err(|_| AnalysisError::NotAnImage)?;
    if !matches!(reader.format(), Some(ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::WebP)) {
        return Err(AnalysisError::NotAnImage);
    }
    reader.limits(Limits::default());
    let mut decoder = reader.into_decoder().map_err(|_| AnalysisError::Damaged)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(AnalysisError::TooManyPixels);
    }
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let image = DynamicImage::from_decoder(decoder).map_err(|_| AnalysisError::Damaged)?;
    Ok((image, orientation))
}

fn thumbnail(small: DynamicImage, orientation: Orientation) -> Result<Vec<u8>, AnalysisError> {
    let fits = small.width().max(small.height()) <= THUMBNAIL_SIDE;
    let mut thumbnail = if fits { small } else { small.thumbnail(THUMBNAIL_SIDE, THUMBNAIL_SIDE) };
    thumbnail.apply_orientation(orientation);
    let mut jpeg = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut jpeg, THUMBNAIL_QUALITY);
    thumbnail.to_rgb8().write_with_encoder(encoder).map_err(|_| AnalysisError::Damaged)?;
    Ok(jpeg)
}

#[cfg(test)]
mod tests {
    use super::*;
    use exif::{Field, In, Rational, Tag, Value, experimental::Writer};
    use image::{GenericImageView as _, Rgb, RgbImage};

    fn photo(width: u32, height: u32) -> RgbImage {
        // Left half dark, right half light, with a pattern that has edges.
        RgbImage::from_fn(width, height, |x, y| {
            let base: u8 = if x < width / 2 { 30 } else { 200 };
            Rgb([base, base, base.saturating_add(if (x / 8 + y / 8) % 2 == 0 { 40 } else { 0 })])
        })
    }

    fn encoded(image: &RgbImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    /// A JPEG with an EXIF segment: orientation 6, a capture time with offset, and a place.
    fn with_exif(jpeg: &[u8]) -> Vec<u8> {
        let field = |tag, value| Field { tag, ifd_num: In::PRIMARY, value };
        let degrees = |d| Value::Rational(vec![(d, 1), (30, 1), (0, 1)].into_iter().map(Rational::from).collect());
        let fields = [
            field(Tag::Orientation, Value::Short(vec![6])),
            field(Tag::DateTimeOriginal, Value::Ascii(vec![b"2026:05:01 12:30:45".to_vec()])),
            field(Tag::OffsetTimeOriginal, Value::Ascii(vec![b"+02:00".to_vec()])),
            field(Tag::GPSLatitude, degrees(48)),
            field(Tag::GPSLongitude, degrees(11)),
        ];
        let mut writer = Writer::new();
        fields.iter().for_each(|field| writer.push_field(field));
        let mut exif = Cursor::new(Vec::new());
        writer.write(&mut exif, false).unwrap();
        let exif = exif.into_inner();
        let length = u16::try_from(exif.len() + 8).unwrap().to_be_bytes();
        [&jpeg[..2], &[0xff, 0xe1], &length, b"Exif\0\0", &exif, &jpeg[2..]].concat()
    }

    fn analyse(bytes: &[u8]) -> Result<(Findings, Vec<u8>), AnalysisError> {
        super::analyse(&PhotoId::new("ph_1").unwrap(), "a.jpg", bytes)
    }

    #[test]
    fn jpeg_png_and_webp_are_read_by_content() {
        for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP] {
            let (findings, thumbnail) = analyse(&encoded(&photo(800, 600), format)).unwrap();
            assert_eq!((findings.width, findings.height, findings.captured_at), (800, 600, None));
            assert!(findings.sharpness > 0.0);
            assert_eq!(image::load_from_memory(&thumbnail).unwrap().dimensions(), (320, 240));
        }
    }

    #[test]
    fn the_exif_orientation_is_applied_to_size_and_thumbnail() {
        let (findings, thumbnail) = analyse(&with_exif(&encoded(&photo(800, 600), ImageFormat::Jpeg))).unwrap();
        assert_eq!((findings.width, findings.height), (600, 800));
        let thumbnail = image::load_from_memory(&thumbnail).unwrap();
        assert_eq!(thumbnail.dimensions(), (240, 320));
        // Turned clockwise, the dark left half is above.
        let brightness = |y| thumbnail.get_pixel(120, y).0[0];
        assert!(brightness(20) < 100 && brightness(300) > 150);
    }

    #[test]
    fn the_capture_time_is_kept_and_the_place_is_not() {
        let bytes = with_exif(&encoded(&photo(800, 600), ImageFormat::Jpeg));
        let (findings, thumbnail) = analyse(&bytes).unwrap();
        assert_eq!(findings.captured_at.as_deref(), Some("2026-05-01T12:30:45+02:00"));
        let json = serde_json::to_string(&findings).unwrap();
        let keys = ["name", "width", "height", "capturedAt", "sharpness", "thumbnail"];
        let map: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&json).unwrap();
        assert!(map.keys().all(|key| keys.contains(&key.as_str())), "{json}");
        assert!(!thumbnail.windows(4).any(|window| window == b"Exif"));
    }

    #[test]
    fn what_is_no_image_or_half_of_one_is_told_in_words() {
        assert_eq!(analyse(b"hello").unwrap_err(), AnalysisError::NotAnImage);
        assert_eq!(analyse(b"").unwrap_err(), AnalysisError::NotAnImage);
        assert_eq!(analyse(b"GIF89a........").unwrap_err(), AnalysisError::NotAnImage);
        let png = encoded(&photo(64, 64), ImageFormat::Png);
        assert_eq!(analyse(&png[..png.len() / 2]).unwrap_err(), AnalysisError::Damaged);
    }

    #[test]
    fn a_bomb_of_pixels_is_refused_before_it_is_decoded() {
        let mut png = encoded(&photo(8, 8), ImageFormat::Png);
        png[16..24].copy_from_slice(&[0, 0, 0x60, 0, 0, 0, 0x60, 0]);
        assert!(matches!(analyse(&png), Err(AnalysisError::TooManyPixels | AnalysisError::Damaged)));
    }
}
