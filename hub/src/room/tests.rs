//! What a room promises, rule by rule, and one property over random schedules.

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*};
use wire::{BatchState, BatchStatus, Changes, Counts, Head, Photo, PhotoId, PhotoStatus, message};

use super::*;

const EPOCH: u64 = 1_795_389_030_082;
const PHOTOS: u32 = 40;

fn head(epoch: u64, version: u64, status: BatchStatus) -> Head {
    let completed = if status == BatchStatus::Completed { PHOTOS } else { u32::try_from(version).unwrap().min(PHOTOS) };
    Head::new(
        "batch-123".parse().unwrap(),
        Position::new(epoch, version).unwrap(),
        status,
        Counts { total: PHOTOS, queued: 0, processing: PHOTOS - completed, completed, failed: 0 },
        String::new(),
    )
}

fn photos(from: u64, to: u64) -> Vec<Photo> {
    let photo = |version| {
        Photo::new(PhotoId::new(&format!("p{}", version % u64::from(PHOTOS))).unwrap(), PhotoStatus::Completed, version)
    };
    (from + 1..=to).map(photo).collect()
}

/// The batch as the hash holds it at `version`.
pub(crate) fn stored(version: u64) -> Stored {
    stored_as(version, BatchStatus::Processing)
}

pub(crate) fn stored_ended(version: u64) -> Stored {
    stored_as(version, BatchStatus::Completed)
}

fn stored_as(version: u64, status: BatchStatus) -> Stored {
    stored_at(EPOCH, version, status)
}

fn stored_at(epoch: u64, version: u64, status: BatchStatus) -> Stored {
    let state = BatchState::new(head(epoch, version, status), photos(0, version)).unwrap();
    Stored::new(state, None)
}

/// The batch after it was re-opened.
fn reopened(version: u64) -> Stored {
    stored_at(EPOCH + 1, version, BatchStatus::Processing)
}

fn news(from: u64, to: u64, status: BatchStatus) -> Vec<u8> {
    news_at(EPOCH, from, to, status)
}

fn news_at(epoch: u64, from: u64, to: u64, status: BatchStatus) -> Vec<u8> {
    let since = Position::new(epoch, from).unwrap();
    let changes = Changes::new(Some(since), head(epoch, to, status), photos(from, to));
    message::changes(&changes, 1_000).into_bytes()
}

fn seen(version: u64) -> Option<Position> {
    Position::new(EPOCH, version).ok()
}

fn came(viewer: u32, seen: Option<Position>) -> Input<'static> {
    came_as(viewer, seen, Visitor::default())
}

fn came_as(viewer: u32, seen: Option<Position>, visitor: Visitor) -> Input<'static> {
    Input::Came { viewer: ViewerId(viewer), visitor, seen, stored: stored(1) }
}

/// All bytes written to a viewer.
fn written(out: &[Output], viewer: u32) -> String {
    (out.iter())
        .filter_map(|output| match output {
            Output::Write { to, bytes } if to.contains(&ViewerId(viewer)) => Some(&**bytes),
            _ => None,
        })
        .collect()
}

fn ids(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("id: ")).collect()
}

const OPEN: &dyn Fn(ViewerId) -> bool = &|_| true;
const FULL: &dyn Fn(ViewerId) -> bool = &|_| false;

/// A room at `version` with one viewer and a subscription that is up and caught up, at time 1,000.
fn live_room(version: u64) -> Room {
    let mut room = Room::new(Config::default(), stored(version), 7, 1_000);
    room.handle(came(1, None), 1_000, OPEN);
    room.handle(Input::Confirmed, 1_000, OPEN);
    room.handle(Input::HashRead(Ok(Some(stored(version)))), 1_000, OPEN);
    room
}

#[test]
fn a_room_subscribes_waits_for_the_confirmation_and_then_reads() {
    let mut room = Room::new(Config::default(), stored(3), 7, 1_000);
    let out = room.handle(came(1, None), 1_000, OPEN);
    assert!(written(&out, 1).starts_with("retry: 20") && written(&out, 1).contains("\"full\":true"));
    assert_eq!(out.last(), Some(&Output::Subscribe));
    assert!(!room.is_fresh(1_000));
    assert_eq!(room.handle(Input::Confirmed, 1_010, OPEN), [Output::ReadHash]);
    assert!(!room.is_fresh(1_010));
    let out = room.handle(Input::HashRead(Ok(Some(stored(4)))), 1_020, OPEN);
    assert_eq!(ids(&written(&out, 1)), [seen(4).unwrap().to_string()]);
    assert!(room.is_fresh(1_020));
}

#[test]
fn any_number_of_viewers_share_one_subscription() {
    let mut room = live_room(3);
    for viewer in 2..200 {
        assert!(!room.handle(came(viewer, None), 1_100, OPEN).contains(&Output::Subscribe));
    }
}

#[test]
fn an_update_of_one_photo_sends_that_photo() {
    let mut room = live_room(30);
    let out = room.handle(Input::Message(&news(30, 31, BatchStatus::Processing)), 2_000, OPEN);
    let text = written(&out, 1);
    assert_eq!(text.matches("photoId").count(), 1);
    assert!(text.contains("p31") && text.contains("\"at\":1000"));
}

fn traced(from: u64, to: u64, trace: TraceParent) -> Vec<u8> {
    let mut changes = Changes::full(&stored(to).state, None);
    changes.since = Position::new(EPOCH, from).ok();
    message::changes(&changes, Cause::new(1_500, trace)).into_bytes()
}

fn told(out: &[Output]) -> Vec<&Output> {
    out.iter().filter(|output| matches!(output, Output::Traced { .. })).collect()
}

