//! The time, as the runtime tells it.

use hub::Millis;
use worker::Date;

/// Now, in milliseconds since the Unix epoch. It stands still while the Worker computes and moves with I/O.
pub(crate) fn now() -> Millis {
    Date::now().as_millis()
}
