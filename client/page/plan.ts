// Which batches of a gallery have a stream, which is read, and which rest: decided on plain data. Opens nothing, reads no clock.

import { backoffMs } from "../src/backoff.ts";

/**
 * Streams over HTTP/1.1, where a browser has six connections to a server for all tabs: three are left for the list, reads,
 * thumbnails, and another tab.
 */
const STREAMS_HTTP1 = 3;
/** Streams over HTTP/2 and 3, where they share one connection: more than a screen has cards. */
const STREAMS_HTTP2 = 12;
/** A card that is scrolled past is not worth a stream. */
const SETTLE_MS = 300;
/** Between two reads of an open batch in view that has no stream. */
export const READ_MS = 5_000;
/** Between two reads of the list, which tell of new batches. */
const LIST_MS = 15_000;
const LIST_RETRY = { firstMs: 2_000, capMs: 60_000 };

export type Card = {
  readonly id: string;
  /** The batch has not ended, and the server did not refuse it. */
  readonly open: boolean;
  /** Since when it is in view; `undefined` when it is not. Milliseconds, as all times here. */
  readonly seenAt?: number | undefined;
  readonly streams: boolean;
  /** When the batch was read last, by itself or in the list. */
  readonly readAt: number;
};

export type Situation = {
  /** Nobody sees the page. */
  readonly hidden: boolean;
  /** Most streams; see `mostStreams`. */
  readonly most: number;
  /** A read is under way. */
  readonly reading: boolean;
  readonly now: number;
};

export type Plan = {
  /** The batches that have a stream from now on; all others have none. */
  readonly streams: ReadonlySet<string>;
  /** The one batch to be read now. */
  readonly read?: string;
  /** When to plan again, unless something happens before. */
  readonly wakeAt: number;
};

/** `cards` in the order of the page. */
export function plan(cards: readonly Card[], { hidden, most, reading, now }: Situation): Plan {
  const seen = hidden ? [] : cards.filter(({ open, seenAt }) => open && seenAt !== undefined);
  const settled = seen.filter(({ streams, seenAt = now }) => streams || now - seenAt >= SETTLE_MS);
  // Who has a stream keeps it: another one would begin with the whole batch.
  const first = [...settled.filter(({ streams }) => streams), ...settled.filter(({ streams }) => !streams)];
  const streams = new Set(first.slice(0, most).map(({ id }) => id));
  const waiting = settled.filter(({ id }) => !streams.has(id)).sort((a, b) => a.readAt - b.readAt)[0];
  const due = waiting ? waiting.readAt + READ_MS : Infinity;
  const settles = seen.filter((card) => !settled.includes(card)).map(({ seenAt = now }) => seenAt + SETTLE_MS);
  const wakeAt = Math.min(...settles, reading ? Infinity : due);
  return waiting && due <= now && !reading ? { streams, read: waiting.id, wakeAt: Math.min(...settles) } : { streams, wakeAt };
}

/** `protocol` as `nextHopProtocol` names it, `uploads`: those under way, each of which takes a connection. One is always left. */
export function mostStreams(protocol: string, uploads: number): number {
  return /^h[23]/.test(protocol) ? STREAMS_HTTP2 : Math.max(1, STREAMS_HTTP1 - uploads);
}

/** When the list is read again; `failures`: reads of it in a row that came to nothing. `random` in [0, 1). */
export function nextListAt(readAt: number, failures: number, random: number): number {
  return readAt + (failures === 0 ? LIST_MS : backoffMs(LIST_RETRY, failures - 1, random));
}