#[test]
fn a_traced_update_is_told_once_when_it_is_shown() {
    let (mut room, one, two) = (live_room(3), TraceParent::new(1, 1, true), TraceParent::new(2, 1, true));
    let out = room.handle(Input::Message(&traced(3, 4, one)), 2_000, OPEN);
    let position = seen(4).unwrap();
    assert_eq!(told(&out), [&Output::Traced { trace: one, position, viewers: 1, latency: Some(500) }]);
    assert!(!written(&out, 1).contains(one.trace_id()));
    // Another so soon is shown with what comes until the next sweep, and the earlier trace names them both.
    room.handle(Input::Message(&traced(4, 5, two)), 2_001, OPEN);
    room.handle(Input::Message(&traced(5, 6, one)), 2_002, OPEN);
    let due = room.wake_at().unwrap();
    let out = room.handle(Input::Wake, due, OPEN);
    let position = seen(6).unwrap();
    assert_eq!(told(&out), [&Output::Traced { trace: two, position, viewers: 1, latency: Some(due - 1_500) }]);
    assert!(told(&room.handle(Input::Message(&news(6, 7, BatchStatus::Processing)), due + 9_000, OPEN)).is_empty());
}

#[test]
fn a_traced_update_that_nobody_is_shown_is_not_told() {
    let trace = TraceParent::new(1, 1, true);
    let mut behind = live_room(3);
    assert!(told(&behind.handle(Input::Message(&traced(3, 4, trace)), 2_000, FULL)).is_empty());
    let mut left = live_room(3);
    left.handle(Input::Left(ViewerId(1)), 2_000, OPEN);
    assert!(told(&left.handle(Input::Message(&traced(3, 4, trace)), 2_001, OPEN)).is_empty());
}

#[test]
fn a_traced_update_that_leads_to_a_read_is_told_when_that_has_shown_it() {
    let (mut room, trace) = (live_room(3), TraceParent::new(1, 1, false));
    let out = room.handle(Input::Message(&traced(5, 6, trace)), 2_000, OPEN);
    assert!(out.contains(&Output::ReadHash) && told(&out).is_empty());
    let out = room.handle(Input::HashRead(Ok(Some(stored(7)))), 2_100, OPEN);
    let position = seen(7).unwrap();
    assert_eq!(told(&out), [&Output::Traced { trace, position, viewers: 1, latency: None }]);
}

#[test]
fn updates_that_come_close_together_are_shown_together() {
    let mut room = live_room(3);
    room.handle(Input::Message(&news(3, 4, BatchStatus::Processing)), 2_000, OPEN);
    assert_eq!(room.handle(Input::Message(&news(4, 5, BatchStatus::Processing)), 2_005, OPEN), []);
    assert_eq!(room.handle(Input::Message(&news(5, 6, BatchStatus::Processing)), 2_010, OPEN), []);
    assert_eq!(room.wake_at(), Some(2_020));
    let out = room.handle(Input::Wake, 2_020, OPEN);
    assert_eq!(ids(&written(&out, 1)), [seen(6).unwrap().to_string()]);
}

/// The clock stands still while the runtime writes to all of them: only the next turn tells.
#[test]
fn a_room_that_is_short_of_time_rests_as_long_as_its_sweep_took() {
    let mut room = live_room(3);
    (2..60).for_each(|viewer| drop(room.handle(came(viewer, seen(3)), 1_500, OPEN)));
    let swept = |out: &[Output]| written(out, 2).contains("event: progress");
    assert!(swept(&room.handle(Input::Message(&news(3, 4, BatchStatus::Processing)), 2_000, OPEN)));
    assert_eq!(room.wake_at(), Some(2_001));
    // The sweep took 300 ms; messages have queued meanwhile.
    for version in 5..10 {
        let out = room.handle(Input::Message(&news(version - 1, version, BatchStatus::Processing)), 2_301, OPEN);
        assert!(!swept(&out), "{version}");
    }
    assert_eq!(room.wake_at(), Some(2_601));
    let out = room.handle(Input::Wake, 2_601, OPEN);
    assert_eq!(ids(&written(&out, 2)), [seen(9).unwrap().to_string()]);
    // A sweep that took no time needs no rest.
    room.handle(Input::Wake, 2_602, OPEN);
    assert!(swept(&room.handle(Input::Message(&news(9, 10, BatchStatus::Processing)), 2_621, OPEN)));
}

/// A thousand viewers, whose sweeps may come every 100 ms.
fn crowded_room() -> Room {
    room_of(1_000)
}

/// So many viewers, who were shown version 3.
fn room_of(viewers: u32) -> Room {
    let mut room = live_room(3);
    (2..=viewers).for_each(|viewer| drop(room.handle(came(viewer, seen(3)), 1_500, OPEN)));
    room
}

#[test]
fn changes_that_come_as_often_as_sweeps_may_are_each_shown_at_once() {
    let mut room = crowded_room();
    for (version, late) in (4..40).zip([0, 3, 1, 9, 2, 40].into_iter().cycle()) {
        let now = 2_000 + 100 * version + late;
        let news = news(version - 1, version, BatchStatus::Processing);
        let out = room.handle(Input::Message(&news), now, OPEN);
        assert_eq!(ids(&written(&out, 1_000)), [seen(version).unwrap().to_string()], "{now}");
        // The sweep took no time.
        room.handle(Input::Wake, now + 1, OPEN);
    }
}

#[test]
fn changes_that_come_oftener_are_shown_together_as_often_as_sweeps_may() {
    let mut room = crowded_room();
    let mut sweeps = 0;
    for now in 2_000..4_000 {
        let out = match now % 10 {
            0 => {
                let version = 4 + (now - 2_000) / 10;
                room.handle(Input::Message(&news(version - 1, version, BatchStatus::Processing)), now, OPEN)
            }
            _ if room.wake_at().is_some_and(|at| at <= now) => room.handle(Input::Wake, now, OPEN),
            _ => Vec::new(),
        };
        sweeps += ids(&written(&out, 1_000)).len();
    }
    assert!((20..=22).contains(&sweeps), "{sweeps} in two seconds");
}

/// Its last sweep is not to be paid for by the few who stayed.
#[test]
fn when_most_have_left_the_rest_need_not_wait() {
    let mut room = room_of(5_000);
    room.handle(Input::Message(&news(3, 4, BatchStatus::Processing)), 2_000, OPEN);
    room.handle(Input::Wake, 2_001, OPEN);
    (2..=5_000).for_each(|viewer| drop(room.handle(Input::Left(ViewerId(viewer)), 2_002, OPEN)));
    let out = room.handle(Input::Message(&news(4, 5, BatchStatus::Processing)), 2_020, OPEN);
    assert_eq!(ids(&written(&out, 1)), [seen(5).unwrap().to_string()]);
}

