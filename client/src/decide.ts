// What a watch does next, decided on plain data: an event, a close, a timer or the network's return goes in, and out comes
// what is shown, which one request is to be open, and when to be asked again. It opens nothing and reads no clock.

import { backoffMs } from "./backoff.ts";
import { afterSignal, isCutOff, isOver, type Connection, type Refusal, type Signal } from "./connection.ts";
import { batchIn, isTerminal, parseRecord } from "./events.ts";
import type { Block } from "./sse.ts";
import { isBehind, mergeComplete, mergeProgress, type Merged, type Replica } from "./state.ts";

/** Between streams that came to nothing. */
const REOPEN = { firstMs: 1_000, capMs: 30_000 };
/** Between reads, where streams do not get through, and so after three failures: 4 s. The longer that lasts, the longer. */
const READ = { firstMs: 500, capMs: 15_000 };
/** Between attempts to return from reads to a stream; after four failures 60 s. */
const TRIAL = { firstMs: 3_750, capMs: 600_000 };
/** After so many streams in a row that failed, died young or were answered with `busy`, a read is tried instead. */
const SETBACKS_MOST = 3;
/** A stream that lives for so long gets through. */
const LIVED_MS = 5_000;
/**
 * How long an answer may take: the server writes to a new stream at once, and a proxy that holds that back would hold back
 * everything. And a stream heard so recently has outlived its tab's sleep: it is longer than the pause between keep-alives.
 */
const ANSWER_MS = 20_000;
/** A stream without a byte for so long, not even a keep-alive, is dead. */
const SILENCE_MS = 60_000;
/** Tabs that wake together return apart. */
const RETURN_JITTER_MS = 500;

export type State = {
  readonly replica: Replica;
  /** The photos that the last input changed. */
  readonly changed: ReadonlySet<string>;
  readonly connection: Connection;
  /** The one request to be open, if any. Another object: the one before is over, and what still comes of it does not count. */
  readonly line: { readonly kind?: "stream" | "read" | undefined };
  /** The last `id`, sent back as it came: the replica's position, and perhaps what the server noted behind a `~`. */
  readonly lastEventId?: string | undefined;
  /** When a `timer` is due, unless something comes before. */
  readonly wakeAt: number;

  /** A ticket opens streams only: a read that is refused is not the last word. */
  readonly ticketed: boolean;
  /** When the stream brought its first byte; 0 before. */
  readonly openedAt?: number;
  /** When the line was opened, or brought something last. */
  readonly heardAt: number;
  /** The server has said why it is about to close. */
  readonly parting?: boolean;
  /** A stream has ended with its token. */
  readonly lapsed?: boolean;
  readonly retryMs: number;
  /** Streams in a row that came to nothing. */
  readonly setbacks: number;
  /** Streams do not get through, reads do. */
  readonly fallback?: boolean;
  readonly streamAt: number;
  readonly readAt: number;
};

export type Input =
  /** What has come on the stream; empty for part of a block. */
  | { readonly kind: "heard"; readonly blocks: readonly Block[] }
  /** The stream has ended (200), or was answered with another status; 0: no answer, or it broke. */
  | { readonly kind: "stream"; readonly status: number }
  /** The answer to one `GET /api/batches/:id`. 0: none. `stale`: nobody could be asked. */
  | { readonly kind: "read"; readonly status: number; readonly body?: string; readonly stale?: boolean }
  /** The time has come, the network has gone, it is back, or the page is before its reader (again). */
  | { readonly kind: "timer" | "offline" | "online" | "pageshow" | "visibilitychange" };

/** `now` in milliseconds since 1970, `random` in [0, 1). */
export type Moment = { readonly now: number; readonly random: number };

/** A watch that opens its first stream at the first `timer`, which is due. */
export function begin(now: number, ticketed: boolean): State {
  return {
    replica: {}, changed: new Set(), connection: { state: "connecting" }, line: {}, wakeAt: now, ticketed, heardAt: now, retryMs: 2_000,
    setbacks: 0, streamAt: now, readAt: Infinity,
  };
}

