// What the page says, as plain functions: from the batch, the uploads and the connection to words of one language.

import type { Saying } from "../src/announce.ts";
import { isCutOff, type Connection, type Refusal } from "../src/connection.ts";
import { countsIn, remainingIn } from "../src/describe.ts";
import { isTerminal, recordOf } from "../src/events.ts";
import { languageOf } from "../src/phrases.ts";
import type { Remaining } from "../src/remaining.ts";
import { MAX_PHOTOS, type BatchStatus, type Photo, type PhotoStatus } from "../src/wire.ts";
import type { Refused } from "./choose.ts";
import type { Head, Shown } from "./shown.ts";
import { textsOf } from "./texts.ts";
import type { Problem, Upload } from "./upload.ts";

/** What took less is told as this. */
const LEAST_MS = 1_000;
/** A batch that took longer was opened again by other means, or its clocks differ: nothing is said of it. */
const LONGEST_MS = 7 * 24 * 3_600_000;

/** The server's words for a photo, and the page's for one that the server does not have yet. */
export type TileStatus = PhotoStatus | "WAITING" | "UPLOADING" | "UNSENT" | "DROPPED";

export type Tile = {
  readonly status: TileStatus;
  readonly name: string;
  readonly label: string;
  /** Size, time and sharpness of a finished photo; why a failed one failed. */
  readonly detail: string;
  readonly thumbnail?: string;
  /** From 0 to 1, while the photo is being uploaded. */
  readonly part?: number;
};

export type Pill = { readonly state: Connection["state"]; readonly label: string };

export type UploadLine = {
  readonly text: string;
  readonly part: number;
  readonly unsent: number;
  readonly done: boolean;
};

export type Outcome = {
  readonly kind: "completed" | "partial" | "failed" | "cancelled" | Refusal;
  readonly title: string;
  readonly advice: string;
  readonly failures: readonly { readonly photoId: string; readonly name: string; readonly reason: string }[];
};

export type Words = ReturnType<typeof createWords>;

const OUTCOMES: Partial<Record<BatchStatus, "completed" | "partial" | "failed" | "cancelled">> = {
  COMPLETED: "completed",
  PARTIAL: "partial",
  FAILED: "failed",
  CANCELLED: "cancelled",
};

