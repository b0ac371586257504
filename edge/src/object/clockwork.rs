//! What wakes the object: one alarm while it holds a room, and one timer for the earliest moment a room asked for.

use std::{rc::Rc, time::Duration};

use futures::future::{AbortHandle, Abortable};
use hub::{Input, Millis, Room};
use worker::{Delay, wasm_bindgen_futures::spawn_local};

use super::Object;
use crate::{clock::now, log};

/// The first alarm is set this long after a room opened, so that its write does not hold back the first response.
const ALARM_AFTER: Duration = Duration::from_millis(50);

/// What is armed.
#[derive(Default)]
pub(super) struct Armed {
    alarm: bool,
    timer: Option<(Millis, AbortHandle)>,
}

impl Object {
    /// The alarm is an invocation of its own: it proves every room's subscription, wakes what a timer may have missed,
    /// and reports what was counted.
    pub(super) async fn alarm(self: &Rc<Self>) -> worker::Result<()> {
        self.armed.borrow_mut().alarm = false;
        for batch in self.rooms() {
            self.feed(&batch, Input::Alarm);
            self.feed(&batch, Input::Wake);
        }
        self.report_if_due();
        if self.rooms().is_empty() {
            return Ok(());
        }
        self.set_alarm().await
    }

    pub(super) fn arm_alarm(self: &Rc<Self>) {
        if self.armed.borrow().alarm {
            return;
        }
        self.armed.borrow_mut().alarm = true;
        let object = self.clone();
        spawn_local(async move {
            Delay::from(ALARM_AFTER).await;
            if let Err(error) = object.set_alarm().await {
                log::warn(&format!("the alarm could not be set: {error}"));
            }
        });
    }

    async fn set_alarm(&self) -> worker::Result<()> {
        let set = self.state.storage().set_alarm(Duration::from_millis(self.settings.hub.ping)).await;
        self.armed.borrow_mut().alarm = set.is_ok();
        set
    }

    /// Sees to it that rooms are woken at `due`, or before.
    pub(super) fn arm_timer(self: &Rc<Self>, due: Millis) {
        let mut armed = self.armed.borrow_mut();
        match &armed.timer {
            Some((at, _)) if *at <= due => return,
            Some((_, later)) => later.abort(),
            None => {}
        }
        let (handle, registration) = AbortHandle::new_pair();
        armed.timer = Some((due, handle));
        let object = self.clone();
        let wait = async move {
            Delay::from(Duration::from_millis(due.saturating_sub(now()).max(1))).await;
            object.armed.borrow_mut().timer = None;
            object.wake_rooms();
        };
        spawn_local(async move {
            // An aborted wait clears its timeout: an earlier one has taken its place.
            let _ = Abortable::new(wait, registration).await;
        });
    }

    fn wake_rooms(self: &Rc<Self>) {
        let now = now();
        for batch in self.rooms() {
            let wake_at = self.slot(&batch, |slot| slot.room.as_ref().and_then(Room::wake_at));
            match wake_at {
                Some(at) if at <= now => self.feed(&batch, Input::Wake),
                Some(at) => self.arm_timer(at),
                None => {}
            }
        }
    }
}
