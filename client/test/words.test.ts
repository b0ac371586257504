import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { announce, type Heard } from "../src/announce.ts";
import type { Connection } from "../src/connection.ts";
import { isTerminal } from "../src/events.ts";
import { MAX_FILE_BYTES } from "../src/wire.ts";
import { shownOf, type Shown } from "../page/shown.ts";
import { languageFor, textsOf } from "../page/texts.ts";
import type { Upload } from "../page/upload.ts";
import { createWords } from "../page/words.ts";
import { batch, head, photo } from "./samples.ts";

const LIVE: Connection = { state: "live" };

const NOTHING = shownOf(undefined);

const { barText, describeTile, explain, leftOut, notice, outcome, pill, spoken, statusLine, uploadLine, when } = createWords("en");

function working(completed: number, failed = 0, total = 24): Shown {
  return shownOf(batch("7-3", [], head(total, completed, failed)));
}

function upload(phase: Upload["phase"], part: number, size = 100): Upload {
  return { name: "sea.jpg", size, phase, part };
}

/** With ordinary spaces. */
const plain = (text = ""): string => text.replaceAll(/[\u00a0\u202f]/g, " ");

test("the status line counts what is done and failed, and says what remains while it is live", () => {
  assert.equal(statusLine(working(0), LIVE), "24 photos waiting");
  assert.equal(statusLine(working(12), LIVE), "12 of 24 photos done");
  assert.equal(statusLine(working(12, 1), LIVE), "12 of 24 photos done, 1 failed");
  const left = { lowMs: 170_000, highMs: 190_000 };
  assert.equal(plain(statusLine(working(12), LIVE, left)), "12 of 24 photos done · about 3 min left");
  assert.equal(statusLine(working(12), { state: "reconnecting", since: 0 }, left), "12 of 24 photos done");
  assert.equal(barText(working(12, 1).head), "54%, 12 of 24 photos done, 1 failed");
});

test("an upload shows its percent until the server knows better", () => {
  const queued = photo("p", "QUEUED", 1);
  assert.equal(describeTile("p", undefined, upload("waiting", 0), false).status, "WAITING");
  assert.equal(describeTile("p", queued, upload("sending", 0.437), false).label, "Uploading 43%");
  assert.equal(describeTile("p", queued, upload("sent", 1), false).label, "Waiting");
  assert.equal(describeTile("p", photo("p", "PROCESSING", 2), upload("sending", 0.99), false).label, "In progress");
  assert.equal(describeTile("p", photo("p", "COMPLETED", 3), upload("unsent", 0), false).label, "Done");
});

test("a photo is called by the result's name, else the file's, else its id", () => {
  const done = photo("p", "COMPLETED", 3, { result: { name: "from-server.jpg" } });
  assert.equal(describeTile("p", done, upload("sent", 1), false).name, "from-server.jpg");
  assert.equal(describeTile("p", undefined, upload("sent", 1), false).name, "sea.jpg");
  assert.equal(describeTile("p", undefined, undefined, false).name, "p");
});

test("a result shows its size, when it was taken and how sharp it is, in whatever form the camera wrote the time", () => {
  const detail = (result: object) => plain(describeTile("p", photo("p", "COMPLETED", 3, { result }), undefined, false).detail);
  for (const capturedAt of ["2026-08-14T23:59:00", "2026:08:14 23:59:00", "2026-08-14T23:59:00+02:00"]) {
    assert.equal(detail({ width: 4032, height: 3024, capturedAt, sharpness: 412.4 }), "4032 × 3024 · 14 Aug 2026, 23:59 · sharpness 412");
  }
  assert.equal(detail({ capturedAt: "2026-08-14" }), "14 Aug 2026");
  assert.equal(detail({ width: "4032", capturedAt: 7, sharpness: null }), "");
});

test("a thumbnail comes from this server or not at all", () => {
  const thumbnail = (value: unknown) => describeTile("p", photo("p", "COMPLETED", 1, { result: { thumbnail: value } }), undefined, false).thumbnail;
  assert.equal(thumbnail("/api/photos/p/thumbnail"), "/api/photos/p/thumbnail");
  for (const value of ["https://else.example/x", "//else.example/x", "/\\else.example/x", "javascript:alert(1)", 7, undefined]) {
    assert.equal(thumbnail(value), undefined);
  }
});

test("the end says how it went, how long it took, and what failed with the reason", () => {
  const epoch = Date.parse("2026-11-22T23:10:30.082Z") - 72_000;
  const photos = [photo("a", "COMPLETED", 8), photo("b", "FAILED", 9, { error: "not an image we can read" })];
  const read = batch(`${epoch}-9`, photos, head(2, 1, 1, "PARTIAL"));
  const end = outcome(shownOf(read), { state: "ended" }, new Map([["b", { ...upload("sent", 1), name: "notes.txt" }]]));
  assert.equal(end?.kind, "partial");
  assert.equal(end?.title, "Ended: 1 done, 1 failed");
  assert.equal(plain(end?.advice).split(". ")[0], "It took 1 min");
  assert.deepEqual(end?.failures, [{ photoId: "b", name: "notes.txt", reason: "not an image we can read" }]);
});

test("of an epoch that is no time, nothing is said of how long it took", () => {
  const end = outcome(shownOf(batch("7-9", [], head(2, 2, 0, "COMPLETED"))), { state: "ended" }, undefined);
  assert.equal(end?.advice, "Nothing is left to do; this address keeps showing the result.");
});

test("a batch that is not there is an end too", () => {
  assert.equal(outcome(NOTHING, { state: "closed", why: "missing" }, undefined)?.title, "There is no such batch.");
  assert.equal(outcome(working(3), LIVE, undefined), undefined);
});

