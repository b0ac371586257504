//! The photos of a demo: those of a folder, or made ones of 12 megapixels, as a phone would have taken them.

use std::fs::{self, File};
use std::io::{BufWriter, Cursor, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use exif::experimental::Writer;
use exif::{Field, In, Rational, Tag, Value};
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder as _};

use crate::scene::Scene;

const WIDTH: usize = 4032;
const HEIGHT: usize = 3024;
const QUALITY: u8 = 88;

/// The scene is drawn this many times smaller, then enlarged and covered with grain: what costs is the drawing.
const ENLARGED: usize = 4;
const DRAWN_WIDTH: usize = WIDTH / ENLARGED;
const DRAWN_HEIGHT: usize = HEIGHT / ENLARGED;

/// How far the grain changes a channel, up or down.
const GRAIN: i32 = 5;

/// How the camera was held, as the EXIF orientation: mostly upright, sometimes turned.
const ORIENTATIONS: [u16; 6] = [1, 1, 6, 1, 8, 3];

/// A file to upload.
#[derive(Debug, Clone)]
pub(crate) struct Photo {
    pub(crate) path: PathBuf,
    pub(crate) name: String,
    pub(crate) bytes: u64,
}

/// Every file of a folder that is not hidden, whatever it is, by name.
pub(crate) fn in_folder(dir: &Path) -> Result<Vec<Photo>> {
    let mut photos = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_file() && !name.starts_with('.') {
            let bytes = fs::metadata(&path)?.len();
            photos.push(Photo { path, name, bytes });
        }
    }
    ensure!(!photos.is_empty(), "{} has no files", dir.display());
    photos.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(photos)
}

/// Makes `count` photos in `dir`, all different, on all cores.
pub(crate) fn make(dir: &Path, count: u32) -> Result<Vec<Photo>> {
    let next = AtomicU32::new(0);
    let work = || -> Result<()> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(());
            }
            write_photo(&dir.join(format!("IMG_{:04}.jpg", 2001 + number)), number)?;
        }
    };
    thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..thread::available_parallelism()?.get()).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    in_folder(dir)
}

fn write_photo(path: &Path, number: u32) -> Result<()> {
    let orientation = ORIENTATIONS[number as usize % ORIENTATIONS.len()];
    let pixels = enlarge(&draw(&Scene::of(number.into()), orientation), number);
    let mut file = BufWriter::new(File::create(path)?);
    let mut encoder = JpegEncoder::new_with_quality(&mut file, QUALITY);
    encoder.set_exif_metadata(exif(number, orientation)?)?;
    encoder.write_image(&pixels, WIDTH as u32, HEIGHT as u32, ExtendedColorType::Rgb8)?;
    file.flush()?;
    Ok(())
}

/// The scene as the sensor saw it, in rows of red, green, blue.
fn draw(scene: &Scene, orientation: u16) -> Vec<u8> {
    let mut pixels = Vec::with_capacity(DRAWN_WIDTH * DRAWN_HEIGHT * 3);
    for row in 0..DRAWN_HEIGHT {
        for column in 0..DRAWN_WIDTH {
            let across = column as f32 / DRAWN_WIDTH as f32;
            let down = row as f32 / DRAWN_HEIGHT as f32;
            let aspect = WIDTH as f32 / HEIGHT as f32;
            let (x, y) = match orientation {
                3 => ((1.0 - across) * aspect, 1.0 - down),
                6 => ((1.0 - down) / aspect, across),
                8 => (down / aspect, 1.0 - across),
                _ => (across * aspect, down),
            };
            pixels.extend(scene.colour(x, y).map(|channel| channel as u8));
        }
    }
    pixels
}