/** `tag`: the language, as for the package's phrases. */
export function createWords(tag: string) {
  const language = languageOf(tag);
  const { phrases, number, isOne } = language;
  const texts = textsOf(tag);

  return {
    texts, describeTile, statusLine, barText, spoken, pill, notice, uploadLine, outcome, pageTitle, photos, when, explain, next,
    leftOut,
    counts: (head: Pick<Head, "status" | "counts">) => countsIn(head, language),
    more: (count: number) => texts.more(number(count)),
    starting: (count: number) => texts.starting(photos(count)),
    tooMany: (count: number) => texts.tooMany(number(count), number(MAX_PHOTOS)),
    batches: (count: number, open: number) => texts.batches(number(count), number(open), isOne(count), open > 0),
    clock, closed: (why: Refusal) => phrases.refusals[why], lost: phrases.lost, back: phrases.back,
  };

  function describeTile(photoId: string, photo: Photo | undefined, upload: Upload | undefined, ended: boolean): Tile {
    const result = recordOf(photo?.result);
    const name = text(result["name"]) ?? upload?.name ?? photoId;
    switch (photo?.status) {
      case "COMPLETED": {
        const thumbnail = localPath(result["thumbnail"]);
        return { status: "COMPLETED", name, label: phrases.photo.COMPLETED, detail: describeResult(result), ...(thumbnail ? { thumbnail } : {}) };
      }
      case "FAILED":
        return { status: "FAILED", name, label: phrases.photo.FAILED, detail: reason(photo) };
      case "PROCESSING":
        if (!ended) return { status: "PROCESSING", name, label: phrases.photo.PROCESSING, detail: "" };
    }
    if (ended) return { status: "DROPPED", name, label: phrases.photo.DROPPED, detail: texts.endedBefore };
    switch (upload?.phase) {
      case "waiting":
        return { status: "WAITING", name, label: texts.tile.waiting, detail: "" };
      case "sending":
        return { status: "UPLOADING", name, label: texts.uploading(percent(upload.part)), detail: "", part: upload.part };
      case "unsent":
        return { status: "UNSENT", name, label: texts.tile.unsent, detail: upload.problem ? explain(upload.problem) : "" };
    }
    return { status: "QUEUED", name, label: phrases.photo.QUEUED, detail: "" };
  }

  function reason({ error }: Photo): string {
    return (error && texts.reasons[error]) || error || phrases.noReason;
  }

  function describeResult(result: Record<string, unknown>): string {
    const { width, height, capturedAt, sharpness } = result;
    const size = typeof width === "number" && typeof height === "number" ? `${width}\u00a0×\u00a0${height}` : undefined;
    const sharp = typeof sharpness === "number" ? texts.sharpness(number(Math.round(sharpness))).replace(" ", "\u00a0") : undefined;
    return [size, taken(capturedAt), sharp].filter((part) => part !== undefined).join(" · ");
  }

  /** Cameras write local time without a zone, so it is taken as written and not moved to the reader's zone. */
  function taken(value: unknown): string | undefined {
    const match = /^(\d{4})[-:](\d{2})[-:](\d{2})(?:[T ](\d{2}):(\d{2}))?/.exec(text(value) ?? "");
    if (!match) return undefined;
    const [year = 0, month = 0, day = 0, hour, minute] = match.slice(1).map((digits) => digits && Number(digits)) as number[];
    const time = new Date(Date.UTC(year, month - 1, day, hour ?? 0, minute ?? 0));
    const clockTime = hour === undefined ? {} : ({ hour: "2-digit", minute: "2-digit" } as const);
    const words = time.toLocaleString(texts.locale, { day: "numeric", month: "short", year: "numeric", ...clockTime, timeZone: "UTC" });
    return words.replaceAll(" ", "\u00a0");
  }

  /** One sentence on how far the batch is. */
  function statusLine({ head }: Shown, connection: Connection, left?: Remaining): string {
    if (!head) {
      if (connection.state === "closed") return "";
      return isCutOff(connection) ? texts.reaching : phrases.asking;
    }
    if (isTerminal(head.status)) return endedAt(head.updatedAt);
    const counts = countsIn(head, language);
    if (connection.state === "closed") return texts.lastSeen(counts);
    return connection.state === "live" && left ? `${counts} · ${remainingIn(left, language)}` : counts;
  }

  /** For `aria-valuetext`: what the bar alone does not tell. */
  function barText(head: Head | undefined): string {
    return head ? `${language.percent(head.progress)}, ${countsIn(head, language)}` : texts.unknown;
  }

  /** For a screen reader. */
  function spoken(saying: Saying, { head }: Shown, end: Outcome | undefined): string {
    switch (saying) {
      case "watching":
        return texts.watching(photos(head?.counts.total ?? 0), barText(head));
      case "quarter":
        return `${barText(head)}.`;
      case "lost":
        return phrases.lost;
      case "back":
        return `${phrases.back} ${barText(head)}.`;
      case "ended":
        return end ? `${end.title.replace(/\.$/, "")}. ${end.advice}` : "";
    }
  }

  function pill(connection: Connection, now: number): Pill {
    const { state } = connection;
    if (!isCutOff(connection)) return { state, label: texts.pill[state as keyof typeof texts.pill] };
    const since = span(now - connection.since);
    return { state, label: connection.state === "busy" ? texts.busy(since) : texts.reconnecting(since) };
  }

  /**
   * What a reader should know about figures that may be old; empty when they are live. `retryAt`: when the next request is due;
   * `undefined` while one is under way.
   */
  function notice(connection: Connection, { online, retryAt, now }: { online: boolean; retryAt: number | undefined; now: number }): string {
    switch (connection.state) {
      case "reconnecting":
        return online ? texts.lost(clock(connection.since), next(retryAt, now)) : texts.offline(clock(connection.since));
      case "busy":
      case "behind":
      case "reading":
      case "stalled":
        return texts.notice[connection.state];
      default:
        return "";
    }
  }

  function next(retryAt: number | undefined, now: number): string {
    return retryAt === undefined || retryAt <= now ? texts.tryingNow : texts.tryingIn(span(Math.ceil((retryAt - now) / 1_000) * 1_000));
  }

  function uploadLine(uploads: Iterable<Upload>): UploadLine {
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
    return { text: uploadText(total, sent, unsent, part), part, unsent, done: sent + unsent === total };
  }

  function uploadText(total: number, sent: number, unsent: number, part: number): string {
    if (sent === total) return texts.uploaded(number(total), total === 1);
    const missing = unsent > 0 ? ` · ${texts.missing(number(unsent))}` : "";
    if (sent + unsent === total) return `${texts.uploadedOf(number(sent), number(total))}${missing}`;
    return `${texts.uploadingOf(number(Math.min(total, sent + unsent + 1)), number(total), percent(part))}${missing}`;
  }

  /** The end, when it has come: the batch's own, or the server's last word on it. */
  function outcome({ head, photos: all }: Shown, connection: Connection, uploads: ReadonlyMap<string, Upload> | undefined): Outcome | undefined {
    if (connection.state === "closed") {
      return { kind: connection.why, title: phrases.refusals[connection.why], advice: texts.refusals[connection.why], failures: [] };
    }
    const kind = head && OUTCOMES[head.status];
    if (!head || !kind) return undefined;
    const failures = [...all.values()].filter((photo) => photo.status === "FAILED").map((photo) => {
      const { name, detail } = describeTile(photo.photoId, photo, uploads?.get(photo.photoId), true);
      return { photoId: photo.photoId, name, reason: detail };
    });
    return { kind, title: countsIn(head, language), advice: `${took(head)}${texts.advice[kind]}`, failures };
  }

  /** The epoch is when the batch was created, or opened again. */
  function took({ position, updatedAt }: Head): string {
    const ms = Date.parse(updatedAt) - Number(position.split("-")[0]);
    return ms >= 0 && ms < LONGEST_MS ? `${texts.took(span(Math.max(ms, LEAST_MS)))} ` : "";
  }

  /** For a page in a background tab: how far, before anything else. */
  function pageTitle({ head }: Shown, connection: Connection): string {
    if (connection.state === "closed") return `${phrases.refusals[connection.why]} · Batchcast`;
    if (!head) return "Batchcast";
    return `${isTerminal(head.status) ? countsIn(head, language) : language.percent(head.progress)} · Batchcast`;
  }

  function photos(count: number): string {
    return texts.photos(number(count), isOne(count));
  }

  function leftOut(refused: readonly Refused[]): { readonly title: string; readonly lines: readonly string[] } {
    return {
      title: texts.leftOut(number(refused.length), refused.length === 1),
      lines: refused.map(({ name, why }) => `${name} ${texts.left[why]}`),
    };
  }

  function explain(problem: Problem): string {
    if (problem === "ended" || problem === "unclear") return texts.problems[problem];
    const { status, detail } = problem;
    if (status === 0) return texts.problems.offline;
    if (status === 401 || status === 403) return texts.problems.denied;
    if (status === 413) return texts.problems.tooLarge;
    if (status === 429 || status === 503) return texts.problems.busy;
    if (status >= 500) return texts.problems.fault;
    return detail?.replace(/\.$/, "") ?? texts.refused(status);
  }

  /** When a batch was made, as people say it. */
  function when(date: Date, now: Date): string {
    if (Number.isNaN(date.getTime())) return "";
    const time = date.toLocaleTimeString(texts.locale, { hour: "2-digit", minute: "2-digit" });
    // By the calendar: a day can have 23 hours.
    const daysAgo = (days: number): boolean => new Date(now.getFullYear(), now.getMonth(), now.getDate() - days).toDateString() === date.toDateString();
    if (daysAgo(0)) return texts.today(time);
    if (daysAgo(1)) return texts.yesterday(time);
    const year = date.getFullYear() === now.getFullYear() ? {} : ({ year: "numeric" } as const);
    return `${date.toLocaleDateString(texts.locale, { day: "numeric", month: "short", ...year })}, ${time}`;
  }

  function span(ms: number): string {
    const seconds = Math.max(0, Math.floor(ms / 1_000));
    if (seconds < 60) return `${seconds}\u00a0s`;
    const minutes = Math.floor(seconds / 60);
    return minutes < 60 ? `${minutes}\u00a0min` : texts.hours(String(Math.floor(minutes / 60)), String(minutes % 60));
  }

  function endedAt(updatedAt: string): string {
    const time = new Date(updatedAt);
    if (Number.isNaN(time.getTime())) return texts.ended;
    return texts.endedOn(time.toLocaleString(texts.locale, { day: "numeric", month: "long", year: "numeric", hour: "2-digit", minute: "2-digit" }));
  }

  function clock(ms: number): string {
    return new Date(ms).toLocaleTimeString(texts.locale);
  }
}

/** Only paths of this server: a result is data from photos, and must not make the page load from elsewhere. */
export function localPath(value: unknown): string | undefined {
  return typeof value === "string" && /^\/(?![/\\])/.test(value) ? value : undefined;
}

/** From 0 to 1, in whole percents rounded down: 100% is said only when it is so. */
function percent(part: number): string {
  return `${Math.floor(part * 100)}%`;
}

function text(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}
