//! What is found out about one photo. Bytes in, findings out; takes as long as it takes, so it runs on its own thread.

use std::io::Cursor;

use image::{
    DynamicImage, ImageDecoder as _, ImageFormat, ImageReader, Limits, codecs::jpeg::JpegEncoder, metadata::Orientation,
};
use serde::Serialize;
use wire::{PhotoId, limits::MAX_PIXELS};

use crate::{
    capture::{Capture, capture},
    names::thumbnail_url,
    sharpness::sharpness,
};

/// Longer side of a thumbnail, in pixels.
const THUMBNAIL_SIDE: u32 = 320;
/// Longer side of the copy on which sharpness is measured.
const MEASURED_SIDE: u32 = 640;
const THUMBNAIL_QUALITY: u8 = 82;

/// Bytes of a decoded photo: [`MAX_PIXELS`] of 8-bit RGBA. Of 16 bits a colour there may be half as many.
const MAX_DECODED_BYTES: u64 = 4 * MAX_PIXELS;
/// Pixels that a byte of a JPEG can hold at most: a block of 64 takes one bit at least. A file that announces more is
/// cut short to nearly nothing, and its decoder would fill hundreds of megabytes with grey.
const MAX_PIXELS_PER_JPEG_BYTE: u64 = 8 * 64;
/// Bytes of what a PNG holds beside its pixels (profile, texts), unpacked, and of one row: editors write some MiB, and
/// half a megabyte of zeros unpacks to hundreds.
const MAX_PNG_EXTRA_BYTES: u64 = 16 * 1024 * 1024;

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

impl Findings {
    /// As they are called in JSON.
    pub(crate) const FIELDS: [&str; 6] = ["name", "width", "height", "capturedAt", "sharpness", "thumbnail"];
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
    #[error("the image takes more than {} MB when it is decoded", MAX_DECODED_BYTES / 1_000_000)]
    TooLarge,
}

/// Looks at the photo `id`, uploaded as `name`. Returns what was found and the thumbnail, a JPEG without metadata.
pub(crate) fn analyse(id: &PhotoId, name: &str, bytes: &[u8]) -> Result<(Findings, Vec<u8>), AnalysisError> {
    let image = decode(bytes)?;
    let Capture { at: captured_at, orientation } = capture(bytes);
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
        captured_at,
        sharpness: sharpness(&small.to_luma8()),
        thumbnail: thumbnail_url(id),
    };
    Ok((findings, thumbnail(small, orientation)?))
}