/// Whoever is behind is looked at every 250 ms, oftener than a room of so many may sweep.
#[test]
fn a_viewer_that_was_behind_for_long_leaves_no_debt() {
    let mut room = room_of(5_000);
    let full = |viewer: ViewerId| viewer != ViewerId(7);
    room.handle(Input::Message(&news(3, 4, BatchStatus::Processing)), 2_000, &full);
    for now in 2_001..10_000 {
        if room.wake_at().is_some_and(|at| at <= now) {
            room.handle(Input::Wake, now, &full);
        }
    }
    room.handle(Input::Left(ViewerId(7)), 10_000, OPEN);
    // Nobody is looked for any more.
    room.handle(Input::Wake, 10_300, OPEN);
    room.handle(Input::Wake, 10_301, OPEN);
    room.handle(Input::Message(&news(4, 5, BatchStatus::Processing)), 10_302, OPEN);
    // A sweep's time after the last one.
    let out = room.handle(Input::Wake, 10_800, OPEN);
    assert_eq!(ids(&written(&out, 1)), [seen(5).unwrap().to_string()]);
}

#[test]
fn a_returning_viewer_gets_only_what_it_missed() {
    let mut room = live_room(10);
    let out = room.handle(came(2, seen(8)), 2_000, OPEN);
    assert_eq!(written(&out, 2).matches("photoId").count(), 2);
    let out = room.handle(came(3, seen(10)), 2_000, OPEN);
    assert_eq!(ids(&written(&out, 3)), [""; 0]);
    for elsewhere in [seen(11), "5-10".parse().ok(), None] {
        let out = room.handle(came(4, elsewhere), 2_000, OPEN);
        assert!(written(&out, 4).contains("\"full\":true"), "{elsewhere:?}");
    }
}

#[test]
fn nothing_is_queued_for_a_full_stream_and_later_it_gets_one_merged_event() {
    let mut room = live_room(3);
    for version in 3..13 {
        let out = room.handle(
            Input::Message(&news(version, version + 1, BatchStatus::Processing)),
            2_000 + version * 100,
            FULL,
        );
        assert_eq!(out, []);
    }
    let at = room.wake_at().unwrap();
    let out = room.handle(Input::Wake, at, OPEN);
    assert_eq!(written(&out, 1).matches("photoId").count(), 10);
    assert_eq!(room.take_counters().conflated, 1);
}

#[test]
fn the_end_is_progress_then_complete_then_close_and_the_subscription_goes() {
    let mut room = live_room(3);
    let out = room.handle(Input::Message(&news(3, 4, BatchStatus::Completed)), 2_000, OPEN);
    let text = written(&out, 1);
    let events: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!(events, ["progress", "complete"]);
    assert_eq!(ids(&text), [seen(4).unwrap().to_string()]);
    assert_eq!(out[1..], [Output::Close(ViewerId(1)), Output::Unsubscribe]);
    assert!(room.is_over(2_000));
}

#[test]
fn a_viewer_that_cannot_take_the_end_is_waited_for_and_then_cut() {
    let mut room = live_room(3);
    room.handle(Input::Message(&news(3, 4, BatchStatus::Completed)), 2_000, FULL);
    let mut closed = None;
    while let Some(at) = room.wake_at().filter(|_| closed.is_none()) {
        let out = room.handle(Input::Wake, at, FULL);
        closed = out.contains(&Output::Cut(ViewerId(1))).then_some(at);
    }
    assert_eq!(closed, Some(32_000));
}

#[test]
fn a_gap_is_read_and_what_was_missed_is_shown() {
    let mut room = live_room(3);
    let out = room.handle(Input::Message(&news(6, 7, BatchStatus::Processing)), 2_000, OPEN);
    assert_eq!(out, [Output::ReadHash]);
    assert!(!room.is_fresh(2_000));
    let out = room.handle(Input::HashRead(Ok(Some(stored(7)))), 2_010, OPEN);
    assert_eq!(written(&out, 1).matches("photoId").count(), 4);
    assert_eq!(room.take_counters().gaps, 1);
}

#[test]
fn a_ping_that_returns_shows_a_missed_last_message() {
    let mut room = live_room(3);
    let out = room.handle(Input::Alarm, 21_000, OPEN);
    let [Output::Ping(nonce)] = &out[..] else { panic!("{out:?}") };
    room.handle(Input::PingAnswered(seen(4)), 21_005, OPEN);
    let out = room.handle(Input::Message(message::ping(nonce).as_bytes()), 21_006, OPEN);
    assert_eq!(out, [Output::ReadHash]);
}

#[test]
fn a_quiet_room_only_pings_and_stays_trusted() {
    let mut room = live_room(3);
    for alarm in 1..6 {
        let now = 1_000 + alarm * 20_000;
        let out = room.handle(Input::Alarm, now, OPEN);
        let [Output::Ping(nonce), rest @ ..] = &out[..] else { panic!("{out:?}") };
        assert!(rest.iter().all(|output| matches!(output, Output::Write { .. })), "{rest:?}");
        let ping = message::ping(nonce);
        assert_eq!(room.handle(Input::Message(ping.as_bytes()), now + 3, OPEN), []);
        assert_eq!(room.handle(Input::PingAnswered(seen(3)), now + 4, OPEN), []);
        let out = room.handle(Input::Wake, now + 10_000, OPEN);
        assert!(out.iter().all(|output| matches!(output, Output::Write { .. })), "{out:?}");
        assert!(room.is_fresh(now + 19_999));
    }
}

#[test]
fn a_subscription_that_falls_silent_is_replaced_and_viewers_are_told() {
    let mut room = live_room(3);
    room.handle(Input::Alarm, 21_000, OPEN);
    assert!(!room.is_stale());
    let out = room.handle(Input::Wake, 26_000, OPEN);
    assert_eq!(out[0], Output::Unsubscribe);
    assert!(written(&out, 1).contains("{\"state\":\"stale\"}") && room.is_stale());
    let at = room.wake_at().unwrap();
    assert_eq!(room.handle(Input::Wake, at, OPEN)[0], Output::Subscribe);
    room.handle(Input::Confirmed, at + 10, OPEN);
    let out = room.handle(Input::HashRead(Ok(Some(stored(3)))), at + 20, OPEN);
    assert!(written(&out, 1).contains("{\"state\":\"live\"}"));
}

