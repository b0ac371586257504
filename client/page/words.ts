// What the page says, as plain functions: from the replica, the uploads and the connection to English.

import type { Saying } from "../src/announce.ts";
import { isCutOff, type Connection, type Refusal } from "../src/connection.ts";
import { isTerminal, recordOf } from "../src/events.ts";
import type { Head, Shown } from "./shown.ts";
import type { Upload } from "./upload.ts";
import type { BatchStatus, Photo, PhotoStatus } from "../src/wire.ts";

/** The server's words for a photo, and the page's for one that the server does not have yet. */
export type TileStatus = PhotoStatus | "WAITING" | "UPLOADING" | "UNSENT" | "DROPPED";

export type Tile = {
  readonly status: TileStatus;
  readonly name: string;
  readonly label: string;
  /** Size and time of a finished photo; why a failed one failed. */
  readonly detail: string;
  readonly thumbnail?: string;
  /** From 0 to 1, while the photo is being uploaded. */
  readonly part?: number;
};

export function describeTile(photoId: string, photo: Photo | undefined, upload: Upload | undefined, ended: boolean): Tile {
  const result = recordOf(photo?.result);
  const name = text(result["name"]) ?? upload?.name ?? photoId;
  switch (photo?.status) {
    case "COMPLETED": {
      const thumbnail = localPath(result["thumbnail"]);
      return { status: "COMPLETED", name, label: "Done", detail: describeResult(result), ...(thumbnail ? { thumbnail } : {}) };
    }
    case "FAILED":
      return { status: "FAILED", name, label: "Failed", detail: photo.error ?? "no reason was given" };
    case "PROCESSING":
      if (!ended) return { status: "PROCESSING", name, label: "Analysing", detail: "" };
  }
  if (ended) return { status: "DROPPED", name, label: "Not analysed", detail: "the batch ended before" };
  switch (upload?.phase) {
    case "waiting":
      return { status: "WAITING", name, label: "Waiting to upload", detail: "" };
    case "sending":
      return { status: "UPLOADING", name, label: `Uploading ${percent(upload.part)}`, detail: "", part: upload.part };
    case "unsent":
      return { status: "UNSENT", name, label: "Not uploaded", detail: upload.problem ?? "" };
  }
  return { status: "QUEUED", name, label: "Queued", detail: "" };
}

/** Only paths of this server: a result is data from photos, and must not make the page load from elsewhere. */
function localPath(value: unknown): string | undefined {
  return typeof value === "string" && /^\/(?![/\\])/.test(value) ? value : undefined;
}

function describeResult(result: Record<string, unknown>): string {
  const { width, height, capturedAt } = result;
  const size = typeof width === "number" && typeof height === "number" ? `${width}\u00a0×\u00a0${height}` : undefined;
  return [size, calendarDay(capturedAt)].filter((part) => part !== undefined).join(", ");
}

/** Cameras write local time without a zone, so the day is taken as written and not moved to the reader's zone. */
function calendarDay(value: unknown): string | undefined {
  const match = /^(\d{4})[-:](\d{2})[-:](\d{2})/.exec(text(value) ?? "");
  if (!match) return undefined;
  const day = new Date(Date.UTC(Number(match[1]), Number(match[2]) - 1, Number(match[3])));
  const words = day.toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
  return words.replaceAll(" ", "\u00a0");
}

/** One sentence on how far the batch is. */
export function statusLine({ head }: Shown, connection: Connection | undefined): string {
  if (!head) {
    if (connection?.state === "closed") return "";
    return connection && isCutOff(connection) ? "Trying to reach the server" : "Asking how far this batch is";
  }
  const { total, completed, failed, processing } = head.counts;
  const left = total - completed - failed;
  if (isTerminal(head.status)) return endedAt(head.updatedAt);
  if (total === 0) return "This batch has no photos yet";
  if (completed + failed + processing === 0) return `${photos(total)} waiting to be analysed`;
  const parts = [`${connection?.state === "closed" ? "Last seen: " : ""}${completed} of ${total} analysed`];
  if (failed > 0) parts.push(`${failed} failed`);
  parts.push(`${left} to go`);
  return parts.join(", ");
}

/** For `aria-valuetext`: what the bar alone does not tell. */
export function barText(head: Head | undefined): string {
  if (!head) return "not known yet";
  const { total, completed, failed } = head.counts;
  return `${head.progress}%: ${completed} of ${total} analysed${failed > 0 ? `, ${failed} failed` : ""}`;
}

/** For a screen reader. */
export function spoken(saying: Saying, { head }: Shown, end: Outcome | undefined): string {
  switch (saying) {
    case "watching":
      return `Watching a batch of ${photos(head?.counts.total ?? 0)}, ${barText(head)}.`;
    case "quarter":
      return `${barText(head)}.`;
    case "lost":
      return "Connection lost. Trying again.";
    case "back":
      return `Connected again. ${barText(head)}.`;
    case "ended":
      return end ? `${end.title}. ${end.advice}` : "";
  }
}

export type Pill = { readonly state: Connection["state"]; readonly label: string };

export function pill(connection: Connection, now: number): Pill {
  return { state: connection.state, label: pillLabel(connection, now) };
}

function pillLabel(connection: Connection, now: number): string {
  switch (connection.state) {
    case "connecting":
      return "Connecting";
    case "live":
      return "Live";
    case "behind":
      return "Behind";
    case "reading":
      return "Every few seconds";
    case "stalled":
      return "Stalled";
    case "ended":
      return "Ended";
    case "closed":
      return "Closed";
    case "reconnecting":
      return `Reconnecting · ${span(now - connection.since)}`;
    case "busy":
      return `Server busy · ${span(now - connection.since)}`;
  }
}

