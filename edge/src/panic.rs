//! What happens when the Worker panics: every object with streams is ended, so that its viewers come back instead of
//! waiting for ever.

use wasm_bindgen::{JsValue, prelude::wasm_bindgen};
use worker::{State, event};

use crate::log;

#[wasm_bindgen(module = "/src/panic.js")]
extern "C" {
    #[wasm_bindgen(catch, js_name = guard)]
    fn guard_object(id: &str, state: &JsValue) -> Result<(), JsValue>;
    #[wasm_bindgen(catch, js_name = unguard)]
    fn unguard_object(id: &str) -> Result<(), JsValue>;
    #[wasm_bindgen(catch)]
    fn panicked() -> Result<(), JsValue>;
}

#[event(start)]
fn start() {
    std::panic::set_hook(Box::new(|panic| {
        log::error(&format!("the Worker panicked: {panic}"));
        // Fails only outside a request, where there is nobody to be cut off.
        let _ = panicked();
    }));
}

/// From now on, a panic anywhere in this isolate ends the object.
pub(crate) fn guard(state: &State) {
    if guard_object(&state.id().to_string(), state.as_raw().as_ref()).is_err() {
        log::warn("the object is not guarded against a panic");
    }
}

/// The object has no streams any more.
pub(crate) fn unguard(state: &State) {
    // Can't fail: it removes from a map.
    let _ = unguard_object(&state.id().to_string());
}

/// Panics when `text` asks `place` for it: for the table of faults, by a read's `If-None-Match` or a message on the
/// channel.
#[cfg(feature = "faults")]
pub(crate) fn on_demand(place: &str, text: &str) {
    assert!(text != place, "as it was asked for");
}
