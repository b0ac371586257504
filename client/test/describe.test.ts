import assert from "node:assert/strict";
import { test } from "node:test";
import type { Connection } from "../src/connection.ts";
import { describe, photoStatus, spoken, type View } from "../src/describe.ts";
import { languageOf } from "../src/phrases.ts";
import type { Remaining } from "../src/remaining.ts";
import type { Batch } from "../src/state.ts";
import { batch, head, photo } from "./samples.ts";

const LIVE: Connection = { state: "live" };
const MINUTE = 60_000;

type Given = { connection?: Connection; remaining?: Remaining; lang?: string };

function view(shown: Batch | undefined, { connection = LIVE, remaining, lang = "en" }: Given = {}): View {
  return describe({ batch: shown, connection, remaining, nameOf: ({ photoId }) => photoId }, languageOf(lang));
}

const plain = (text: string): string => text.replace(/[\u00a0\u202f]/g, " ");
const at = (completed: number, failed = 0, status: Batch["status"] = "PROCESSING"): Batch => batch("7-3", [], head(24, completed, failed, status));

test("before the first word nothing is claimed", () => {
  const { state, progress, figure, words } = view(undefined, { connection: { state: "connecting" } });
  assert.deepEqual({ state, progress, figure, words }, { state: "asking", progress: undefined, figure: "", words: "Loading…" });
});

test("an open batch is counted, in either language", () => {
  assert.deepEqual([view(at(12)).figure, view(at(12)).words], ["50%", "12 of 24 photos done"]);
  assert.equal(view(at(12, 1)).words, "12 of 24 photos done, 1 failed");
  assert.equal(view(at(0)).words, "24 photos waiting");
  assert.equal(plain(view(at(12), { lang: "fr" }).figure), "50 %");
  assert.equal(view(at(12, 1), { lang: "fr-CA" }).words, "12 photos terminées sur 24, 1 échec");
  assert.equal(view(at(1, 2), { lang: "fr" }).words, "1 photo terminée sur 24, 2 échecs");
});

test("numbers are written as the language does", () => {
  const many = batch("7-3", [], head(10_000, 1_234));
  assert.equal(view(many).words, "1,234 of 10,000 photos done");
  assert.equal(plain(view(many, { lang: "fr" }).words), "1 234 photos terminées sur 10 000");
});

test("an end says how it went", () => {
  const ends = (["COMPLETED", "PARTIAL", "FAILED", "CANCELLED"] as const).map((status) => {
    const failed = status === "PARTIAL" ? 4 : status === "FAILED" ? 24 : 0;
    const done = status === "CANCELLED" ? 3 : 24 - failed;
    return [view(at(done, failed, status)).words, plain(view(at(done, failed, status), { lang: "fr" }).words)];
  });
  assert.deepEqual(ends, [
    ["All 24 photos done", "Les 24 photos sont terminées"],
    ["Ended: 20 done, 4 failed", "Fini : 20 terminées, 4 échecs"],
    ["All 24 photos failed", "Les 24 photos ont échoué"],
    ["Cancelled: 3 of 24 done", "Annulé : 3 terminées sur 24"],
  ]);
});

test("one that was cancelled has its failures counted, too", () =>
  assert.equal(view(at(3, 2, "CANCELLED")).words, "Cancelled: 3 of 24 done, 2 failed"));

test("the bar of a batch that was cancelled shows how far it came", () => {
  const cancelled = { ...at(6, 0, "CANCELLED"), progress: 100 };
  assert.equal(view(cancelled).progress, 25);
});

test("what remains is said as surely as it is known", () => {
  const said = (lowMs: number, highMs: number, lang = "en") => plain(view(at(12), { remaining: { lowMs, highMs }, lang }).remaining);
  assert.equal(said(10_000, 50_000), "less than a minute left");
  assert.equal(said(2.6 * MINUTE, 3.4 * MINUTE), "about 3 min left");
  assert.equal(said(2 * MINUTE, 6 * MINUTE), "2 to 6 min left");
  assert.equal(said(0, 6 * MINUTE), "up to 6 min left");
  assert.equal(said(118 * MINUTE, 125 * MINUTE), "about 2 h left");
  assert.equal(said(70 * MINUTE, 200 * MINUTE), "1 to 4 h left");
  assert.equal(said(2 * MINUTE, 6 * MINUTE, "fr"), "il reste 2 à 6 min");
  assert.equal(view(at(12)).remaining, "");
});

test("of figures that may be old, and at a standstill, no time is said", () => {
  const remaining = { lowMs: MINUTE, highMs: MINUTE };
  for (const connection of [{ state: "reconnecting", since: 0 }, { state: "behind" }, { state: "stalled" }, { state: "ended" }] as Connection[]) {
    assert.equal(view(at(12), { connection, remaining }).remaining, "", connection.state);
  }
  assert.equal(view(at(12), { connection: { state: "reading" }, remaining }).remaining.replace("\u00a0", " "), "about 1 min left");
});

test("a refusal stands in place of what is not known, and beside what is", () => {
  const connection: Connection = { state: "closed", why: "expired" };
  assert.equal(view(undefined, { connection }).words, "Your access has expired. Sign in again.");
  const known = view(at(12), { connection });
  assert.deepEqual([known.words, known.note, known.stale], ["12 of 24 photos done", "Your access has expired. Sign in again.", true]);
});

test("failures are named with their reasons, the first hundred of them", () => {
  const failed = Array.from({ length: 120 }, (_, n) => photo(`p${n}`, "FAILED", 1, n === 0 ? {} : { error: "not a JPEG" }));
  const shown = view(batch("7-3", failed, head(120, 0, 120, "FAILED")));
  assert.deepEqual(shown.failures.slice(0, 2), [
    { photoId: "p0", name: "p0", reason: "no reason was given" },
    { photoId: "p1", name: "p1", reason: "not a JPEG" },
  ]);
  assert.deepEqual([shown.failures.length, shown.failuresTitle, shown.failuresMore], [100, "120 photos failed", "and 20 more"]);
});

test("what is not done in a batch that has ended is not waited for", () => {
  assert.equal(photoStatus(photo("a", "QUEUED", 1), at(3, 0, "CANCELLED")), "DROPPED");
  assert.equal(photoStatus(photo("a", "QUEUED", 1), at(3)), "QUEUED");
});

test("a screen reader is told figures, and at the end the result alone", () => {
  const language = languageOf("en");
  assert.equal(spoken("quarter", view(at(12)), language), "50%. 12 of 24 photos done");
  assert.equal(spoken("back", view(at(12)), language), "Connected again. 50%. 12 of 24 photos done");
  assert.equal(spoken("ended", view(at(24, 0, "COMPLETED")), language), "All 24 photos done");
});
