// Watches one batch: does what `decide` says with `fetch`, one timer and the browser's events, and tells its listener.

import { isOver, isStale, type Connection, type Refusal } from "./connection.ts";
import { begin, decide, type Input } from "./decide.ts";
import { blockReader } from "./sse.ts";
import type { Batch } from "./state.ts";

/** Why there will be no more news. `type` is for programs, the message for people. */
export class BatchError extends Error {
  override readonly name = "BatchError";
  readonly type: Refusal;
  constructor(type: Refusal, url: string) {
    super(`${url}: ${type}`);
    this.type = type;
  }
}

type Secret = () => string | Promise<string>;

export type Access = {
  /** A ticket for the stream, asked for anew at each opening. For pages that hold no token themselves. */
  readonly ticket?: Secret | undefined;
  /** Sent as `Authorization: Bearer`, asked for anew at each request. Without it the cookie counts. */
  readonly token?: Secret | undefined;
  /** Instead of the global `fetch`: to add headers or `credentials: "include"`. */
  readonly fetch?: typeof fetch | undefined;
};

export type Listener = {
  /** Each new state, the last one too. `changed`: the ids of the photos to draw again. */
  readonly onProgress?: ((batch: Batch, changed: ReadonlySet<string>) => void) | undefined;
  /** The batch has ended; nothing comes after. */
  readonly onComplete?: ((batch: Batch) => void) | undefined;
  /** True when what is shown may be behind, false when it no longer is. */
  readonly onStale?: ((stale: boolean) => void) | undefined;
  /** How it stands with the server, in detail. `retryAt`: when the next request is due, milliseconds since 1970, while there is none. */
  readonly onConnection?: ((connection: Connection, retryAt?: number) => void) | undefined;
  /** There will be no more news; nothing comes after. Faults that may pass are no errors: see `onStale`. */
  readonly onError?: ((error: BatchError) => void) | undefined;
};

export type WatchOptions = Access & Listener & {
  /** Stops the watch, without a word. */
  readonly signal?: AbortSignal | undefined;
};

/**
 * Watches the batch at `url`, `/api/batches/ID`, to its end. Returns how to stop.
 *
 * @throws TypeError when `url` is empty.
 */
export function watchBatch(url: string, options: WatchOptions = {}): () => void {
  if (!url) throw new TypeError("url is empty");
  const watch = new AbortController();
  const { signal: until } = watch;
  let state = begin(Date.now(), !!options.ticket);
  let timer: ReturnType<typeof setTimeout> | undefined;
  let request: AbortController | undefined;
  options.signal?.addEventListener("abort", stop, { signal: until });
  if (options.signal?.aborted) return stop;
  // Outside of browsers there are no such events. What becomes of a tab is heard at the window, too.
  for (const name of ["online", "offline", "pageshow", "visibilitychange"] as const) {
    globalThis.addEventListener?.(name, () => {
      if (name !== "visibilitychange" || !document.hidden) take({ kind: name });
    }, { signal: until });
  }
  take({ kind: "timer" });
  return stop;

  function take(input: Input): void {
    const before = state;
    state = decide(before, input, { now: Date.now(), random: Math.random() });
    // It is over, and all has been told.
    if (state === before) return;
    const { line, connection, replica: { batch }, changed } = state;
    clearTimeout(timer);
    timer = setTimeout(() => take({ kind: "timer" }), state.wakeAt - Date.now());
    if (line !== before.line) {
      request?.abort();
      request = new AbortController();
      if (line.kind) void ask(line.kind, request.signal);
    }
    if (line !== before.line || connection !== before.connection) tell(options.onConnection, connection, line.kind ? 0 : state.wakeAt);
    if (isStale(connection) !== isStale(before.connection) && connection.state !== "closed") tell(options.onStale, isStale(connection));
    if (batch && batch !== before.replica.batch) tell(options.onProgress, batch, changed);
    if (batch && connection.state === "ended") tell(options.onComplete, batch);
    if (connection.state === "closed") tell(options.onError, new BatchError(connection.why, url));
    if (isOver(connection)) tell(stop);
  }

  /** By itself, so that a mistake of a listener is reported like any other, and the watch goes on. */
  function tell<A extends unknown[]>(listener: ((...given: A) => void) | undefined, ...given: A): void {
    queueMicrotask(() => until.aborted || listener?.(...given));
  }

  /**
   * `fetch`, not `EventSource`: only so does a new connection send the `Last-Event-ID` of the one before, is a keep-alive
   * seen, and a status known.
   */
  async function ask(kind: "stream" | "read", signal: AbortSignal): Promise<void> {
    const { lastEventId, replica: { batch } } = state;
    const reads = kind === "read";
    const give = (input: Input): void => {
      if (!signal.aborted) take(input);
    };
    try {
      const ticket = reads ? undefined : await options.ticket?.();
      const token = ticket ? undefined : await options.token?.();
      const headers: Record<string, string> = {};
      if (token) headers["authorization"] = `Bearer ${token}`;
      if (!reads && lastEventId) headers["last-event-id"] = lastEventId;
      if (reads && batch) headers["if-none-match"] = `"${batch.position}"`;
      // A ticket is a JWT: it has no letter that would have to be encoded.
      const target = reads ? url : `${url}/stream${ticket ? `?ticket=${ticket}` : ""}`;
      // Revalidated, never shown from the browser's own cache; "no-store" would make the edge read past its memory.
      // Browsers want `fetch` to be called as nobody's method.
      const response = await (options.fetch ?? fetch)(target, { headers, signal, cache: "no-cache" });
      const { status } = response;
      if (reads) return give({ kind, status, body: await response.text(), stale: response.headers.get("x-cache") === "STALE" });
      const reader = response.headers.get("content-type")?.includes("event-stream") && response.body?.pipeThrough(new TextDecoderStream()).getReader();
      const blocksOf = blockReader();
      for (let chunk; reader && (chunk = await reader.read()).value;) give({ kind: "heard", blocks: blocksOf(chunk.value) });
      give({ kind, status });
    } catch {
      give({ kind, status: 0 });
    }
  }

  function stop(): void {
    watch.abort();
    request?.abort();
    clearTimeout(timer);
  }
}
