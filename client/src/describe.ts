// What the element shows, as plain data: from the batch, the connection and the time to words and parts of a bar.

import { isOver, isStale, type Connection } from "./connection.ts";
import { isTerminal } from "./events.ts";
import type { Language } from "./phrases.ts";
import type { Remaining } from "./remaining.ts";
import type { Saying } from "./announce.ts";
import type { Batch } from "./state.ts";
import type { Photo, PhotoStatus } from "./wire.ts";

/** Failures listed; a page that wants all of thousands has them in the batch. */
const FAILURES_SHOWN = 100;
const MINUTE_MS = 60_000;

export type View = {
  readonly state: "asking" | "open" | "completed" | "partial" | "failed" | "cancelled" | "refused";
  /** What is shown may be old. */
  readonly stale: boolean;
  /** From 0 to 100; `undefined` while nothing is known. */
  readonly progress: number | undefined;
  readonly figure: string;
  readonly words: string;
  readonly remaining: string;
  readonly note: string;
  /** Of the bar, from 0 to 1. */
  readonly failedPart: number;
  readonly failures: readonly { readonly photoId: string; readonly name: string; readonly reason: string }[];
  readonly failuresTitle: string;
  readonly failuresMore: string;
};

export type Shown = {
  readonly batch: Batch | undefined;
  readonly connection: Connection;
  readonly remaining: Remaining | undefined;
  readonly nameOf: (photo: Photo) => string;
};

export function describe({ batch, connection, remaining, nameOf }: Shown, language: Language): View {
  const { phrases, number, percent, isOne } = language;
  const failed = [...(batch?.photos.values() ?? [])].filter((photo) => photo.status === "FAILED");
  const { total = 0, completed = 0, failed: count = 0 } = batch?.counts ?? {};
  // Of a batch that was cancelled, which is at 100 too, the bar shows how far it came.
  const progress = batch?.status === "CANCELLED" && total > 0 ? Math.floor((100 * (completed + count)) / total) : batch?.progress;
  return {
    state: stateOf(batch, connection),
    stale: isStale(connection) || connection.state === "closed",
    progress,
    figure: progress === undefined ? "" : percent(progress),
    words: connection.state === "closed" && !batch ? phrases.refusals[connection.why] : countsIn(batch, language),
    remaining: remaining && !isStale(connection) && !isOver(connection) && connection.state !== "stalled" ? remainingIn(remaining, language) : "",
    note: noteOn(connection, batch, language),
    failedPart: total > 0 ? count / total : 0,
    failures: failed.slice(0, FAILURES_SHOWN).map((photo) => ({
      photoId: photo.photoId, name: nameOf(photo), reason: photo.error || phrases.noReason,
    })),
    failuresTitle: phrases.failures(number(count), isOne(count)),
    failuresMore: count > FAILURES_SHOWN ? phrases.more(number(count - FAILURES_SHOWN)) : "",
  };
}

/** For a screen reader. */
export function spoken(saying: Saying, view: View, { phrases }: Language): string {
  const now = [view.figure, view.words].filter((part) => part !== "").join(". ");
  if (saying === "lost") return phrases.lost;
  if (saying === "back") return `${phrases.back} ${now}`;
  // At the end the words say more than the figure.
  return saying === "ended" ? [view.words, view.note].filter((part) => part !== "").join(" ") : now;
}

/** What a photo's tile says; what is not done in a batch that has ended is not waited for. */
export function photoStatus(photo: Photo, batch: Batch): PhotoStatus | "DROPPED" {
  const open = photo.status === "QUEUED" || photo.status === "PROCESSING";
  return open && isTerminal(batch.status) ? "DROPPED" : photo.status;
}

function stateOf(batch: Batch | undefined, connection: Connection): View["state"] {
  if (connection.state === "closed") return "refused";
  if (!batch) return "asking";
  return batch.status === "QUEUED" || batch.status === "PROCESSING" ? "open"
    : (batch.status.toLowerCase() as "completed" | "partial" | "failed" | "cancelled");
}

/** How far a batch is, in words. */
export function countsIn(batch: Pick<Batch, "status" | "counts"> | undefined, { phrases, number, isOne }: Language): string {
  if (!batch) return phrases.asking;
  const { total, completed, failed, processing } = batch.counts;
  const { ended } = phrases;
  const [all, done, lost] = [number(total), number(completed), number(failed)];
  if (isTerminal(batch.status) && total === 0) return ended.empty;
  switch (batch.status) {
    case "COMPLETED":
      return ended.completed(all, isOne(total));
    case "PARTIAL":
      return ended.partial(done, lost, isOne(completed), isOne(failed));
    case "FAILED":
      return ended.failed(all, isOne(total));
    case "CANCELLED":
      return withFailed(ended.cancelled(done, all, isOne(completed)));
  }
  if (total === 0) return phrases.empty;
  if (completed + failed + processing === 0) return phrases.waiting(all, isOne(total));
  // English counts the photos there are, French those that are done.
  return withFailed(phrases.done(done, all, isOne(phrases.countsDone ? completed : total)));

  function withFailed(words: string): string {
    return failed > 0 ? `${words}, ${phrases.failed(lost, isOne(failed))}` : words;
  }
}

function noteOn(connection: Connection, batch: Batch | undefined, { phrases }: Language): string {
  switch (connection.state) {
    case "reconnecting":
    case "busy":
    case "behind":
    case "reading":
    case "stalled":
      return phrases.notes[connection.state];
    case "closed":
      return batch ? phrases.refusals[connection.why] : "";
    default:
      return "";
  }
}

/** One number where the bounds are near each other, both where they are not. */
export function remainingIn({ lowMs, highMs }: Remaining, { phrases, number }: Language): string {
  if (highMs < MINUTE_MS) return phrases.underAMinute;
  const unit = highMs < 100 * MINUTE_MS ? "min" : "h";
  const unitMs = unit === "min" ? MINUTE_MS : 60 * MINUTE_MS;
  const [low, middle, high] = [Math.floor(lowMs / unitMs), Math.round((lowMs + highMs) / 2 / unitMs), Math.ceil(highMs / unitMs)];
  if (highMs - lowMs <= Math.max(0.4 * (lowMs + highMs) / 2, 0.5 * unitMs)) return phrases.about(number(Math.max(1, middle)), unit);
  return low === 0 ? phrases.atMost(number(high), unit) : phrases.between(number(low), number(high), unit);
}