#[test]
fn silence_is_broken_by_a_keep_alive_but_not_on_a_full_stream() {
    let mut room = live_room(3);
    assert_eq!(written(&room.handle(Input::Wake, 15_999, OPEN), 1), "");
    assert_eq!(written(&room.handle(Input::Wake, 16_000, &|_| false), 1), "");
    assert!(written(&room.handle(Input::Wake, 31_000, OPEN), 1).starts_with(":\n\n"));
}

#[test]
fn a_room_lingers_then_goes() {
    let mut room = live_room(3);
    assert_eq!(room.handle(Input::Left(ViewerId(1)), 2_000, OPEN), []);
    assert!(!room.is_over(31_999));
    assert_eq!(room.handle(Input::Wake, 32_000, OPEN), [Output::Unsubscribe]);
    assert!(room.is_over(32_000));
}

#[test]
fn a_hash_that_is_gone_sends_the_room_to_the_origin_and_its_404_ends_it() {
    let mut room = live_room(3);
    assert_eq!(room.handle(Input::Message(message::invalidate().as_bytes()), 2_000, OPEN), [Output::ReadHash]);
    assert_eq!(room.handle(Input::HashRead(Ok(None)), 2_010, OPEN), [Output::AskOrigin]);
    assert_eq!(room.position(), seen(3));
    let out = room.handle(Input::OriginRead(Ok(None)), 2_020, OPEN);
    assert!(written(&out, 1).contains("event: gone"));
    assert!(out.contains(&Output::Close(ViewerId(1))));
}

#[test]
fn while_redis_does_not_answer_the_origins_404_ends_nothing() {
    let mut room = live_room(3);
    room.handle(Input::Message(&news(6, 7, BatchStatus::Processing)), 2_000, OPEN);
    let out = room.handle(Input::HashRead(Err(Unanswered)), 2_010, OPEN);
    assert_eq!(out, [Output::AskOrigin]);
    assert_eq!(room.handle(Input::OriginRead(Ok(None)), 2_020, OPEN), []);
    assert_eq!(room.viewers(), 1);
}

#[test]
fn an_invalidated_batch_is_shown_whole() {
    let mut room = live_room(3);
    room.handle(Input::Message(message::invalidate().as_bytes()), 2_000, OPEN);
    let out = room.handle(Input::HashRead(Ok(Some(stored(4)))), 2_010, OPEN);
    assert!(written(&out, 1).contains("\"full\":true"));
}

#[test]
fn viewers_are_told_once_that_nothing_happens_any_more() {
    let mut room = live_room(3);
    assert!(written(&room.handle(Input::Wake, 121_000, OPEN), 1).contains("event: stalled"));
    assert!(!written(&room.handle(Input::Wake, 122_000, OPEN), 1).contains("event: stalled"));
}

/// A ping that comes back and finds nothing new.
fn prove(room: &mut Room, version: u64, now: Millis) -> Vec<Output> {
    let mut out = room.handle(Input::Alarm, now, OPEN);
    let nonce = out.iter().find_map(|output| match output {
        Output::Ping(nonce) => Some(nonce.clone()),
        _ => None,
    });
    let ping = message::ping(&nonce.expect("a ping"));
    out.extend(room.handle(Input::Message(ping.as_bytes()), now, OPEN));
    out.extend(room.handle(Input::PingAnswered(seen(version)), now, OPEN));
    out
}

#[test]
fn when_nothing_changes_for_long_viewers_are_sent_away_and_the_room_is_over() {
    let mut room = live_room(3);
    prove(&mut room, 3, 595_000);
    assert!(!room.handle(Input::Wake, 600_999, OPEN).contains(&Output::Close(ViewerId(1))));
    assert_eq!(room.wake_at(), Some(601_000));
    let out = room.handle(Input::Wake, 601_000, OPEN);
    let retry = written(&out, 1);
    assert!(retry.starts_with("retry: 60") && retry.ends_with(&wire::event::idle(seen(3).unwrap())), "{retry}");
    assert!(out.ends_with(&[Output::Close(ViewerId(1)), Output::Unsubscribe]), "{out:?}");
    assert!(room.is_over(601_000));
    assert_eq!(room.take_counters().forgotten, 1);
}

#[test]
fn nobody_is_sent_away_while_something_may_have_been_missed() {
    let mut room = live_room(3);
    prove(&mut room, 3, 595_000);
    room.handle(Input::Lost, 596_000, OPEN);
    let out = room.handle(Input::Wake, 601_000, OPEN);
    assert!(!out.contains(&Output::Close(ViewerId(1))), "{out:?}");
    assert!(room.wake_at().is_some_and(|at| at > 601_000));
    room.handle(Input::Confirmed, 602_000, OPEN);
    let out = room.handle(Input::HashRead(Ok(Some(stored(3)))), 602_010, OPEN);
    assert!(out.contains(&Output::Close(ViewerId(1))), "{out:?}");
}

#[test]
fn somebody_who_comes_anew_is_not_sent_away_with_the_others() {
    let mut room = live_room(3);
    room.handle(came(2, None), 500_000, OPEN);
    prove(&mut room, 3, 1_095_000);
    assert!(!room.handle(Input::Wake, 1_099_999, OPEN).contains(&Output::Close(ViewerId(1))));
    assert!(room.handle(Input::Wake, 1_100_000, OPEN).contains(&Output::Close(ViewerId(2))));
}

#[test]
fn a_room_is_full_at_its_limit() {
    let config = Config { max_viewers: 2, ..Config::default() };
    let mut room = Room::new(config, stored(1), 7, 0);
    room.handle(came(1, None), 0, OPEN);
    assert_eq!(room.full(None), None);
    room.handle(came(2, None), 0, OPEN);
    assert_eq!(room.full(None), Some(Full::Room));
    room.handle(Input::Left(ViewerId(1)), 1, OPEN);
    assert_eq!(room.full(None), None);
}

