import assert from "node:assert/strict";
import { test } from "node:test";
import { announce, type Heard } from "../src/announce.ts";
import type { Connection } from "../src/connection.ts";
import { isTerminal } from "../src/events.ts";
import { shownOf, type Shown } from "../page/shown.ts";
import type { Upload } from "../page/upload.ts";
import { barText, describeTile, outcome, pill, spoken, statusLine, uploadLine } from "../page/words.ts";
import { batch, head, photo } from "./samples.ts";

const LIVE: Connection = { state: "live" };

const NOTHING = shownOf(undefined);

function working(completed: number, failed = 0, total = 24): Shown {
  return shownOf(batch("7-3", [], head(total, completed, failed)));
}

function upload(phase: Upload["phase"], part: number, size = 100): Upload {
  return { name: "sea.jpg", size, phase, part };
}

test("the status line counts what is done, failed and left", () => {
  assert.equal(statusLine(working(0), LIVE), "24 photos waiting to be analysed");
  assert.equal(statusLine(working(12), LIVE), "12 of 24 analysed, 12 to go");
  assert.equal(statusLine(working(12, 1), LIVE), "12 of 24 analysed, 1 failed, 11 to go");
  assert.equal(barText(working(12, 1).head), "54%: 12 of 24 analysed, 1 failed");
});

test("an upload shows its percent until the server knows better", () => {
  const queued = photo("p", "QUEUED", 1);
  assert.equal(describeTile("p", undefined, upload("waiting", 0), false).status, "WAITING");
  assert.equal(describeTile("p", queued, upload("sending", 0.437), false).label, "Uploading 43%");
  assert.equal(describeTile("p", queued, upload("sent", 1), false).label, "Queued");
  assert.equal(describeTile("p", photo("p", "PROCESSING", 2), upload("sending", 0.99), false).label, "Analysing");
  assert.equal(describeTile("p", photo("p", "COMPLETED", 3), upload("unsent", 0), false).label, "Done");
});

test("a photo is called by the result's name, else the file's, else its id", () => {
  const done = photo("p", "COMPLETED", 3, { result: { name: "from-server.jpg" } });
  assert.equal(describeTile("p", done, upload("sent", 1), false).name, "from-server.jpg");
  assert.equal(describeTile("p", undefined, upload("sent", 1), false).name, "sea.jpg");
  assert.equal(describeTile("p", undefined, undefined, false).name, "p");
});

test("a result shows its size and its day, in whatever form the camera wrote it", () => {
  for (const capturedAt of ["2026-08-14T23:59:00", "2026:08:14 23:59:00"]) {
    const done = photo("p", "COMPLETED", 3, { result: { width: 4032, height: 3024, capturedAt } });
    assert.equal(describeTile("p", done, undefined, false).detail.replaceAll("\u00a0", " "), "4032 × 3024, 14 Aug 2026");
  }
});

test("a thumbnail comes from this server or not at all", () => {
  const thumbnail = (value: unknown) => describeTile("p", photo("p", "COMPLETED", 1, { result: { thumbnail: value } }), undefined, false).thumbnail;
  assert.equal(thumbnail("/api/photos/p/thumbnail"), "/api/photos/p/thumbnail");
  for (const value of ["https://else.example/x", "//else.example/x", "/\\else.example/x", "javascript:alert(1)", 7, undefined]) {
    assert.equal(thumbnail(value), undefined);
  }
});

test("the end says how it went and what failed, with the reason", () => {
  const read = batch("7-9", [photo("a", "COMPLETED", 8), photo("b", "FAILED", 9, { error: "not an image we can read" })],
    head(2, 1, 1, "PARTIAL"));
  const end = outcome(shownOf(read), { state: "ended" }, new Map([["b", { ...upload("sent", 1), name: "notes.txt" }]]));
  assert.equal(end?.kind, "partial");
  assert.equal(end?.title, "Ended: 1 analysed, 1 failed");
  assert.deepEqual(end?.failures, [{ photoId: "b", name: "notes.txt", reason: "not an image we can read" }]);
});

test("a batch that is not there is an end too", () => {
  assert.equal(outcome(NOTHING, { state: "closed", why: "missing" }, undefined)?.title, "No batch with this address");
  assert.equal(outcome(working(3), LIVE, undefined), undefined);
});

test("a cancelled batch leaves photos that nobody waits for", () => {
  assert.equal(describeTile("p", photo("p", "PROCESSING", 2), undefined, true).label, "Not analysed");
});

test("the upload line counts bytes, and says what did not get through", () => {
  assert.equal(uploadLine([upload("sent", 1), upload("sending", 0.5), upload("waiting", 0)]).text, "Uploading 2 of 3 · 50%");
  assert.equal(uploadLine([upload("sent", 1), upload("unsent", 0)]).text, "1 of 2 uploaded · 1 did not get through");
  assert.equal(uploadLine([upload("sent", 1, 0)]).text, "Uploaded");
});

test("a lost connection says for how long", () => {
  assert.deepEqual(pill({ state: "reconnecting", since: 1_000 }, 13_500), { state: "reconnecting", label: "Reconnecting · 12 s" });
});

test("a screen reader hears the start, each quarter and the end, each once", () => {
  const said: string[] = [];
  let heard: Heard | undefined;
  const listen = (shown: Shown, connection: Connection = LIVE, now = 0): void => {
    const end = outcome(shown, connection, undefined);
    const open = shown.head && !isTerminal(shown.head.status) ? shown.head.progress : undefined;
    const next = announce(heard, { progress: open, connection, ended: end !== undefined, now });
    heard = next.heard;
    if (next.say) said.push(spoken(next.say, shown, end));
  };
  for (let done = 0; done < 24; done += 1) listen(working(done));
  const ended = shownOf(batch("7-9", [], head(24, 24, 0, "COMPLETED")));
  listen(ended, { state: "ended" });
  listen(ended, { state: "ended" });
  assert.deepEqual(said, [
    "Watching a batch of 24 photos, 0%: 0 of 24 analysed.",
    "25%: 6 of 24 analysed.",
    "50%: 12 of 24 analysed.",
    "75%: 18 of 24 analysed.",
    "All 24 photos analysed. Nothing is left to do. This address keeps showing the result.",
  ]);
});

test("a short interruption is not announced, a long one is, and its end", () => {
  const heard: Heard = { quarter: 2, lost: false, ended: false, at: 0 };
  const away: Connection = { state: "reconnecting", since: 0 };
  const now = { progress: 50, ended: false };
  assert.equal(announce(heard, { ...now, connection: away, now: 1_000 }).say, undefined);
  const lost = announce(heard, { ...now, connection: away, now: 5_000 });
  assert.equal(lost.say, "lost");
  const back = announce(lost.heard, { ...now, connection: LIVE, now: 6_000 });
  assert.equal(back.say, "back");
  assert.equal(spoken("back", working(12), undefined), "Connected again. 50%: 12 of 24 analysed.");
});

test("of a fast batch some quarters are left out, and the latest is told when the pause is over", () => {
  const heard: Heard = { quarter: 0, lost: false, ended: false, at: 0 };
  const now = { connection: LIVE, ended: false, pauseMs: 10_000 };
  assert.equal(announce(heard, { ...now, progress: 30, now: 9_999 }).say, undefined);
  const late = announce(heard, { ...now, progress: 60, now: 10_000 });
  assert.deepEqual([late.say, late.heard?.quarter], ["quarter", 2]);
  assert.equal(announce(late.heard, { ...now, progress: 80, now: 10_001, ended: true }).say, "ended");
});