/// Enlarges the drawn picture with smooth transitions, and adds grain.
fn enlarge(drawn: &[u8], seed: u32) -> Vec<u8> {
    let scale = ENLARGED as i32;
    let mut grain = 0x9E37_79B9 ^ (seed + 1);
    let mut pixels = Vec::with_capacity(WIDTH * HEIGHT * 3);
    for row in 0..HEIGHT {
        let (above, share) = (row / ENLARGED, (row % ENLARGED) as i32);
        let below = (above + 1).min(DRAWN_HEIGHT - 1);
        let line = |nth: usize| &drawn[nth * DRAWN_WIDTH * 3..(nth + 1) * DRAWN_WIDTH * 3];
        let blended: Vec<i32> = line(above)
            .iter()
            .zip(line(below))
            .map(|(&above, &below)| i32::from(above) * (scale - share) + i32::from(below) * share)
            .collect();
        for column in 0..DRAWN_WIDTH {
            let left = &blended[column * 3..column * 3 + 3];
            let right = blended.get(column * 3 + 3..column * 3 + 6).unwrap_or(left);
            for share in 0..scale {
                // Xorshift: quick, and random enough for grain.
                grain ^= grain << 13;
                grain ^= grain >> 17;
                grain ^= grain << 5;
                let grain = (grain % (2 * GRAIN as u32 + 1)) as i32 - GRAIN;
                for channel in 0..3 {
                    let sum = left[channel] * (scale - share) + right[channel] * share;
                    pixels.push((sum / (scale * scale) + grain).clamp(0, 255) as u8);
                }
            }
        }
    }
    pixels
}

/// What a phone writes, the place included: the photo worker has to drop it.
fn exif(number: u32, orientation: u16) -> Result<Vec<u8>> {
    let taken = format!("2026:07:{:02} {:02}:{:02}:00", 1 + number % 28, 6 + number % 15, number * 7 % 60);
    let fields = [
        (Tag::Make, text("Batchcast")),
        (Tag::Model, text("Demo Camera")),
        (Tag::Orientation, Value::Short(vec![orientation])),
        (Tag::DateTimeOriginal, text(&taken)),
        (Tag::ExposureTime, Value::Rational(vec![Rational { num: 1, denom: 250 }])),
        (Tag::FNumber, Value::Rational(vec![Rational { num: 18, denom: 10 }])),
        (Tag::GPSLatitudeRef, text("N")),
        (Tag::GPSLatitude, degrees(46, number)),
        (Tag::GPSLongitudeRef, text("E")),
        (Tag::GPSLongitude, degrees(7, number)),
    ]
    .map(|(tag, value)| Field { tag, ifd_num: In::PRIMARY, value });
    let mut writer = Writer::new();
    fields.iter().for_each(|field| writer.push_field(field));
    let mut bytes = Cursor::new(Vec::new());
    writer.write(&mut bytes, false)?;
    Ok(bytes.into_inner())
}

fn text(text: &str) -> Value {
    Value::Ascii(vec![text.as_bytes().to_vec()])
}

fn degrees(degrees: u32, minutes: u32) -> Value {
    Value::Rational([degrees, minutes % 60, 30].map(|num| Rational { num, denom: 1 }).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_photo_has_12_megapixels_and_the_exif_of_a_phone() {
        let dir = tempfile::tempdir().unwrap();
        let photos = make(dir.path(), 1).unwrap();
        let bytes = fs::read(&photos[0].path).unwrap();
        assert_eq!(image::image_dimensions(&photos[0].path).unwrap(), (4032, 3024));
        let exif = exif::Reader::new().read_from_container(&mut Cursor::new(bytes)).unwrap();
        for tag in [Tag::Orientation, Tag::DateTimeOriginal, Tag::Model, Tag::GPSLatitude] {
            assert!(exif.get_field(tag, In::PRIMARY).is_some(), "{tag}");
        }
    }

    #[test]
    fn a_folder_gives_every_file_by_name_but_hidden_ones_and_folders() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.png", "a.txt", ".DS_Store"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        fs::create_dir(dir.path().join("more")).unwrap();
        let names: Vec<String> = in_folder(dir.path()).unwrap().into_iter().map(|photo| photo.name).collect();
        assert_eq!(names, ["a.txt", "b.png"]);
    }

    #[test]
    fn an_empty_folder_is_refused() {
        assert!(in_folder(tempfile::tempdir().unwrap().path()).is_err());
    }
}