#[test]
fn one_user_does_not_fill_a_room_for_others() {
    let config = Config { max_viewers_per_user: 2, ..Config::default() };
    let mut room = Room::new(config, stored(1), 7, 0);
    let anna = Visitor { user: Some("anna".into()), until: None };
    room.handle(came_as(1, None, anna.clone()), 0, OPEN);
    assert_eq!(room.full(Some("anna")), None);
    room.handle(came_as(2, None, anna), 0, OPEN);
    assert_eq!((room.full(Some("anna")), room.full(Some("bert")), room.full(None)), (Some(Full::User), None, None));
    room.handle(Input::Left(ViewerId(1)), 1, OPEN);
    assert_eq!(room.full(Some("anna")), None);
}

#[test]
fn a_stream_ends_with_the_token_behind_it_and_the_others_go_on() {
    let mut room = live_room(3);
    for (viewer, until) in [(11, Some(70_000)), (12, Some(60_000)), (13, None)] {
        room.handle(came_as(viewer, None, Visitor { user: None, until }), 1_000, OPEN);
    }
    assert!(room.wake_at().is_some_and(|at| at <= 60_000));
    assert!(!room.handle(Input::Wake, 59_999, OPEN).contains(&Output::Close(ViewerId(12))));
    assert_eq!(room.wake_at(), Some(60_000));
    let out = room.handle(Input::Wake, 60_000, OPEN);
    assert!(
        written(&out, 12).ends_with("event: auth-expired\ndata: {}\n\n") && out.contains(&Output::Close(ViewerId(12)))
    );
    assert!(!written(&out, 11).contains("auth-expired") && !out.contains(&Output::Close(ViewerId(11))));
    let stuck = |id| id != ViewerId(11);
    let out = room.handle(Input::Wake, 70_000, &stuck);
    assert!(written(&out, 11).is_empty() && out.contains(&Output::Close(ViewerId(11))), "{out:?}");
    assert_eq!(room.take_counters().expired, 2);
    assert_eq!(room.viewers(), 2, "those without an end are still there");
}

#[test]
fn nothing_more_is_shown_once_a_token_has_expired_however_late_the_room_is_woken() {
    let mut room = live_room(3);
    room.handle(came_as(11, None, Visitor { user: None, until: Some(5_000) }), 1_000, OPEN);
    let out = room.handle(Input::Message(&news(3, 4, BatchStatus::Processing)), 6_000, OPEN);
    assert!(written(&out, 1).contains("event: progress"));
    assert!(written(&out, 11).contains("auth-expired") && !written(&out, 11).contains("progress"), "{out:?}");
}

#[test]
fn a_standstill_is_doubted_and_an_end_that_was_never_published_is_seen() {
    let mut room = live_room(3);
    prove(&mut room, 3, 119_000);
    assert!(room.handle(Input::Wake, 121_000, OPEN).contains(&Output::AskOrigin));
    assert!(!room.handle(Input::Wake, 130_000, OPEN).contains(&Output::AskOrigin), "a question is under way");
    let out = room.handle(Input::OriginRead(Ok(Some(stored_ended(9)))), 130_010, OPEN);
    assert!(written(&out, 1).contains("event: complete"), "{out:?}");
}

#[test]
fn an_origin_that_does_not_answer_a_doubt_is_asked_again_although_all_else_is_well() {
    let mut room = live_room(3);
    prove(&mut room, 3, 119_000);
    assert!(room.handle(Input::Wake, 121_000, OPEN).contains(&Output::AskOrigin));
    room.handle(Input::OriginRead(Err(Unanswered)), 121_010, OPEN);
    let out = prove(&mut room, 3, 139_000);
    assert!(!out.contains(&Output::AskOrigin) && room.is_fresh(139_000), "{out:?}");
    assert!(!room.handle(Input::Wake, 151_009, OPEN).contains(&Output::AskOrigin));
    assert!(room.handle(Input::Wake, 151_010, OPEN).contains(&Output::AskOrigin));
}

#[test]
fn a_standstill_that_the_origin_confirms_is_doubted_again_only_after_as_long() {
    let mut room = live_room(3);
    let mut asked = 0;
    for ping in 1..25 {
        let now = 1_000 + ping * 20_000;
        let out = [prove(&mut room, 3, now), room.handle(Input::Wake, now + 10, OPEN)].concat();
        if out.contains(&Output::AskOrigin) {
            asked += 1;
            assert_eq!(room.handle(Input::OriginRead(Ok(Some(stored(3)))), now + 20, OPEN), []);
        }
    }
    // 480 s, 120 s each.
    assert_eq!(asked, 4);
}

#[test]
fn without_a_subscription_a_watched_room_goes_on_reading_and_asks_the_origin() {
    let mut room = live_room(3);
    let (mut now, mut reads, mut origin) = (2_000, 0, 0);
    room.handle(Input::Lost, now, OPEN);
    while now < 62_000 {
        now = room.wake_at().unwrap().max(now + 1);
        for output in room.handle(Input::Wake, now, OPEN) {
            match output {
                Output::Subscribe => drop(room.handle(Input::Lost, now, OPEN)),
                Output::ReadHash => {
                    reads += 1;
                    let out = room.handle(Input::HashRead(Err(Unanswered)), now, OPEN);
                    origin += out.iter().filter(|output| **output == Output::AskOrigin).count();
                }
                Output::AskOrigin => origin += 1,
                _ => {}
            }
        }
    }
    assert!((11..=13).contains(&reads) && (10..=13).contains(&origin), "{reads} reads, {origin} of the origin");
}

#[test]
fn a_viewer_that_comes_in_the_moment_in_which_a_room_ends_keeps_it() {
    let mut room = live_room(3);
    room.handle(Input::Left(ViewerId(1)), 2_000, OPEN);
    let out = room.handle(came(2, None), 40_000, OPEN);
    assert!(written(&out, 2).contains("\"full\":true") && !room.is_over(40_000));
}

