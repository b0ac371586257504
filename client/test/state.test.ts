import assert from "node:assert/strict";
import { test } from "node:test";
import { mergeComplete, mergeProgress, type Replica } from "../src/state.ts";
import type { ProgressEvent } from "../src/wire.ts";
import { complete, head, photo, progress } from "./samples.ts";

function after(...events: ProgressEvent[]): Replica {
  return events.reduce<Replica>((replica, event) => mergeProgress(replica, event).replica, {});
}

const first = progress("7-3", [photo("a", "COMPLETED", 3), photo("b", "QUEUED", 1)], { full: true });

test("a change touches only its photos", () => {
  const { replica, changed } = mergeProgress(after(first), progress("7-4", [photo("b", "PROCESSING", 4)]));
  assert.deepEqual([...changed], ["b"]);
  assert.equal(replica.batch?.photos.get("a")?.status, "COMPLETED");
  assert.equal(replica.batch?.photos.get("b")?.status, "PROCESSING");
});

test("an event from before the replica changes nothing", () => {
  const replica = after(first);
  const late = mergeProgress(replica, progress("7-2", [photo("a", "PROCESSING", 2)], { full: true, ...head(4, 0) }));
  assert.equal(late.replica, replica);
  assert.equal(late.changed.size, 0);
});

test("an older photo in a newer event does not take a photo back", () => {
  const replica = after(first, progress("7-5", [photo("a", "PROCESSING", 2)]));
  assert.equal(replica.batch?.photos.get("a")?.status, "COMPLETED");
});

test("a full event replaces everything, and what it lacks is drawn again too", () => {
  const { replica, changed } = mergeProgress(after(first), progress("7-6", [photo("b", "FAILED", 6)], { full: true }));
  assert.deepEqual([...replica.batch?.photos.keys() ?? []], ["b"]);
  assert.deepEqual([...changed].sort(), ["a", "b"]);
});

test("a batch that was opened again goes back to work, under its greater epoch", () => {
  const replica = after(first, progress("8-1", [photo("a", "QUEUED", 1)], { full: true, ...head(4, 0) }));
  assert.equal(replica.batch?.progress, 0);
  assert.equal(replica.batch?.photos.get("a")?.status, "QUEUED");
});

test("the last progress waits for the complete that gives its position", () => {
  const last = progress(undefined, [photo("b", "COMPLETED", 9)], head(4, 4, 0, "COMPLETED"));
  const waiting = after(first, last);
  assert.equal(waiting.batch?.progress, 25);
  const { replica, changed } = mergeComplete(waiting, complete("7-9"));
  assert.equal(replica.batch?.status, "COMPLETED");
  assert.equal(replica.batch?.photos.get("b")?.status, "COMPLETED");
  assert.deepEqual([...changed], ["b"]);
  assert.equal(replica.held, undefined);
});

test("a newcomer to an ended batch gets everything from progress and complete", () => {
  const { replica } = mergeComplete(after(progress(undefined, [photo("a", "COMPLETED", 4)], { full: true })), complete("7-4"));
  assert.equal(replica.batch?.photos.size, 1);
  assert.equal(replica.batch?.progress, 100);
});

test("the end of an epoch that is over does not end its successor", () => {
  const replica = after(progress("8-1", [photo("a", "QUEUED", 1)], { full: true }), progress(undefined, [photo("a", "FAILED", 9)]));
  const merged = mergeComplete(replica, complete("7-9"));
  assert.equal(merged.replica.batch?.status, "PROCESSING");
  assert.equal(merged.replica.batch?.photos.get("a")?.status, "QUEUED");
});

test("a position that is none changes nothing", () => {
  const replica = after(first);
  assert.equal(mergeProgress(replica, progress("8", [], { full: true })).replica, replica);
});
