//! The browser's types and limits, generated from the ones here and compared with what is committed.

use ts_rs::{Config, TS};

use crate::{BatchStatus, Counts, Photo, PhotoStatus, limits};

/// The head's JSON as the browser sees it. `Serialize` of [`crate::Head`] is written by hand (its `progress` is
/// computed), so its shape is repeated here and `the_documented_shape_is_the_real_one` holds the two together.
#[derive(TS, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[ts(rename = "BatchHead")]
#[allow(dead_code)]
struct HeadShape {
    v: u8,
    batch_id: String,
    position: String,
    status: BatchStatus,
    progress: u8,
    counts: Counts,
    updated_at: String,
}

#[derive(TS, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[ts(rename = "BatchState")]
#[allow(dead_code)]
struct StateShape {
    v: u8,
    batch_id: String,
    position: String,
    status: BatchStatus,
    progress: u8,
    counts: Counts,
    updated_at: String,
    photos: Vec<Photo>,
}

#[derive(TS, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[ts(rename = "ProgressEvent")]
#[allow(dead_code)]
struct ProgressShape {
    v: u8,
    batch_id: String,
    /// Absent on the last `progress` event: `complete` alone carries the final position.
    #[ts(optional)]
    position: Option<String>,
    status: BatchStatus,
    progress: u8,
    counts: Counts,
    updated_at: String,
    /// Milliseconds since the Unix epoch: the earliest commit that a live event covers.
    #[ts(optional, type = "number")]
    at: Option<u64>,
    /// True when `photos` is all of them.
    #[ts(optional)]
    full: Option<bool>,
    photos: Vec<Photo>,
}

fn client_types() -> String {
    let config = Config::default();
    let declarations = [
        BatchStatus::decl(&config),
        PhotoStatus::decl(&config),
        Counts::decl(&config),
        Photo::decl(&config),
        HeadShape::decl(&config),
        StateShape::decl(&config),
        ProgressShape::decl(&config),
    ];
    let mut text =
        String::from("// Generated from the Rust crate `wire`; UPDATE_TYPES=1 cargo test -p batchcast-wire\n");
    for declaration in declarations {
        text += &format!("\nexport {declaration}\n");
    }
    text += "\n/** Data of a `complete` event. */\nexport type CompleteEvent = BatchHead;\n";
    for (words, name, value) in [
        ("Bytes of one uploaded file.", "MAX_FILE_BYTES", limits::MAX_FILE_BYTES),
        ("Photos of one batch.", "MAX_PHOTOS", limits::MAX_PHOTOS as u64),
        ("Bytes of a photo's name.", "MAX_NAME_BYTES", limits::MAX_NAME_BYTES as u64),
    ] {
        text += &format!("\n/** {words} */\nexport const {name} = {value};\n");
    }
    text
}

#[test]
fn the_browsers_types_are_fresh() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../client/src/wire.ts");
    let fresh = client_types();
    if std::env::var_os("UPDATE_TYPES").is_some() {
        std::fs::write(path, &fresh).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == fresh,
        "client/src/wire.ts is behind the Rust types: UPDATE_TYPES=1 cargo test -p batchcast-wire"
    );
}

#[test]
fn the_documented_shape_is_the_real_one() {
    use crate::{BatchState, event, state::tests};
    let photos = [tests::photo("a", PhotoStatus::Queued, 1)];
    let open = BatchState::new(tests::head(1, BatchStatus::Processing, [1, 0, 0, 0]), photos).unwrap();
    serde_json::from_str::<HeadShape>(&open.head().to_json()).unwrap();
    serde_json::from_str::<StateShape>(&open.to_json()).unwrap();
    for event in [event::progress(&open, None, Some(1)), event::ending(&open, None, None)] {
        let data = event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
        serde_json::from_str::<ProgressShape>(data).unwrap();
    }
}
