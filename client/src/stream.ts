// Watches one batch: an `EventSource`, opened again when the browser has given up on it, and doubted when it is silent.

import { backoffMs } from "./backoff.ts";
import type { Refusal, Signal } from "./connection.ts";
import { parseComplete, parseProgress, parseState, parseUpstream } from "./events.ts";
import { comparePositions, parsePosition } from "./position.ts";
import { isTerminal } from "./state.ts";
import type { BatchState, CompleteEvent, ProgressEvent } from "./wire.ts";

const REOPEN = { firstMs: 1_000, capMs: 30_000 };
/** `EventSource` hides keep-alives, so a dead connection looks like a quiet one: after this silence the page asks. */
const SILENCE = { firstMs: 60_000, capMs: 600_000 };
const RETURN_JITTER_MS = 500;
const HIDDEN_LONG_MS = 30_000;
/** `EventSource.CLOSED`, which tests have no `EventSource` to ask for. */
const CLOSED = 2;

export type Handlers = {
  signal(signal: Signal): void;
  progress(event: ProgressEvent): void;
  complete(event: CompleteEvent): void;
  state(state: BatchState): void;
  /** Where the page stands, to ask for what is newer. */
  position(): string | undefined;
};

/** The answer to one `GET /api/batches/:id`. */
export type Reading =
  | { readonly kind: "state"; readonly state: BatchState }
  | { readonly kind: "refused"; readonly why: Refusal }
  | { readonly kind: "unchanged" | "unavailable" | "unreachable" };

/** What a watch needs of its surroundings; tests give their own. */
export type Surroundings = {
  open(url: string): EventSource;
  read(url: string, known: string | undefined): Promise<Reading>;
  later(ms: number, run: () => void): () => void;
  random(): number;
  visible(): boolean;
  /** Calls `away` when the network has gone, `back` when it or the reader has returned. Returns how to stop. */
  onReturn(back: () => void, away: () => void): () => void;
};

