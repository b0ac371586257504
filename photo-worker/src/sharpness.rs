//! How sharp a photo is.

use image::GrayImage;

/// The variance of the Laplacian: near 0 for a blurred or plain picture, hundreds for a sharp one. Comparable only
/// between pictures of similar size, so callers scale down first.
pub(crate) fn sharpness(gray: &GrayImage) -> f64 {
    let (width, height) = gray.dimensions();
    let at = |x: u32, y: u32| f64::from(gray.get_pixel(x, y).0[0]);
    let (mut sum, mut squares, mut count) = (0.0, 0.0, 0.0_f64);
    for y in 1..height.saturating_sub(1) {
        for x in 1..width.saturating_sub(1) {
            let edge = at(x - 1, y) + at(x + 1, y) + at(x, y - 1) + at(x, y + 1) - 4.0 * at(x, y);
            sum += edge;
            squares += edge * edge;
            count += 1.0;
        }
    }
    if count == 0.0 {
        return 0.0;
    }
    let mean = sum / count;
    // One decimal says all there is to know.
    ((squares / count - mean * mean).max(0.0) * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Luma;

    #[test]
    fn a_plain_picture_has_none_and_an_edge_has_more_than_a_slope() {
        let plain = GrayImage::from_pixel(32, 32, Luma([90]));
        let slope = GrayImage::from_fn(32, 32, |x, _| Luma([u8::try_from(x * 7).unwrap_or(255)]));
        let edges = GrayImage::from_fn(32, 32, |x, _| Luma([if x / 4 % 2 == 0 { 0 } else { 255 }]));
        assert_eq!((sharpness(&plain), sharpness(&slope)), (0.0, 0.0));
        assert!(sharpness(&edges) > 1_000.0);
    }

    #[test]
    fn a_picture_without_an_inside_has_none() {
        assert_eq!(sharpness(&GrayImage::new(2, 50)), 0.0);
    }
}
