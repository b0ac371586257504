// A project's batches, the newest first. Does what `plan` says: streams for what is open and in view, reads for the rest of it,
// nothing for what has ended, of which the list has told everything.

import { isCutOff, isStale, type Connection } from "../src/connection.ts";
import { byTestId, setAttribute, setText } from "../src/dom.ts";
import { batchIn, isTerminal, parseRecord, recordOf } from "../src/events.ts";
import { comparePositions } from "../src/position.ts";
import type { Batch } from "../src/state.ts";
import { watchBatch } from "../src/watch.ts";
import type { Photo } from "../src/wire.ts";
import { drawCard, FRAMES, makeCard, type CardParts } from "./cards.ts";
import { firstPage, readListing, type Listed, type Listing } from "./listing.ts";
import { mostStreams, nextListAt, plan } from "./plan.ts";
import { isId } from "./route.ts";
import type { Head } from "./shown.ts";
import { ServerError, type Problem } from "./upload.ts";
import { localPath, type Words } from "./words.ts";

/** Who comes back to the page is shown a list that is older than this anew. */
const RETURN_MS = 3_000;
/** How long it is said that all is well again. */
export const BACK_MS = 5_000;
const TICK_MS = 1_000;

export type GalleryHooks = {
  /** In words, while this page uploads into the batch. */
  uploadOf(batchId: string): string | undefined;
  /** Requests that send photos just now. */
  uploads(): number;
  announce(words: string): void;
};

type Entry = {
  readonly batchId: string;
  readonly parts: CardParts;
  readonly createdAt: number;
  head: Head;
  thumbnails: readonly string[];
  seenAt?: number | undefined;
  readAt: number;
  connection?: Connection | undefined;
  retryAt?: number | undefined;
  stop?: (() => void) | undefined;
};

/** How it stands with the list. */
type ListState = { readAt: number; failures: number; problem?: Problem | undefined; nextAt: number; reading: boolean; nextUrl?: string | undefined };

export class Gallery {
  readonly #words: Words;
  readonly #hooks: GalleryHooks;
  readonly #list = byTestId("cards");
  readonly #more = byTestId<HTMLButtonElement>("more-batches");
  readonly #entries = new Map<string, Entry>();
  readonly #dirty = new Set<Entry>();
  readonly #inView: IntersectionObserver;
  #projectId: string | undefined;
  #state: ListState = freshState();
  /** Of what was under way when the gallery was left nothing counts any more. */
  #visit = new AbortController();
  #reading: string | undefined;
  #lostSince: number | undefined;
  #backUntil = 0;
  #moreProblem = "";
  #timer: ReturnType<typeof setTimeout> | undefined;
  #drawing = false;

  constructor(words: Words, hooks: GalleryHooks) {
    this.#words = words;
    this.#hooks = hooks;
    this.#visit.abort();
    this.#inView = new IntersectionObserver((changes) => this.#see(changes));
    this.#more.addEventListener("click", () => void this.#readMore());
  }