export function decide(before: State, input: Input, { now, random }: Moment): State {
  if (isOver(before.connection)) return before;
  const state: { -readonly [K in keyof State]: State[K] } = { ...before, changed: new Set() };
  if (input.kind === "heard") hear(input.blocks);
  else if (input.kind === "stream") close(input.status);
  else if (input.kind === "read") read(input);
  else if (input.kind === "timer") wake();
  else if (input.kind === "offline") signal("reconnecting");
  else comeBack(input.kind === "online");
  state.wakeAt = state.line.kind ? state.heardAt + (state.openedAt ? SILENCE_MS : ANSWER_MS) : Math.min(state.streamAt, state.readAt);
  return state;

  function hear(blocks: readonly Block[]): void {
    // A server that is too busy opens a stream only to say so.
    if ((!state.openedAt || isCutOff(state.connection)) && !blocks.some(({ event }) => event === "busy")) signal("live");
    state.openedAt ||= now;
    state.heardAt = now;
    for (const block of blocks) if (state.line.kind) take(block);
  }

  function take({ event, data, id, retry }: Block): void {
    state.retryMs = Number(retry) || state.retryMs;
    const value = parseRecord(data);
    const batch = batchIn(value);
    if (event === "progress" && batch) {
      // A server that has lost its own source may still send what it finds elsewhere: that is not live.
      if (state.connection.state !== "behind") signal("live");
      merge(mergeProgress(state.replica, batch));
    } else if (event === "complete" && batch) {
      // A server whose Redis was set back may show the end of an epoch that is over: that ends nothing.
      if (isBehind(state.replica, batch.position)) return close(200);
      merge(mergeComplete(state.replica, batch));
      end("ended");
    } else if (event === "upstream") {
      signal(value["state"] === "stale" ? "behind" : "live");
    } else if (event === "gone") {
      end(event);
    } else if (event === "busy") {
      if (!state.fallback) signal(event);
    } else if (event === "idle" || event === "stalled") {
      if (state.connection.state !== "behind") signal("stalled");
      state.parting = true;
    } else if (event === "auth-expired") {
      state.parting = state.lapsed = true;
    }
    if (id?.split("~")[0] === state.replica.batch?.position) state.lastEventId = id;
  }

  function merge({ replica, changed }: Merged): void {
    if (replica.batch !== state.replica.batch) state.lastEventId = replica.batch?.position;
    state.replica = replica;
    state.changed = new Set([...state.changed, ...changed]);
  }

  function close(status: number): void {
    if (isRefused(status)) return;
    const fine = state.parting || (state.openedAt && now - state.openedAt >= LIVED_MS);
    state.setbacks = fine ? 0 : state.setbacks + 1;
    state.fallback &&= !fine;
    hold();
    signal(state.fallback ? "reading" : "reconnecting");
    state.streamAt = now + Math.max(state.retryMs, fine ? 0 : backoffMs(state.fallback ? TRIAL : REOPEN, state.setbacks, random));
    // Who is shown nothing yet asks at once.
    const asks = !fine && (state.setbacks % SETBACKS_MOST === 0 || (state.setbacks === 1 && !state.replica.batch));
    if (!state.fallback) state.readAt = asks ? now : Infinity;
  }

  function read({ status, body, stale }: Extract<Input, { kind: "read" }>): void {
    if ((!state.ticketed || status > 403) && isRefused(status)) return;
    const batch = batchIn(parseRecord(body));
    hold();
    if (batch && !isBehind(state.replica, batch.position)) {
      merge(mergeProgress(state.replica, { ...batch, full: true }));
      if (isTerminal(batch.status)) return end("ended");
    }
    if (batch || status === 304) {
      state.fallback = state.setbacks >= SETBACKS_MOST;
      if (state.fallback) signal(stale ? "behind" : "reading");
    } else signal("reconnecting");
    // No answer: it is not the streams, nothing gets through.
    if (!status && state.fallback) state.streamAt = now + state.retryMs;
    if (!status) state.fallback = false;
    state.readAt = state.fallback ? now + backoffMs(READ, state.setbacks, random) : Infinity;
  }

  function wake(): void {
    if (now < state.wakeAt) return;
    if (state.line.kind === "read") return read({ kind: "read", status: 0 });
    if (state.line.kind) {
      close(0);
      // A stream that lived and then fell silent is replaced at once.
      if (!state.setbacks) state.streamAt = now;
    }
    if (now >= state.streamAt) hold("stream");
    else if (now >= state.readAt) hold("read");
  }

  function comeBack(rested: boolean): void {
    if (state.line.kind === "stream") {
      if (!rested && now - state.heardAt <= ANSWER_MS) return;
      hold();
    }
    // Another network may let streams through.
    state.fallback &&= !rested;
    if (rested) state.setbacks = 0;
    state.streamAt = now + random * RETURN_JITTER_MS;
  }

  function hold(kind?: "stream" | "read"): void {
    state.line = { kind };
    state.heardAt = now;
    state.openedAt = 0;
    state.parting = false;
    // What a stream left unfinished is sent anew on the next one.
    state.replica = { batch: state.replica.batch };
  }

  function end(how: "ended" | Refusal): void {
    hold();
    state.connection = how === "ended" ? { state: how } : { state: "closed", why: how };
  }

  /** The server's last word? */
  function isRefused(status: number): boolean {
    if (status === 400 || status === 404) end("missing");
    if (status > 400 && status < 404) end(state.lapsed ? "expired" : "denied");
    return isOver(state.connection);
  }

  function signal(kind: Signal): void {
    state.connection = afterSignal(state.connection, kind, now);
  }
}