test("a cancelled batch leaves photos that nobody waits for", () => {
  assert.equal(describeTile("p", photo("p", "PROCESSING", 2), undefined, true).label, "Not done");
});

test("the upload line counts bytes, and says what did not get through", () => {
  assert.equal(uploadLine([upload("sent", 1), upload("sending", 0.5), upload("waiting", 0)]).text, "Uploading 2 of 3 · 50%");
  assert.equal(uploadLine([upload("sent", 1), upload("unsent", 0)]).text, "1 of 2 uploaded · 1 did not get through");
  assert.equal(uploadLine([upload("sent", 1, 0)]).text, "Uploaded");
});

test("a lost connection says for how long, since when, and when it is tried again", () => {
  const lost: Connection = { state: "reconnecting", since: new Date(2026, 10, 22, 14, 3, 12).getTime() };
  const now = lost.since + 12_500;
  assert.equal(plain(pill(lost, now).label), "Reconnecting · 12 s");
  const said = (online: boolean, retryAt?: number) => plain(notice(lost, { online, retryAt, now }));
  assert.equal(said(true, now + 2_400), "Connection lost; trying again in 3 s. What you see is from 14:03:12.");
  assert.equal(said(true), "Connection lost; trying again now. What you see is from 14:03:12.");
  assert.equal(said(false), "You are offline. What you see is from 14:03:12; it goes on by itself once you are back.");
});

test("each trouble of the connection has its own words, and none has none", () => {
  const at = { online: true, retryAt: undefined, now: 0 };
  const states: Connection[] = [{ state: "behind" }, { state: "reading" }, { state: "stalled" }, { state: "busy", since: 0 }, { state: "reconnecting", since: 0 }];
  for (const tag of ["en", "fr"]) {
    const words = createWords(tag);
    assert.equal(new Set(states.map((state) => words.notice(state, at))).size, states.length);
    assert.equal(words.notice(LIVE, at) + words.notice({ state: "ended" }, at), "");
    for (const why of ["missing", "gone", "denied", "expired"] as const) {
      const end = words.outcome(NOTHING, { state: "closed", why }, undefined);
      assert.ok(end?.title && end.advice && words.pageTitle(NOTHING, { state: "closed", why }).startsWith(end.title), why);
    }
  }
});

test("what the server refused is said in the page's own words where it has some", () => {
  assert.equal(explain({ status: 0 }), "no connection to the server");
  assert.equal(explain({ status: 503, detail: "Redis" }), "the server is busy");
  assert.equal(explain({ status: 409, detail: "Batch b has not ended." }), "Batch b has not ended");
  assert.equal(explain({ status: 418 }), "the server refused it (418)");
});

test("files that are left out are named with the reason, and the limit is the server's", () => {
  assert.deepEqual(leftOut([{ name: "notes.txt", why: "notPhoto" }]), { title: "1 file was left out", lines: ["notes.txt is no photo this page takes (JPEG, PNG, WebP)"] });
  for (const tag of ["en", "fr"]) assert.ok(textsOf(tag).left.tooLarge.includes(` ${MAX_FILE_BYTES / 1024 / 1024} `));
});

test("a batch's time is said as people say it, by the calendar", () => {
  const now = new Date(2026, 10, 22, 0, 30);
  assert.equal(when(new Date(2026, 10, 22, 0, 5), now), "Today, 00:05");
  assert.equal(when(new Date(2026, 10, 21, 23, 59), now), "Yesterday, 23:59");
  assert.equal(when(new Date(2026, 10, 1, 9, 0), now), "1 Nov, 09:00");
  assert.equal(when(new Date(2025, 10, 1, 9, 0), now), "1 Nov 2025, 09:00");
  assert.equal(when(new Date(NaN), now), "");
});

test("a reader is spoken to in the first of their languages that the page has", () => {
  assert.deepEqual([["de", "fr-CA", "en"], ["en-US", "fr"], ["de"], []].map(languageFor), ["fr", "en", "en", "en"]);
});

test("all that index.html says is said in French too, and nothing is that it does not say", () => {
  const html = readFileSync(new URL("../page/index.html", import.meta.url).pathname, "utf8");
  const marked = [...html.matchAll(/data-(?:text|label)="(\w+)"/g)].map(([, key]) => key ?? "");
  assert.deepEqual([...new Set(marked)].sort(), Object.keys(textsOf("fr").page).sort());
});

test("French counts and ends in French", () => {
  const french = createWords("fr-CH");
  assert.equal(plain(french.statusLine(working(12, 1), LIVE)), "12 photos terminées sur 24, 1 échec");
  assert.equal(french.describeTile("p", photo("p", "FAILED", 2, { error: "not received" }), undefined, false).detail, "non reçue");
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
    "Watching a batch of 24 photos, 0%, 24 photos waiting.",
    "25%, 6 of 24 photos done.",
    "50%, 12 of 24 photos done.",
    "75%, 18 of 24 photos done.",
    "All 24 photos done. Nothing is left to do; this address keeps showing the result.",
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
  assert.equal(spoken("back", working(12), undefined), "Connected again. 50%, 12 of 24 photos done.");
});

test("of a fast batch some quarters are left out, and the latest is told when the pause is over", () => {
  const heard: Heard = { quarter: 0, lost: false, ended: false, at: 0 };
  const now = { connection: LIVE, ended: false, pauseMs: 10_000 };
  assert.equal(announce(heard, { ...now, progress: 30, now: 9_999 }).say, undefined);
  const late = announce(heard, { ...now, progress: 60, now: 10_000 });
  assert.deepEqual([late.say, late.heard?.quarter], ["quarter", 2]);
  assert.equal(announce(late.heard, { ...now, progress: 80, now: 10_001, ended: true }).say, "ended");
});
