import assert from "node:assert/strict";
import { test } from "node:test";
import { batchIn, isTerminal, parseRecord } from "../src/events.ts";
import { complete, photo, progress, state } from "./samples.ts";

const parsed = (value: unknown) => batchIn(parseRecord(JSON.stringify(value)));

test("what the server sends is understood", () => {
  assert.deepEqual(parsed(progress("7-1", [photo("a", "QUEUED", 1)]))?.photos.length, 1);
  assert.ok(parsed(progress(undefined, [])));
  assert.deepEqual(parsed(complete("7-2"))?.photos, []);
  assert.ok(parsed(state("7-1", [])));
});

test("unknown fields are ignored", () => assert.ok(parsed({ ...progress("7-1", []), mood: "good" })));

test("another shape is refused instead of shown", () => {
  const good = progress("7-1", [photo("a", "QUEUED", 1)]);
  const bad = [
    null, [], 7, "text", {},
    { ...good, status: "DANCING" },
    { ...good, progress: "50" },
    { ...good, counts: { total: 4 } },
    { ...good, counts: null },
    { ...good, photos: null },
    { ...good, photos: [null] },
    { ...good, photos: [{ photoId: "a" }] },
  ];
  for (const value of bad) assert.equal(parsed(value), undefined, JSON.stringify(value));
  for (const text of ["", "{", undefined]) assert.deepEqual(parseRecord(text), {});
});

test("four statuses are ends", () => {
  const all = ["QUEUED", "PROCESSING", "COMPLETED", "PARTIAL", "FAILED", "CANCELLED"] as const;
  assert.deepEqual(all.filter(isTerminal), ["COMPLETED", "PARTIAL", "FAILED", "CANCELLED"]);
});
