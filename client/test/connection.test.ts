import assert from "node:assert/strict";
import { test } from "node:test";
import { afterSignal, type Connection, type Signal } from "../src/connection.ts";

/** Each signal comes one second after the one before. */
function after(...signals: Signal[]): Connection {
  return signals.reduce<Connection>((current, signal, index) => afterSignal(current, signal, index * 1_000), { state: "connecting" });
}

test("an open stream is live, also before its first event", () => assert.deepEqual(after("open"), { state: "live" }));

test("being cut off counts from its beginning, however many attempts fail", () => {
  assert.deepEqual(after("open", "lost", "lost", "lost"), { state: "reconnecting", since: 1_000 });
});

test("a stream that opens again is live again", () => {
  assert.equal(after("open", "lost", "open").state, "live");
  assert.deepEqual(after("open", "lost", "open", "news"), { state: "live" });
});

test("news from a server that has lost its source is not live", () => {
  assert.deepEqual(after("open", "stale", "news"), { state: "behind" });
  assert.deepEqual(after("open", "stale", "news", "fresh"), { state: "live" });
});

test("a standstill outlives the stream that the server closes, and the visits after it", () => {
  assert.deepEqual(after("open", "stalled", "lost"), { state: "stalled", away: true });
  assert.deepEqual(after("open", "stalled", "lost", "open", "stalled", "lost"), { state: "stalled", away: true });
});

test("a standstill whose stream does not open again is a lost connection", () =>
  assert.equal(after("open", "stalled", "lost", "lost").state, "reconnecting"));

test("news ends a standstill", () => assert.deepEqual(after("open", "stalled", "news"), { state: "live" }));

test("a busy server that closes the stream is busy, not lost", () => {
  assert.deepEqual(after("open", "busy", "lost"), { state: "busy", since: 1_000 });
  assert.deepEqual(after("open", "lost", "open", "busy", "lost", "open", "busy"), { state: "busy", since: 1_000 });
});

test("the end is final", () => {
  assert.deepEqual(after("open", "ended", "lost", "open"), { state: "ended" });
  assert.deepEqual(after("open", "gone", "open"), { state: "closed", why: "gone" });
});