/// By content, never by name. Headers are read first, and what they announce is judged before memory is taken for it.
fn decode(bytes: &[u8]) -> Result<DynamicImage, AnalysisError> {
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let mut reader = reader.map_err(|_| AnalysisError::NotAnImage)?;
    let format = reader.format();
    if !matches!(format, Some(ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::WebP)) {
        return Err(AnalysisError::NotAnImage);
    }
    // Only the decoder of PNG keeps to it, and counts all but the pixels; those of JPEG and WebP unpack nothing else.
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_PNG_EXTRA_BYTES);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|_| AnalysisError::Damaged)?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels > MAX_PIXELS {
        return Err(AnalysisError::TooManyPixels);
    }
    if format == Some(ImageFormat::Jpeg) && pixels > MAX_PIXELS_PER_JPEG_BYTE * bytes.len() as u64 {
        return Err(AnalysisError::Damaged);
    }
    if decoder.total_bytes() > MAX_DECODED_BYTES {
        return Err(AnalysisError::TooLarge);
    }
    DynamicImage::from_decoder(decoder).map_err(|_| AnalysisError::Damaged)
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
    use std::io::Write as _;

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

    /// A PNG of these chunks, each with a checksum that is right.
    fn png(chunks: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
        let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
        for (name, data) in chunks {
            let mut crc = flate2::Crc::new();
            crc.update(&name[..]);
            crc.update(data);
            png.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
            png.extend([&name[..], data, &crc.sum().to_be_bytes()].concat());
        }
        png
    }

    /// `IHDR` of a PNG with alpha.
    fn header(width: u32, height: u32, bits: u8) -> (&'static [u8; 4], Vec<u8>) {
        (b"IHDR", [&width.to_be_bytes()[..], &height.to_be_bytes(), &[bits, 6, 0, 0, 0]].concat())
    }

    fn zeros(megabytes: usize) -> Vec<u8> {
        let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        (0..megabytes).for_each(|_| packed.write_all(&vec![0; 1_000_000]).unwrap());
        packed.finish().unwrap()
    }

    /// A VP8X chunk for a canvas of this size, with these flags.
    fn webp(flags: u8, width: u32, height: u32, rest: &[u8]) -> Vec<u8> {
        let side = |pixels: u32| (pixels - 1).to_le_bytes()[..3].to_vec();
        let extended = [&b"VP8X\x0a\0\0\0"[..], &[flags, 0, 0, 0], &side(width), &side(height), rest].concat();
        let size = u32::try_from(extended.len() + 4).unwrap().to_le_bytes();
        [&b"RIFF"[..], &size, b"WEBP", &extended].concat()
    }

    /// The most memory that this process ever held (`VmHWM:`) or asked for (`VmPeak:`), in bytes.
    fn most_memory(kind: &str) -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(kind)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    #[test]
    fn a_bomb_of_pixels_is_refused_before_it_is_decoded() {
        let pixels = (b"IDAT", zeros(1));
        let end = (b"IEND", vec![]);
        let square = png(&[header(60_000, 60_000, 8), pixels.clone(), end.clone()]);
        assert_eq!(analyse(&square).unwrap_err(), AnalysisError::TooManyPixels);
        let deep = png(&[header(10_000, 9_000, 16), pixels.clone(), end.clone()]);
        assert_eq!(analyse(&deep).unwrap_err(), AnalysisError::TooLarge);
        let row = png(&[header(100_000_000, 1, 8), pixels, end]);
        assert_eq!(analyse(&row).unwrap_err(), AnalysisError::Damaged);

        let mut jpeg = encoded(&photo(8, 8), ImageFormat::Jpeg);
        let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
        jpeg[frame + 5..frame + 9].copy_from_slice(&[0xff, 0xf0, 0xff, 0xf0]);
        assert_eq!(analyse(&jpeg).unwrap_err(), AnalysisError::TooManyPixels);

        let mut lossless = encoded(&photo(8, 8), ImageFormat::WebP);
        let start = lossless.windows(4).position(|name| name == b"VP8L").unwrap();
        lossless[start + 9..start + 13].copy_from_slice(&0x0fff_bffe_u32.to_le_bytes());
        assert_eq!(analyse(&lossless).unwrap_err(), AnalysisError::TooManyPixels);
        let canvas = webp(0, 60_000, 60_000, &lossless[start..]);
        assert_eq!(analyse(&canvas).unwrap_err(), AnalysisError::TooManyPixels);
    }

    #[test]
    fn a_bomb_beside_the_pixels_is_not_unpacked() {
        let before = most_memory("VmHWM:");
        let bomb = |name: &'static [u8; 4], keyword: &[u8]| {
            let chunk = (name, [keyword, &zeros(400)].concat());
            png(&[header(1, 1, 8), chunk, (b"IDAT", zeros(0)), (b"IEND", vec![])])
        };
        for (name, keyword) in [
            (b"iCCP", &b"p\0\0"[..]),
            (b"zTXt", b"t\0\0"),
            (b"zTXt", b"Raw profile type iptc\0\0"),
            (b"iTXt", b"XML:com.adobe.xmp\0\x01\0\0\0"),
        ] {
            assert_eq!(analyse(&bomb(name, keyword)).unwrap_err(), AnalysisError::Damaged);
        }
        let text = png(&[header(1, 1, 8), (b"tEXt", [b"t\0", &vec![b' '; 40_000_000][..]].concat())]);
        assert_eq!(analyse(&text).unwrap_err(), AnalysisError::Damaged);
        let grown = most_memory("VmHWM:") - before;
        assert!(grown < 250_000_000, "{grown}");
    }

    /// An allocation that fails ends the process, and the photo would end it again at each start.
    #[test]
    fn what_is_announced_and_not_there_takes_no_memory() {
        let before = most_memory("VmPeak:");
        let mut jpeg = encoded(&photo(8, 8), ImageFormat::Jpeg);
        let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
        jpeg[frame + 5..frame + 9].copy_from_slice(&[0x27, 0, 0x27, 0]);
        assert_eq!(analyse(&jpeg).unwrap_err(), AnalysisError::Damaged);
        let lossless = encoded(&photo(8, 8), ImageFormat::WebP);
        let exif = [&lossless[12..], b"EXIF\xf0\xff\xff\xffII*\0"].concat();
        let whole = analyse(&webp(0b1000, 8, 8, &exif)).unwrap();
        assert_eq!((whole.0.width, whole.0.captured_at), (8, None));
        let mut png = png(&[header(1, 1, 8)]);
        png.extend(b"\x7f\xff\xff\xffeXIfMM\0*");
        assert_eq!(analyse(&png).unwrap_err(), AnalysisError::Damaged);
        let grown = most_memory("VmPeak:") - before;
        assert!(grown < 1_000_000_000, "{grown}");
    }

    #[test]
    fn an_archive_under_a_photos_name_is_no_image() {
        let zip = [&b"PK\x03\x04\x14\0\0\0\x08\0"[..], &[0; 64]].concat();
        assert_eq!(analyse(&zip).unwrap_err(), AnalysisError::NotAnImage);
    }
}
