import assert from "node:assert/strict";
import { test } from "node:test";
import { afterSignal, isStale, type Connection, type Signal } from "../src/connection.ts";

/** Each signal comes one second after the one before. */
function after(...signals: Signal[]): Connection {
  return signals.reduce<Connection>((current, signal, index) => afterSignal(current, signal, index * 1_000), { state: "connecting" });
}

test("an open stream is live, also before its first event", () => assert.deepEqual(after("live"), { state: "live" }));

test("being cut off counts from its beginning, however many attempts fail", () => {
  assert.deepEqual(after("live", "reconnecting", "reconnecting", "reconnecting"), { state: "reconnecting", since: 1_000 });
});

test("a stream that opens again is live again", () => assert.deepEqual(after("live", "reconnecting", "live"), { state: "live" }));

test("what has not changed stays the same object, so that nobody is told of it", () => {
  const live = after("live");
  assert.equal(afterSignal(live, "live", 9_000), live);
});

test("a standstill outlives the stream that the server closes, and the visits after it", () => {
  assert.deepEqual(after("live", "stalled", "reconnecting"), { state: "stalled", away: true });
  const visits: Signal[] = ["live", "stalled", "reconnecting", "live", "stalled", "reconnecting"];
  assert.deepEqual(after(...visits), { state: "stalled", away: true });
});

test("a standstill whose stream does not open again is a lost connection", () =>
  assert.equal(after("live", "stalled", "reconnecting", "reconnecting").state, "reconnecting"));

test("a busy server that closes the stream is busy, not lost, since it was left", () => {
  assert.deepEqual(after("live", "busy", "reconnecting"), { state: "busy", since: 1_000 });
  assert.deepEqual(after("live", "reconnecting", "busy", "reconnecting", "busy"), { state: "busy", since: 1_000 });
});

test("what is shown may be old while cut off or behind, and not at a standstill or when it is read", () => {
  const stale = (["reconnecting", "busy", "behind", "live", "stalled", "reading", "ended"] as const).filter((signal) => isStale(after(signal)));
  assert.deepEqual(stale, ["reconnecting", "busy", "behind"]);
});
