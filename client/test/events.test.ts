import assert from "node:assert/strict";
import { test } from "node:test";
import { parseComplete, parseProgress, parseState, parseUpstream } from "../src/events.ts";
import { complete, photo, progress, state } from "./samples.ts";

test("what the server sends is understood", () => {
  assert.ok(parseProgress(JSON.stringify(progress("7-1", [photo("a", "QUEUED", 1)]))));
  assert.ok(parseProgress(JSON.stringify(progress(undefined, []))));
  assert.ok(parseComplete(JSON.stringify(complete("7-2"))));
  assert.ok(parseState(JSON.stringify(state("7-1", []))));
  assert.equal(parseUpstream('{"state":"stale"}'), "stale");
});

test("unknown fields are ignored", () => {
  assert.ok(parseProgress(JSON.stringify({ ...progress("7-1", []), mood: "good" })));
});

test("another shape is refused instead of shown", () => {
  const good = progress("7-1", [photo("a", "QUEUED", 1)]);
  const bad = [
    "", "{", "null", "[]", "7",
    JSON.stringify({ ...good, status: "DANCING" }),
    JSON.stringify({ ...good, progress: "50" }),
    JSON.stringify({ ...good, counts: { total: 4 } }),
    JSON.stringify({ ...good, photos: null }),
    JSON.stringify({ ...good, photos: [{ photoId: "a" }] }),
    JSON.stringify({ ...good, position: 7 }),
  ];
  for (const data of bad) assert.equal(parseProgress(data), undefined, data);
  assert.equal(parseComplete(JSON.stringify(good.position)), undefined);
  assert.equal(parseUpstream('{"state":"dozing"}'), undefined);
});