#[test]
fn a_batch_that_is_reopened_while_a_viewer_still_waits_for_its_end_goes_on() {
    let mut room = live_room(3);
    room.handle(Input::Message(&news(3, 4, BatchStatus::Completed)), 2_000, FULL);
    let out = room.handle(Input::Learned(reopened(1)), 5_000, OPEN);
    assert!(out.contains(&Output::Subscribe), "{out:?}");
    for viewer in 2..8 {
        let now = 32_000 + u64::from(viewer) * 1_000;
        room.handle(came(viewer, None), now, OPEN);
        let out = room.handle(Input::Wake, now + 1, OPEN);
        assert!(!out.iter().any(|output| matches!(output, Output::Close(_) | Output::Cut(_))), "{out:?}");
    }
}

#[test]
fn a_read_from_before_an_invalidation_does_not_undo_it() {
    let mut room = live_room(3);
    room.handle(Input::Message(message::invalidate().as_bytes()), 2_000, OPEN);
    room.handle(Input::Learned(stored(3)), 2_001, OPEN);
    let held = crate::Held::new(Some(stored(3)), Source::Redis, 1_900);
    assert_eq!(crate::cache::from_memory(Some(&room), Some(&held), &Config::default(), 2_010), None);
    let out = room.handle(Input::HashRead(Ok(Some(stored(4)))), 2_050, OPEN);
    assert!(written(&out, 1).contains("\"full\":true"));
}

#[test]
fn an_origin_asked_before_an_invalidation_does_not_undo_it() {
    let mut room = live_room(3);
    room.handle(Input::Message(b"?"), 2_000, OPEN);
    assert_eq!(room.handle(Input::HashRead(Ok(None)), 2_010, OPEN), [Output::AskOrigin]);
    assert!(!room.is_origin_outdated());
    room.handle(Input::Message(message::invalidate().as_bytes()), 2_020, OPEN);
    assert!(room.is_origin_outdated(), "and is not to be stored either");
    room.handle(Input::OriginRead(Ok(Some(stored(3)))), 2_030, OPEN);
    assert!(room.is_invalidated() && !room.is_origin_outdated());
}

#[test]
fn a_hash_that_is_absent_or_unread_is_not_fresh() {
    let mut room = live_room(3);
    room.handle(Input::Message(b"?"), 2_000, OPEN);
    assert!(!room.is_fresh(2_000));
    room.handle(Input::HashRead(Ok(None)), 2_010, OPEN);
    room.handle(Input::OriginRead(Err(Unanswered)), 2_020, OPEN);
    assert!(!room.is_fresh(2_020));
}

#[test]
fn an_update_after_redis_was_emptied_puts_the_room_in_step_again() {
    let mut room = live_room(3);
    room.handle(Input::Lost, 2_000, OPEN);
    assert!(written(&room.handle(Input::Wake, 26_000, OPEN), 1).contains("stale"));
    room.handle(Input::Confirmed, 27_000, OPEN);
    room.handle(Input::HashRead(Ok(None)), 27_010, OPEN);
    room.handle(Input::OriginRead(Err(Unanswered)), 27_020, OPEN);
    let out = room.handle(Input::Message(&news(0, 4, BatchStatus::Processing)), 28_000, OPEN);
    assert!(written(&out, 1).contains("{\"state\":\"live\"}") && room.is_fresh(28_000) && !room.is_stale());
    let out = room.handle(Input::Wake, 33_000, OPEN);
    assert!(!out.contains(&Output::AskOrigin));
    assert_eq!(room.handle(Input::OriginRead(Ok(None)), 33_010, OPEN), []);
}

#[test]
fn a_newcomer_is_told_what_the_others_know() {
    let mut room = live_room(3);
    room.handle(Input::Lost, 2_000, OPEN);
    room.handle(Input::Wake, 27_000, OPEN);
    assert!(written(&room.handle(came(2, None), 28_000, OPEN), 2).contains("{\"state\":\"stale\"}"));
    assert!(!written(&room.handle(Input::Wake, 28_001, OPEN), 1).contains("stale"));
}

#[test]
fn when_viewers_have_doubled_they_are_told_anew_when_to_come_back() {
    let mut room = live_room(3);
    for viewer in 2..100 {
        room.handle(came(viewer, None), 1_100, OPEN);
    }
    let text = written(&room.handle(Input::Wake, 16_100, OPEN), 1);
    assert!(text.starts_with("retry: ") && text.ends_with("\n\n"), "{text}");
    assert_eq!(written(&room.handle(Input::Wake, 31_200, OPEN), 1).matches("retry").count(), 0);
}

#[test]
fn in_a_busy_room_they_are_told_with_an_event() {
    let mut room = live_room(3);
    for viewer in 2..100 {
        room.handle(came(viewer, None), 1_100, OPEN);
    }
    let retries = |out: &[Output]| written(out, 1).matches("retry: ").count();
    assert_eq!(retries(&room.handle(Input::Message(&news(3, 4, BatchStatus::Processing)), 2_000, OPEN)), 1);
    assert_eq!(retries(&room.handle(Input::Message(&news(4, 5, BatchStatus::Processing)), 3_000, OPEN)), 0);
}

#[test]
fn a_full_stream_does_not_delay_the_others_keep_alive() {
    let mut room = live_room(3);
    room.handle(came(2, None), 2_000, OPEN);
    room.handle(Input::Wake, 16_000, &|id| id == ViewerId(2));
    assert_eq!(room.wake_at(), Some(17_000));
    let out = room.handle(Input::Wake, 17_000, &|id| id == ViewerId(2));
    assert!(written(&out, 2).starts_with(":\n\n"));
}

#[test]
fn a_gone_batch_is_answered_by_what_is_held() {
    let mut room = live_room(3);
    room.handle(Input::Message(message::invalidate().as_bytes()), 2_000, OPEN);
    room.handle(Input::HashRead(Ok(None)), 2_010, OPEN);
    room.handle(Input::OriginRead(Ok(None)), 2_020, OPEN);
    let held = crate::Held::new(None, Source::Origin, 2_030);
    let answer = crate::cache::from_memory(Some(&room), Some(&held), &Config::default(), 2_100);
    assert_eq!(answer.map(|answer| answer.stored), Some(None));
}

