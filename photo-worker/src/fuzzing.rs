//! What the fuzz targets call: where bytes of strangers are read. For them alone, not a stable interface.

use wire::{BatchId, Json, Photo, PhotoId, PhotoStatus, limits::MAX_PHOTO_BYTES};

use crate::{
    analysis::{Findings, analyse},
    routes::check_name,
};

/// Analyses a file.
///
/// # Panics
/// When the findings don't fit a photo.
pub fn image(bytes: &[u8]) {
    if let Ok((findings, thumbnail)) = analyse(&id(), "photo.jpg", bytes) {
        assert!(!thumbnail.is_empty());
        check_fits(&findings);
    }
}

/// Takes a text of a form or a declaration, as a photo's name and as an id, and builds what is stored of it.
///
/// # Panics
/// When a name that was taken does not fit a photo.
pub fn name(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = (BatchId::new(text), PhotoId::new(text));
    if check_name(text).is_ok() {
        check_fits(&serde_json::json!({ "name": text }));
        check_fits(&Findings {
            name: text.to_owned(),
            width: u32::MAX,
            height: u32::MAX,
            captured_at: Some("-9999-12-31T23:59:59-14:00".to_owned()),
            sharpness: f64::MAX,
            thumbnail: "x".repeat(100),
        });
    }
}

fn check_fits(result: &impl serde::Serialize) {
    let Ok(result) = Json::new(result) else { panic!("no JSON") };
    let photo = Photo::new(id(), PhotoStatus::Completed, 1).with_result(result);
    let bytes = serde_json::to_vec(&photo).map_or(usize::MAX, |json| json.len());
    assert!(bytes <= MAX_PHOTO_BYTES, "a photo of {bytes} bytes");
}

fn id() -> PhotoId {
    let Ok(id) = PhotoId::new("ph_1") else { panic!("no id") };
    id
}
