//! Photos that nobody took.

/// Pixels.
const SIZE: (u32, u32) = (64, 48);

/// A PNG of less than 2 KiB: colours that run from one corner to the other, others in each photo.
pub(super) fn photo(index: u8) -> Result<Vec<u8>, png::EncodingError> {
    let (width, height) = SIZE;
    let pixel = |x: u32, y: u32| [x * 255 / width, y * 255 / height, u32::from(index) * 40].map(|part| part as u8);
    let pixels: Vec<u8> = (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y))).collect();
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header()?.write_image_data(&pixels)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn photos_are_small_and_differ() {
        let [first, second] = [0, 1].map(|index| photo(index).unwrap());
        assert_ne!(first, second);
        assert!(first.starts_with(b"\x89PNG") && first.len() < 2 * 1024, "{}", first.len());
    }
}