#[test]
fn a_subscription_that_dies_right_after_its_confirmation_is_tried_ever_more_rarely() {
    let mut room = live_room(3);
    let (mut now, mut tries) = (2_000, 0);
    room.handle(Input::Lost, now, OPEN);
    while now < 62_000 {
        now = room.wake_at().unwrap().max(now + 1);
        let out = room.handle(Input::Wake, now, OPEN);
        if out.contains(&Output::Subscribe) {
            tries += 1;
            if room.handle(Input::Confirmed, now, OPEN).contains(&Output::ReadHash) {
                room.handle(Input::HashRead(Ok(Some(stored(3)))), now, OPEN);
            }
            room.handle(Input::Lost, now, OPEN);
        } else if out.contains(&Output::ReadHash) {
            room.handle(Input::HashRead(Ok(Some(stored(3)))), now, OPEN);
        }
    }
    assert!(tries < 30, "{tries} tries in a minute");
}

#[test]
fn a_ping_that_was_lost_with_the_gateways_redis_does_not_cut_a_good_subscription() {
    let mut room = live_room(3);
    room.handle(Input::Alarm, 21_000, OPEN);
    room.handle(Input::Confirmed, 22_000, OPEN);
    room.handle(Input::HashRead(Ok(Some(stored(3)))), 22_010, OPEN);
    assert!(!room.handle(Input::Wake, 26_000, OPEN).contains(&Output::Unsubscribe));
}

#[test]
fn an_end_that_was_invalidated_while_it_was_read_is_not_shown_yet() {
    let mut room = live_room(3);
    room.handle(Input::Message(b"?"), 2_000, OPEN);
    room.handle(Input::Message(message::invalidate().as_bytes()), 2_001, OPEN);
    let out = room.handle(Input::HashRead(Ok(Some(stored_ended(4)))), 2_010, OPEN);
    assert_eq!(written(&out, 1), "");
    let again = room.wake_at().unwrap();
    assert_eq!(room.handle(Input::Wake, again, OPEN), [Output::ReadHash]);
    let out = room.handle(Input::HashRead(Ok(Some(stored_ended(4)))), again, OPEN);
    assert!(written(&out, 1).contains("event: complete"));
}

/// What one step of a random schedule does.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// The batch goes on by so many versions; its message is delivered so many times (0: lost).
    Publish(u64, usize),
    /// The oldest message under way arrives, or the one after it.
    Deliver(bool),
    /// The read under way is answered; false: it fails.
    Answer(bool),
    /// A read that began so many versions ago comes in.
    Learn(u64),
    /// The batch ends and is re-opened at once; both messages are lost.
    Reopen,
    /// Redis is emptied; the next update fills it.
    Flush,
    /// The origin answers; false: it fails.
    Origin(bool),
    Invalidate,
    /// A viewer comes, having seen so many versions less than there are; `None`: a newcomer.
    Came(u32, Option<u64>),
    Left(u32),
    /// A viewer's stream is full from now on, or no longer.
    Full(u32, bool),
    Lost,
    Confirmed,
    Alarm,
    Pass(u64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (1..3_u64, 0..3_usize).prop_map(|(by, times)| Act::Publish(by, times)),
        4 => any::<bool>().prop_map(Act::Deliver),
        3 => prop::bool::weighted(0.8).prop_map(Act::Answer),
        1 => (0..4_u64).prop_map(Act::Learn),
        1 => Just(Act::Reopen),
        1 => Just(Act::Flush),
        1 => any::<bool>().prop_map(Act::Origin),
        1 => Just(Act::Invalidate),
        2 => (0..4_u32, proptest::option::of(0..4_u64)).prop_map(|(id, seen)| Act::Came(id, seen)),
        1 => (0..4_u32).prop_map(Act::Left),
        1 => (0..4_u32, any::<bool>()).prop_map(|(viewer, full)| Act::Full(viewer, full)),
        1 => Just(Act::Lost),
        1 => Just(Act::Confirmed),
        1 => Just(Act::Alarm),
        2 => (0..8_000_u64).prop_map(Act::Pass),
    ];
    vec(act, 0..80)
}

/// A viewer as a browser would be: it merges what it is sent.
#[derive(Default)]
struct Page {
    full: bool,
    position: Option<Position>,
    versions: BTreeMap<String, u64>,
    completes: usize,
}

impl Page {
    fn read(&mut self, text: &str) {
        for event in text.split("\n\n") {
            let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
            let Some(name) = field("event: ") else { continue };
            if let Some(id) = field("id: ") {
                let position = id.parse().ok();
                // What was invalidated, and then restored as it was, is shown once more.
                let again = event.contains("\"full\":true") && position == self.position;
                assert!(position > self.position || again, "position fell or stood still");
                self.position = position;
            }
            let data = field("data: ").unwrap_or_default();
            if data.contains("\"full\":true") {
                self.versions.clear();
            }
            for photo in data.split("\"photoId\":\"").skip(1) {
                let (id, rest) = photo.split_once('"').unwrap();
                let version = rest.split_once("\"version\":").unwrap().1;
                let version = version.split(['}', ',']).next().unwrap().parse().unwrap();
                let before = self.versions.insert(id.to_owned(), version);
                assert!(before <= Some(version), "photo {id} went backwards");
            }
            self.completes += usize::from(name == "complete");
        }
    }
}

/// The world around a room: the application's truth, the hash, messages under way, one read of each kind, pages.
struct World {
    room: Room,
    now: Millis,
    epoch: u64,
    version: u64,
    ended: bool,
    /// Whether Redis holds the batch.
    stored: bool,
    under_way: Vec<Vec<u8>>,
    reading: bool,
    asking: bool,
    pages: BTreeMap<u32, Page>,
    closed: Vec<Page>,
}

impl World {
    fn new() -> Self {
        let room = Room::new(Config::default(), stored(1), 7, 1_000);
        let (under_way, pages, closed) = Default::default();
        let (now, epoch, version) = (1_000, EPOCH, 1);
        let (ended, stored, reading, asking) = (false, true, false, false);
        Self { room, now, epoch, version, ended, stored, under_way, reading, asking, pages, closed }
    }