/** Starts watching; returns how to stop. */
export function watchBatch(batchId: string, handlers: Handlers, around: Surroundings = browser()): () => void {
  const url = `/api/batches/${encodeURIComponent(batchId)}`;
  let source: EventSource | undefined;
  let attempt = 0;
  let silences = 0;
  let offline = false;
  let expired = false;
  let stopped = false;
  let cancelReopen = () => {};
  let cancelDoubt = () => {};
  const cancelReturn = around.onReturn(returned, left);

  open();
  return stop;

  function open(): void {
    source?.close();
    const opened = around.open(`${url}/stream`);
    source = opened;
    // A source that was replaced may still deliver: its words no longer count.
    const on = (name: string, handle: (data: string) => void): void =>
      opened.addEventListener(name, (event: MessageEvent<string>) => {
        if (stopped || source !== opened) return;
        heard();
        handle(event.data);
      });
    opened.onopen = () => {
      if (stopped || source !== opened) return;
      attempt = 0;
      expired = false;
      heard();
      handlers.signal("open");
    };
    opened.onerror = () => {
      if (stopped || source !== opened) return;
      cancelDoubt();
      // Closed for good is how a browser takes any status but 200: ask once, in words that can be read.
      if (opened.readyState === CLOSED) void settle();
      else handlers.signal("lost");
    };
    on("progress", (data) => {
      const event = parseProgress(data);
      if (!event) return;
      handlers.signal("news");
      handlers.progress(event);
    });
    on("complete", (data) => {
      const event = parseComplete(data);
      if (!event) return;
      if (isBehind(event.position)) return comeBack();
      handlers.complete(event);
      end("ended");
    });
    on("upstream", (data) => {
      const state = parseUpstream(data);
      if (state) handlers.signal(state === "stale" ? "stale" : "fresh");
    });
    on("stalled", () => handlers.signal("stalled"));
    // The server closes, and the browser looks in from time to time, with the id of this event.
    on("idle", () => handlers.signal("stalled"));
    on("busy", () => handlers.signal("busy"));
    on("gone", () => end("gone"));
    // The server closes, and the browser comes back with the cookie of then: the application may have renewed it.
    on("auth-expired", () => void (expired = true));
  }

  /** The stream is closed: the batch has ended, is not there, is not ours, or the browser gave up too early. */
  async function settle(): Promise<void> {
    const asked = source;
    const reading = await around.read(url, undefined);
    if (stopped || source !== asked) return;
    if (!take(reading)) comeBack();
  }

  function comeBack(): void {
    source?.close();
    handlers.signal("lost");
    cancelDoubt();
    cancelReopen();
    cancelReopen = around.later(backoffMs(REOPEN, attempt++, around.random()), open);
  }

  /** A server whose Redis was set back may show the end of an epoch that is over: that ends nothing. */
  function isBehind(position: string): boolean {
    const [theirs, ours] = [parsePosition(position), parsePosition(handlers.position())];
    return theirs !== undefined && ours !== undefined && comparePositions(theirs, ours) < 0;
  }

  /** Nothing was heard for long: is there really no news? */
  async function doubt(): Promise<void> {
    const asked = source;
    const reading = around.visible() ? await around.read(url, handlers.position()) : undefined;
    if (stopped || source !== asked) return;
    if (!reading || reading.kind === "unavailable") return listen();
    if (reading.kind === "unchanged" || (reading.kind === "state" && reading.state.position === handlers.position())) {
      if (offline) handlers.signal("open");
      offline = false;
      return listen();
    }
    if (take(reading)) return;
    handlers.signal("lost");
    open();
  }

  /** True when the reading was the last word. */
  function take(reading: Reading): boolean {
    if (reading.kind === "refused") end(reading.why === "denied" && expired ? "expired" : reading.why);
    if (reading.kind !== "state") return reading.kind === "refused";
    if (isBehind(reading.state.position)) return false;
    handlers.state(reading.state);
    const ended = isTerminal(reading.state.status);
    if (ended) end("ended");
    return ended;
  }

  /** The stream may not notice for minutes that its network has gone; should it deliver after all, that counts. */
  function left(): void {
    offline = true;
    handlers.signal("lost");
  }

  function returned(): void {
    cancelReopen();
    if (source?.readyState === 1) void doubt();
    else cancelReopen = around.later(around.random() * RETURN_JITTER_MS, open);
  }

  function heard(): void {
    offline = false;
    silences = 0;
    listen();
  }

  function listen(): void {
    cancelDoubt();
    cancelDoubt = around.later(backoffMs(SILENCE, silences++, around.random()), () => void doubt());
  }

  function end(signal: "ended" | Refusal): void {
    handlers.signal(signal);
    stop();
  }

  function stop(): void {
    stopped = true;
    source?.close();
    cancelReopen();
    cancelDoubt();
    cancelReturn();
  }
}

function browser(): Surroundings {
  return {
    open: (url) => new EventSource(url),
    read: readState,
    later(ms, run) {
      const timer = setTimeout(run, ms);
      return () => clearTimeout(timer);
    },
    random: Math.random,
    visible: () => !document.hidden,
    onReturn,
  };
}

async function readState(url: string, known: string | undefined): Promise<Reading> {
  try {
    const headers: HeadersInit = known === undefined ? {} : { "If-None-Match": `"${known}"` };
    // Revalidated, never shown from the browser's own cache; "no-store" would make the edge read past its memory.
    const response = await fetch(url, { headers, cache: "no-cache" });
    if (response.status === 304) return { kind: "unchanged" };
    if (response.status === 404) return { kind: "refused", why: "missing" };
    if (response.status === 401 || response.status === 403) return { kind: "refused", why: "denied" };
    const state = response.ok ? parseState(await response.text()) : undefined;
    return state ? { kind: "state", state } : { kind: "unavailable" };
  } catch {
    return { kind: "unreachable" };
  }
}

function onReturn(back: () => void, away: () => void): () => void {
  let hiddenAt = document.hidden ? Date.now() : undefined;
  const shown = (): void => {
    const hiddenFor = hiddenAt === undefined ? 0 : Date.now() - hiddenAt;
    hiddenAt = document.hidden ? Date.now() : undefined;
    if (!document.hidden && hiddenFor > HIDDEN_LONG_MS) back();
  };
  const restored = (event: PageTransitionEvent): void => {
    if (event.persisted) back();
  };
  window.addEventListener("online", back);
  window.addEventListener("offline", away);
  window.addEventListener("pageshow", restored);
  document.addEventListener("visibilitychange", shown);
  return () => {
    window.removeEventListener("online", back);
    window.removeEventListener("offline", away);
    window.removeEventListener("pageshow", restored);
    document.removeEventListener("visibilitychange", shown);
  };
}