/** What a reader should know about figures that may be old; empty when they are live. */
export function notice(connection: Connection, online: boolean): string {
  switch (connection.state) {
    case "reconnecting": {
      const cause = online ? "Connection lost" : "You are offline";
      return `${cause} since ${clock(connection.since)}. What you see is from then; this page keeps trying.`;
    }
    case "busy":
      return "The server is busy. What you see may be old; this page tries again by itself.";
    case "behind":
      return "The server has lost touch with its source. What you see may be old; it is catching up.";
    case "reading":
      return "Live updates do not get through to this page. It asks every few seconds instead.";
    case "stalled":
      return "Nothing has changed for a while. The connection is fine; the work seems to stand still.";
    default:
      return "";
  }
}

export type UploadLine = {
  readonly text: string;
  readonly part: number;
  readonly unsent: number;
  readonly done: boolean;
};

export function uploadLine(uploads: Iterable<Upload>): UploadLine {
  let total = 0, sent = 0, unsent = 0, bytes = 0, sentBytes = 0;
  for (const upload of uploads) {
    total += 1;
    // An empty file is a request too, and a bar must not stand at 0 of 0.
    const weight = upload.size + 1;
    bytes += weight;
    sentBytes += weight * upload.part;
    if (upload.phase === "sent") sent += 1;
    if (upload.phase === "unsent") unsent += 1;
  }
  const part = bytes === 0 ? 0 : sentBytes / bytes;
  const done = sent + unsent === total;
  return { text: uploadText(total, sent, unsent, part), part, unsent, done };
}

function uploadText(total: number, sent: number, unsent: number, part: number): string {
  if (sent === total) return total === 1 ? "Uploaded" : `All ${total} uploaded`;
  const missing = unsent > 0 ? ` · ${unsent} did not get through` : "";
  if (sent + unsent === total) return `${sent} of ${total} uploaded${missing}`;
  return `Uploading ${Math.min(total, sent + unsent + 1)} of ${total} · ${percent(part)}${missing}`;
}

export type Outcome = {
  readonly kind: "completed" | "partial" | "failed" | "cancelled" | Refusal;
  readonly title: string;
  readonly advice: string;
  readonly failures: readonly { readonly photoId: string; readonly name: string; readonly reason: string }[];
};

/** The end, when it has come: the batch's own, or the server's last word on it. */
export function outcome(replica: Shown, connection: Connection, uploads: ReadonlyMap<string, Upload> | undefined): Outcome | undefined {
  if (connection.state === "closed") return { ...REFUSALS[connection.why], kind: connection.why, failures: [] };
  const head = replica.head;
  const kind = head && OUTCOMES[head.status];
  if (!head || !kind) return undefined;
  const failures = [...replica.photos.values()].filter((photo) => photo.status === "FAILED").map((photo) => {
    const tile = describeTile(photo.photoId, photo, uploads?.get(photo.photoId), true);
    return { photoId: photo.photoId, name: tile.name, reason: tile.detail };
  });
  return { kind, title: outcomeTitle(head), advice: ADVICE[kind], failures };
}

const OUTCOMES: Partial<Record<BatchStatus, "completed" | "partial" | "failed" | "cancelled">> = {
  COMPLETED: "completed",
  PARTIAL: "partial",
  FAILED: "failed",
  CANCELLED: "cancelled",
};

const ADVICE = {
  completed: "Nothing is left to do. This address keeps showing the result.",
  partial: "The others are done. Photos that failed can be sent again as a new batch.",
  failed: "None of the files could be analysed. Check what was chosen and start a new batch.",
  cancelled: "What was analysed before is kept below.",
};

const REFUSALS: Record<Refusal, { title: string; advice: string }> = {
  missing: {
    title: "No batch with this address",
    advice: "It may have been deleted, belong to someone else, or the address may be incomplete.",
  },
  gone: { title: "This batch was deleted", advice: "Its photos are no longer on the server." },
  denied: { title: "You may not see this batch", advice: "Sign in with the account it belongs to, then reload this page." },
  expired: { title: "Your access has expired", advice: "Sign in again and reload this page. The batch goes on without you." },
};

function outcomeTitle({ status, counts }: Head): string {
  const { total, completed, failed } = counts;
  if (status === "CANCELLED") return `Cancelled: ${completed} of ${total} analysed${failed > 0 ? `, ${failed} failed` : ""}`;
  if (total === 0) return "Ended without photos";
  if (status === "COMPLETED") return total === 1 ? "Your photo is analysed" : `All ${total} photos analysed`;
  if (status === "FAILED") return total === 1 ? "The photo failed" : `All ${total} photos failed`;
  return `Ended: ${completed} analysed, ${failed} failed`;
}

/** For a page in a background tab: how far, before anything else. */
export function pageTitle(replica: Shown, connection: Connection): string {
  if (connection.state === "closed") return `${REFUSALS[connection.why].title} · Batchcast`;
  if (!replica.head) return "Batchcast";
  if (isTerminal(replica.head.status)) return `${outcomeTitle(replica.head)} · Batchcast`;
  return `${replica.head.progress}% · Batchcast`;
}

export function photos(count: number): string {
  return count === 1 ? "1 photo" : `${count} photos`;
}

/** From 0 to 1, in whole percents rounded down: 100% is said only when it is so. */
function percent(part: number): string {
  return `${Math.floor(part * 100)}%`;
}

function span(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1_000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h`;
}

function endedAt(updatedAt: string): string {
  const time = new Date(updatedAt);
  if (Number.isNaN(time.getTime())) return "Ended";
  return `Ended on ${time.toLocaleString("en-GB", { day: "numeric", month: "long", year: "numeric", hour: "2-digit", minute: "2-digit" })}`;
}

function clock(ms: number): string {
  return new Date(ms).toLocaleTimeString("en-GB");
}

function text(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}