    fn status(&self) -> BatchStatus {
        if self.ended { BatchStatus::Completed } else { BatchStatus::Processing }
    }

    /// The batch as it is in truth, or was some versions ago.
    fn truth(&self, versions_ago: u64) -> Stored {
        stored_at(self.epoch, self.version.saturating_sub(versions_ago).max(1), self.status())
    }

    fn publish(&mut self, by: u64, ended: bool, times: usize) {
        let from = if self.stored { self.version } else { 0 };
        (self.version, self.ended, self.stored) = (self.version + by, ended, true);
        let message = news_at(self.epoch, from, self.version, self.status());
        self.under_way.extend(std::iter::repeat_n(message, times));
    }

    fn feed(&mut self, input: Input<'_>) {
        let pages = &self.pages;
        let can_take = |viewer: ViewerId| pages.get(&viewer.0).is_some_and(|page| !page.full);
        for output in self.room.handle(input, self.now, &can_take) {
            match output {
                Output::ReadHash => assert!(!std::mem::replace(&mut self.reading, true), "two reads at once"),
                Output::AskOrigin => self.asking = true,
                Output::Write { to, bytes } => {
                    for id in to {
                        self.pages.get_mut(&id.0).expect("written to a viewer that left").read(&bytes);
                    }
                }
                Output::Close(id) => self.closed.extend(self.pages.remove(&id.0)),
                Output::Cut(id) => drop(self.pages.remove(&id.0)),
                Output::Subscribe | Output::Unsubscribe | Output::Ping(_) | Output::Traced { .. } => {}
            }
        }
    }

    fn answer_read(&mut self, ok: bool) {
        if std::mem::take(&mut self.reading) {
            self.feed(Input::HashRead(if ok { Ok(self.stored.then(|| self.truth(0))) } else { Err(Unanswered) }));
        }
    }

    fn answer_origin(&mut self, ok: bool) {
        if std::mem::take(&mut self.asking) {
            self.stored |= ok;
            self.feed(Input::OriginRead(if ok { Ok(Some(self.truth(0))) } else { Err(Unanswered) }));
        }
    }

    fn come(&mut self, id: u32, versions_ago: Option<u64>) {
        if self.pages.contains_key(&id) {
            return;
        }
        // As the shell: a room that is over is replaced.
        if self.room.is_over(self.now) {
            self.room = Room::new(Config::default(), self.truth(0), 7, self.now);
            (self.reading, self.asking) = (false, false);
        }
        let before = versions_ago.map(|ago| self.truth(ago).state);
        let page = before.as_ref().map_or_else(Page::default, |state| Page {
            position: Some(state.position()),
            versions: versions(state),
            ..Page::default()
        });
        self.pages.insert(id, page);
        let (seen, stored) = (before.map(|state| state.position()), self.truth(0));
        self.feed(Input::Came { viewer: ViewerId(id), visitor: Visitor::default(), seen, stored });
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Publish(by, times) => self.publish(by, false, times),
            Act::Deliver(second) => {
                let index = usize::from(second && self.under_way.len() > 1);
                if index < self.under_way.len() {
                    let message = self.under_way.remove(index);
                    self.feed(Input::Message(&message));
                }
            }
            Act::Answer(ok) => self.answer_read(ok),
            Act::Learn(versions_ago) => self.feed(Input::Learned(self.truth(versions_ago))),
            Act::Reopen => (self.epoch, self.version) = (self.epoch + 1, self.version + 2),
            Act::Flush => self.stored = false,
            Act::Origin(ok) => self.answer_origin(ok),
            Act::Invalidate => {
                self.stored = false;
                self.feed(Input::Message(message::invalidate().as_bytes()));
            }
            Act::Came(id, versions_ago) => self.come(id, versions_ago),
            Act::Left(id) => {
                if self.pages.remove(&id).is_some() {
                    self.feed(Input::Left(ViewerId(id)));
                }
            }
            Act::Full(id, full) => self.pages.get_mut(&id).into_iter().for_each(|page| page.full = full),
            Act::Lost => self.feed(Input::Lost),
            Act::Confirmed => self.feed(Input::Confirmed),
            Act::Alarm => self.feed(Input::Alarm),
            Act::Pass(time) => self.pass(time),
        }
    }

    /// Lets time go by, waking the room whenever it asked for it.
    fn pass(&mut self, time: Millis) {
        let (until, mut wakes) = (self.now + time, 0);
        while let Some(at) = self.room.wake_at().filter(|at| *at <= until) {
            if self.room.is_over(self.now) {
                assert!(self.pages.is_empty(), "a room is over with viewers in it");
                break;
            }
            wakes += 1;
            assert!(wakes < 1_000, "the room asks to be woken for ever");
            self.now = at.max(self.now + 1);
            self.feed(Input::Wake);
        }
        self.now = self.now.max(until);
    }

    /// Faults stop: streams drain, the subscription is confirmed, reads are answered.
    fn heal(&mut self) {
        self.under_way.clear();
        self.pages.values_mut().for_each(|page| page.full = false);
        self.feed(Input::Confirmed);
        for _ in 0..20 {
            self.answer_read(true);
            self.answer_origin(true);
            self.pass(1_000);
        }
    }
}

fn versions(state: &BatchState) -> BTreeMap<String, u64> {
    state.photos().map(|photo| (photo.photo_id.to_string(), photo.version)).collect()
}

proptest! {
    #[test]
    fn whatever_happens_a_room_ends_equal_to_the_truth(acts in acts(), ends in any::<bool>()) {
        let mut world = World::new();
        world.come(9, None);
        for act in acts {
            world.act(act);
        }
        if ends {
            world.publish(1, true, 0);
        }
        world.heal();
        let truth = world.truth(0).state;
        prop_assert_eq!(world.room.position(), Some(truth.position()));
        prop_assert_eq!(world.pages.is_empty(), ends);
        let pages = if ends { &world.closed } else { &world.pages.into_values().collect() };
        for page in pages {
            prop_assert_eq!(page.completes, usize::from(ends));
            prop_assert_eq!(page.position, Some(truth.position()));
            prop_assert_eq!(&page.versions, &versions(&truth));
        }
    }
}