  show(projectId: string): void {
    this.leave();
    if (projectId !== this.#projectId) this.#clear();
    this.#projectId = projectId;
    this.#visit = new AbortController();
    const { signal } = this.#visit;
    document.addEventListener("visibilitychange", () => this.#return(), { signal });
    for (const name of ["focus", "pageshow"]) window.addEventListener(name, () => this.#return(), { signal });
    window.addEventListener("online", () => this.#readSoon(), { signal });
    window.addEventListener("offline", () => this.#turn(), { signal });
    const tick = setInterval(() => this.#tick(), TICK_MS);
    signal.addEventListener("abort", () => clearInterval(tick));
    for (const { parts } of this.#entries.values()) this.#inView.observe(parts.item);
    this.#readSoon();
  }

  leave(): void {
    this.#visit.abort();
    clearTimeout(this.#timer);
    this.#inView.disconnect();
    this.#reading = undefined;
    this.#state.reading = false;
    for (const entry of this.#entries.values()) {
      entry.seenAt = undefined;
      this.#close(entry);
    }
  }

  /** Something of this page's own uploads has changed. */
  touch(batchId: string): void {
    const entry = this.#entries.get(batchId);
    if (entry) this.#touch(entry);
  }

  #clear(): void {
    this.#drop();
    this.#state = freshState();
    this.#lostSince = undefined;
    this.#moreProblem = "";
  }

  #drop(): void {
    for (const entry of this.#entries.values()) {
      this.#inView.unobserve(entry.parts.item);
      this.#close(entry);
    }
    this.#entries.clear();
    this.#list.replaceChildren();
  }

  #see(changes: readonly IntersectionObserverEntry[]): void {
    for (const { target, isIntersecting } of changes) {
      const entry = this.#entries.get((target as HTMLElement).dataset["batchId"] ?? "");
      if (entry) entry.seenAt = isIntersecting ? (entry.seenAt ?? Date.now()) : undefined;
    }
    this.#turn();
  }

  #return(): void {
    if (!document.hidden && Date.now() - this.#state.readAt >= RETURN_MS) this.#readSoon();
    else this.#turn();
  }

  #readSoon(): void {
    this.#state.nextAt = 0;
    this.#turn();
  }

  /** What only time changes: how long ago, and when next. */
  #tick(): void {
    if (this.#lostSince !== undefined || this.#backUntil > Date.now() - 2 * TICK_MS) this.#draw();
  }

  /** Follows the plan, and comes again when it says so. */
  #turn(): void {
    clearTimeout(this.#timer);
    if (this.#visit.signal.aborted) return;
    const [now, hidden] = [Date.now(), document.hidden];
    const cards = [...this.#entries.values()].map((entry) => ({
      id: entry.batchId, open: isOpen(entry), seenAt: entry.seenAt, streams: entry.stop !== undefined, readAt: entry.readAt,
    }));
    const most = mostStreams(protocol(), this.#hooks.uploads());
    const { streams, read, wakeAt } = plan(cards, { hidden, most, reading: this.#reading !== undefined, now });
    // Those that are over first: a connection that another one needs is free then.
    for (const entry of this.#entries.values()) if (entry.stop && !streams.has(entry.batchId)) this.#close(entry);
    for (const entry of this.#entries.values()) if (!entry.stop && streams.has(entry.batchId)) this.#open(entry);
    if (read !== undefined) void this.#read(read);
    if (!hidden && !this.#state.reading && this.#state.nextAt <= now) void this.#readList();
    const listAt = hidden || this.#state.reading ? Infinity : this.#state.nextAt;
    const next = Math.min(wakeAt, listAt);
    if (next < Infinity) this.#timer = setTimeout(() => this.#turn(), Math.max(0, next - now));
    this.#draw();
  }

  #open(entry: Entry): void {
    entry.connection = { state: "connecting" };
    entry.stop = watchBatch(addressInApi(entry.batchId), {
      onConnection: (connection, retryAt) => {
        entry.connection = connection;
        entry.retryAt = retryAt;
        this.#touch(entry);
        if (!isOpen(entry)) this.#turn();
      },
      onProgress: (batch) => {
        this.#take(entry, batch);
        if (isTerminal(batch.status)) this.#turn();
      },
    });
  }

  #close(entry: Entry): void {
    entry.stop?.();
    entry.stop = undefined;
    if (entry.connection && entry.connection.state !== "closed") entry.connection = undefined;
    this.#touch(entry);
  }

  #take(entry: Entry, { photos, ...head }: Batch): void {
    entry.readAt = Date.now();
    if (comparePositions(head.position, entry.head.position) < 0) return;
    entry.head = head;
    entry.thumbnails = withThumbnails(entry.thumbnails, photos.values());
    this.#touch(entry);
  }

  /** One batch by a cached read, for which an unchanged position is enough of an answer. */
  async #read(batchId: string): Promise<void> {
    const entry = this.#entries.get(batchId);
    if (!entry) return;
    const { signal } = this.#visit;
    this.#reading = batchId;
    try {
      const headers = { "If-None-Match": `"${entry.head.position}"` };
      const response = await fetch(addressInApi(batchId), { headers, signal, cache: "no-cache" });
      const batch = batchIn(parseRecord(await response.text()));
      if (signal.aborted) return;
      if (batch?.position !== undefined) {
        const { v, at, full, position, photos, ...head } = batch;
        this.#take(entry, { ...head, position, photos: new Map(photos.map((photo) => [photo.photoId, photo])) });
      } else if (response.status === 404) entry.connection = { state: "closed", why: "missing" };
    } catch {
      // The list, which is read again soon, tells whether the server can be reached.
    }
    if (signal.aborted) return;
    entry.readAt = Date.now();
    this.#reading = undefined;
    this.#touch(entry);
    this.#turn();
  }

  async #readList(): Promise<void> {
    const [state, { signal }] = [this.#state, this.#visit];
    state.reading = true;
    try {
      if (!isId(this.#projectId ?? "")) throw new ServerError({ status: 404, detail: this.#words.texts.noProject });
      const listing = await readListing(firstPage(this.#projectId ?? ""));
      if (signal.aborted) return;
      const isFirst = state.readAt === 0;
      // So many are new that others may be between them and those that are known.
      if (listing.nextUrl && !listing.batches.some(({ head }) => this.#entries.has(head.batchId))) this.#drop();
      // Pages that follow the first were read already, or will be.
      if (this.#entries.size === 0) state.nextUrl = listing.nextUrl;
      this.#add(listing);
      Object.assign(state, { readAt: Date.now(), failures: 0, problem: undefined });
      state.nextAt = nextListAt(state.readAt, 0, 0);
      if (isFirst) this.#announceAll();
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof ServerError)) throw error;
      state.failures += 1;
      state.problem = error.problem;
      state.nextAt = isFinal(error.problem) ? Infinity : nextListAt(Date.now(), state.failures, Math.random());
    }
    state.reading = false;
    this.#turn();
  }

  async #readMore(): Promise<void> {
    const [state, { signal }] = [this.#state, this.#visit];
    if (!state.nextUrl) return;
    this.#more.disabled = true;
    this.#moreProblem = "";
    try {
      const listing = await readListing(state.nextUrl);
      if (signal.aborted) return;
      state.nextUrl = listing.nextUrl;
      const first = listing.batches.find(({ head }) => !this.#entries.has(head.batchId));
      this.#add(listing);
      // Where a keyboard goes on.
      if (first) this.#entries.get(first.head.batchId)?.parts.item.querySelector("a")?.focus();
    } catch (error) {
      if (!(error instanceof ServerError)) throw error;
      this.#moreProblem = this.#words.texts.couldNot.more(this.#words.explain(error.problem));
    } finally {
      this.#more.disabled = false;
    }
    this.#turn();
  }

  #add({ batches }: Listing): void {
    const now = Date.now();
    for (const listed of batches) {
      const entry = this.#entries.get(listed.head.batchId) ?? this.#make(listed);
      // A batch that is read in the list need not be read by itself.
      entry.readAt = now;
      entry.thumbnails = [...new Set([...entry.thumbnails, ...listed.thumbnails])].slice(0, FRAMES);
      if (comparePositions(listed.head.position, entry.head.position) >= 0) entry.head = listed.head;
      this.#touch(entry);
    }
    this.#arrange();
  }

  #make({ head, createdAt }: Listed): Entry {
    const { batchId } = head;
    const parts = makeCard(batchId);
    const entry = { batchId, parts, createdAt, head, thumbnails: [], readAt: 0 };
    this.#entries.set(batchId, entry);
    this.#inView.observe(parts.item);
    return entry;
  }

  #arrange(): void {
    const sorted = [...this.#entries.values()].sort((a, b) => b.createdAt - a.createdAt || (a.batchId < b.batchId ? -1 : 1));
    this.#entries.clear();
    sorted.forEach((entry, index) => {
      this.#entries.set(entry.batchId, entry);
      // Moving an element that stands right would restart its pictures.
      const there = this.#list.children[index];
      if (there !== entry.parts.item) this.#list.insertBefore(entry.parts.item, there ?? null);
    });
  }

  #announceAll(): void {
    const open = [...this.#entries.values()].filter(isOpen).length;
    this.#hooks.announce(this.#entries.size > 0 ? this.#words.batches(this.#entries.size, open) : (byTestId("gallery-empty").textContent ?? ""));
  }

  #touch(entry: Entry): void {
    this.#dirty.add(entry);
    this.#draw();
  }

  /** Once a frame, however much has changed. */
  #draw(): void {
    if (this.#drawing) return;
    this.#drawing = true;
    requestAnimationFrame(() => {
      this.#drawing = false;
      this.#drawNow();
    });
  }

  #drawNow(): void {
    const now = Date.now();
    for (const entry of this.#dirty) {
      const { parts, ...model } = entry;
      drawCard(parts, { ...model, connection: entry.connection, upload: this.#hooks.uploadOf(entry.batchId) }, this.#words, new Date(now));
    }
    this.#dirty.clear();
    if (this.#visit.signal.aborted) return;
    const { readAt, problem, nextUrl } = this.#state;
    const known = readAt > 0;
    byTestId("gallery-loading").hidden = known || problem !== undefined;
    byTestId("gallery-empty").hidden = !known || this.#entries.size > 0;
    const open = [...this.#entries.values()].filter(isOpen).length;
    setText(byTestId("gallery-count"), known && this.#entries.size > 0 && !nextUrl ? this.#words.batches(this.#entries.size, open) : "");
    this.#more.hidden = !nextUrl;
    this.#drawNotice(now);
  }

  #drawNotice(now: number): void {
    const trouble = this.#trouble(now);
    if (trouble !== "" && this.#lostSince === undefined) {
      this.#lostSince = now;
      if (this.#state.problem || !navigator.onLine) this.#hooks.announce(trouble);
    } else if (trouble === "" && this.#lostSince !== undefined) {
      this.#lostSince = undefined;
      this.#backUntil = now + BACK_MS;
      this.#hooks.announce(this.#words.back);
    }
    const back = trouble === "" && now < this.#backUntil;
    const notice = byTestId("gallery-notice");
    const text = trouble || (back ? this.#words.texts.notice.back : this.#moreProblem);
    setText(notice, text);
    setAttribute(notice, "data-tone", back ? "good" : undefined);
    notice.hidden = text === "";
  }

  /** What keeps figures from being live, in words; empty when nothing does. */
  #trouble(now: number): string {
    const { readAt, problem, nextAt, reading } = this.#state;
    const { texts, explain, clock, next, notice } = this.#words;
    const retryAt = reading ? undefined : nextAt;
    if (!navigator.onLine && readAt > 0) return texts.offline(clock(readAt));
    if (problem && isFinal(problem)) return texts.listRefused(explain(problem));
    if (problem && readAt === 0) return texts.listLost(explain(problem), next(retryAt, now));
    if (problem) return texts.listOld(explain(problem), clock(readAt), next(retryAt, now));
    const lost = [...this.#entries.values()].find(({ connection }) => connection && (isStale(connection) || isCutOff(connection)));
    return lost?.connection ? notice(lost.connection, { online: navigator.onLine, retryAt: lost.retryAt, now }) : "";
  }
}

function freshState(): ListState {
  return { readAt: 0, failures: 0, nextAt: 0, reading: false };
}

function isOpen({ head, connection }: Entry): boolean {
  return !isTerminal(head.status) && connection?.state !== "closed";
}

/** Asking again gives the same answer. */
function isFinal(problem: Problem): boolean {
  return typeof problem === "object" && problem.status >= 400 && problem.status < 500 && problem.status !== 408 && problem.status !== 429;
}

function addressInApi(batchId: string): string {
  return `/api/batches/${encodeURIComponent(batchId)}`;
}

/** Frames that are filled stay as they are. */
function withThumbnails(held: readonly string[], photos: Iterable<Photo>): readonly string[] {
  const all = new Set(held);
  for (const { status, result } of photos) {
    if (all.size >= FRAMES) break;
    const path = status === "COMPLETED" ? localPath(recordOf(result)["thumbnail"]) : undefined;
    if (path) all.add(path);
  }
  return [...all];
}

function protocol(): string {
  const [navigation] = performance.getEntriesByType("navigation") as PerformanceNavigationTiming[];
  return navigation?.nextHopProtocol ?? "";
}
