// `@batchcast/client/element`: `<batch-progress src="/api/batches/ID">`, a batch as a bar with its words. Importing it defines
// the element.

import { announce, type Heard } from "./announce.ts";
import type { Connection } from "./connection.ts";
import { describe, photoStatus, spoken, type View } from "./describe.ts";
import { make, setAttribute, setPart, setText } from "./dom.ts";
import { isTerminal } from "./events.ts";
import { LOOK } from "./look.ts";
import { languageOf, type Language } from "./phrases.ts";
import { paceAfter, remaining, type Pace } from "./remaining.ts";
import type { Batch } from "./state.ts";
import { watchBatch, type Access, type BatchError } from "./watch.ts";
import type { Photo } from "./wire.ts";

/** A live region that speaks more often is switched off by its listeners. */
const PAUSE_MS = 10_000;
/** More failures stay closed also at the end. */
const FAILURES_OPEN = 8;
/** How often what only time changes is drawn: what remains, how long a connection is lost. */
const TICK_MS = 1_000;

export type BatchProgressEventMap = {
  /** Each new state, as `onProgress`. */
  readonly progress: CustomEvent<Batch>;
  readonly complete: CustomEvent<Batch>;
  readonly error: CustomEvent<BatchError>;
};

// Where there is no page, on a server, the module can be imported all the same.
const Base: typeof HTMLElement = globalThis.HTMLElement ?? (class {} as typeof HTMLElement);

/**
 * Attributes: `src`, the address of the batch; `photos`, to list them; `lang`, here or on whatever it stands in. Events:
 * `progress`, `complete`, `error`, whose `detail` is what `watchBatch` gives its listener.
 */
export class BatchProgressElement extends Base {
  static readonly observedAttributes = ["src", "photos", "lang"];

  #access: Access = {};
  #nameOf: (photo: Photo) => string = nameIn;
  #batch: Batch | undefined;
  #connection: Connection = { state: "connecting" };
  #pace: Pace | undefined;
  #heard: Heard | undefined;
  /** Photos to draw again; `undefined`: all. */
  #changed: Set<string> | undefined = new Set();
  #tiles = new Map<string, { readonly item: HTMLElement; readonly name: HTMLElement; readonly status: HTMLElement }>();
  #drawnFailures = "";
  #parts: Parts | undefined;
  #stop: (() => void) | undefined;
  #starting = false;
  #drawing = false;
  #language: Language = languageOf("en");

  /** As `token` of `watchBatch`. */
  get token(): Access["token"] { return this.#access.token; }
  set token(token: Access["token"]) { this.#grant({ token }); }

  /** As `ticket` of `watchBatch`. */
  get ticket(): Access["ticket"] { return this.#access.ticket; }
  set ticket(ticket: Access["ticket"]) { this.#grant({ ticket }); }

  /** As `fetch` of `watchBatch`. */
  get fetch(): Access["fetch"] { return this.#access.fetch; }
  set fetch(given: Access["fetch"]) { this.#grant({ fetch: given }); }

  get src(): string { return this.getAttribute("src") ?? ""; }
  set src(src: string) { this.setAttribute("src", src); }

  get photos(): boolean { return this.hasAttribute("photos"); }
  set photos(photos: boolean) { this.toggleAttribute("photos", photos); }

  /** What a photo is called; its result's `name`, else its id, where nothing is set. */
  get nameOf(): (photo: Photo) => string { return this.#nameOf; }
  set nameOf(nameOf: (photo: Photo) => string) {
    this.#nameOf = nameOf;
    this.#changed = undefined;
    this.#draw();
  }

  /** The state that is shown. */
  get batch(): Batch | undefined { return this.#batch; }

  connectedCallback(): void {
    if (!this.#parts) {
      const root = this.attachShadow({ mode: "open" });
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(LOOK);
      // Made, not written as a style element: a page's content security policy lets it be.
      root.adoptedStyleSheets = [sheet];
      this.#parts = makeParts();
      root.append(this.#parts.body);
      this.#upgrade();
    }
    this.#restart();
  }

  disconnectedCallback(): void {
    this.#restart();
  }

  attributeChangedCallback(name: string, before: string | null, after: string | null): void {
    if (name === "src" && before !== after) return this.#restart();
    this.#changed = undefined;
    this.#draw();
  }

  override addEventListener<K extends keyof BatchProgressEventMap>(
    type: K, listener: (event: BatchProgressEventMap[K]) => void, options?: boolean | AddEventListenerOptions,
  ): void;
  override addEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions): void;
  override addEventListener(type: string, listener: unknown, options?: boolean | AddEventListenerOptions): void {
    super.addEventListener(type, listener as EventListenerOrEventListenerObject, options);
  }

  /** What a page set before the element was defined hides the accessors until it is set anew. */
  #upgrade(): void {
    for (const name of ["src", "photos", "token", "ticket", "fetch", "nameOf"] as const) {
      if (!Object.hasOwn(this, name)) continue;
      const value: unknown = this[name];
      delete (this as Record<string, unknown>)[name];
      Object.assign(this, { [name]: value });
    }
  }

  #grant(access: Access): void {
    this.#access = { ...this.#access, ...access };
    this.#restart();
  }

  /** Once, after all that a page sets together. */
  #restart(): void {
    if (this.#starting) return;
    this.#starting = true;
    queueMicrotask(() => {
      this.#starting = false;
      this.#stop?.();
      this.#stop = this.isConnected && this.src !== "" ? this.#watch() : undefined;
    });
  }

  #watch(): () => void {
    this.#batch = this.#pace = this.#heard = this.#changed = undefined;
    this.#connection = { state: "connecting" };
    const stop = watchBatch(this.src, {
      ...this.#access,
      onConnection: (connection) => {
        this.#connection = connection;
        this.#draw();
      },
      onProgress: (batch, changed) => {
        this.#batch = batch;
        this.#pace = paceAfter(this.#pace, batch.counts.completed + batch.counts.failed, Date.now());
        for (const photoId of changed) this.#changed?.add(photoId);
        this.#draw();
        this.dispatchEvent(new CustomEvent("progress", { detail: batch }));
      },
      onComplete: (batch) => {
        this.#changed = undefined;
        this.#draw();
        this.dispatchEvent(new CustomEvent("complete", { detail: batch }));
      },
      onError: (error) => void this.dispatchEvent(new CustomEvent("error", { detail: error })),
    });
    const tick = setInterval(() => this.#draw(), TICK_MS);
    this.#draw();
    return () => {
      stop();
      clearInterval(tick);
    };
  }

  #draw(): void {
    const parts = this.#parts;
    if (this.#drawing || !parts) return;
    this.#drawing = true;
    requestAnimationFrame(() => {
      this.#drawing = false;
      this.#drawNow(parts);
    });
  }

  #drawNow(parts: Parts): void {
    const [batch, connection, now] = [this.#batch, this.#connection, Date.now()];
    this.#language = languageOf(this.closest("[lang]")?.getAttribute("lang") || document.documentElement.lang);
    const left = batch ? batch.counts.queued + batch.counts.processing : 0;
    const view = describe({
      batch, connection, nameOf: this.#nameOf,
      remaining: this.#pace && remaining(this.#pace, left, now),
    }, this.#language);
    this.#drawHead(parts, view);
    this.#drawPhotos(parts, batch);
    this.#drawFailures(parts, view);
    this.#speak(parts, view, batch, now);
  }

  #drawHead({ body, bar, figure, words, remaining, note }: Parts, view: View): void {
    setAttribute(body, "data-state", view.state);
    setAttribute(body, "data-stale", view.stale ? "" : undefined);
    setText(figure, view.figure);
    setText(words, view.words);
    setText(remaining, view.remaining);
    setAttribute(bar, "aria-label", this.getAttribute("aria-label") ?? this.#language.phrases.label);
    setAttribute(bar, "aria-valuenow", view.progress === undefined ? undefined : String(view.progress));
    setAttribute(bar, "aria-valuetext", [view.figure, view.words].filter((part) => part !== "").join(": "));
    setPart(bar, (view.progress ?? 0) / 100);
    setPart(bar, view.failedPart, "--failed-part");
    setText(note, view.note);
    note.hidden = view.note === "";
  }

  #drawPhotos({ photos: list }: Parts, batch: Batch | undefined): void {
    const changed = this.#changed;
    this.#changed = new Set();
    list.hidden = !this.photos || !batch;
    if (!this.photos || !batch) {
      // They come back whole.
      this.#changed = undefined;
      return;
    }
    for (const [photoId, { item }] of this.#tiles) {
      if (batch.photos.has(photoId)) continue;
      item.remove();
      this.#tiles.delete(photoId);
    }
    for (const photoId of changed ?? batch.photos.keys()) {
      const photo = batch.photos.get(photoId);
      if (photo) this.#drawPhoto(list, photo, batch);
    }
  }

  #drawPhoto(list: HTMLElement, photo: Photo, batch: Batch): void {
    const tile = this.#tiles.get(photo.photoId) ?? this.#makeTile(list, photo.photoId);
    const status = photoStatus(photo, batch);
    const name = this.#nameOf(photo);
    setAttribute(tile.item, "data-status", status);
    setAttribute(tile.item, "part", `photo photo-${status.toLowerCase()}`);
    setText(tile.name, name);
    setText(tile.status, `: ${this.#language.phrases.photo[status]}`);
    setAttribute(tile.item, "title", `${name}: ${this.#language.phrases.photo[status]}${photo.error ? `, ${photo.error}` : ""}`);
  }

  #makeTile(list: HTMLElement, photoId: string) {
    const [name, status] = [make("span", "name"), make("span", "unseen")];
    const item = make("li", "photo", make("span", "mark"), name, status);
    list.append(item);
    const tile = { item, name, status };
    this.#tiles.set(photoId, tile);
    return tile;
  }

  #drawFailures({ failures: details, failuresTitle, failuresList }: Parts, view: View): void {
    details.hidden = view.failures.length === 0;
    const drawn = JSON.stringify([view.state, view.failures, view.failuresTitle, view.failuresMore]);
    if (drawn === this.#drawnFailures) return;
    this.#drawnFailures = drawn;
    setText(failuresTitle, view.failuresTitle);
    const rows = view.failures.map(({ name, reason }) => make("li", "failure", name, make("span", "reason", ` — ${reason}`)));
    if (view.failuresMore !== "") rows.push(make("li", "reason", view.failuresMore));
    failuresList.replaceChildren(...rows);
    // At the end they are what is left to look at; before, a list that grows would push the page about.
    if (hasEnded(view) && view.failures.length <= FAILURES_OPEN) details.open = true;
  }

  #speak({ live }: Parts, view: View, batch: Batch | undefined, now: number): void {
    const progress = batch && !isTerminal(batch.status) ? batch.progress : undefined;
    const { heard, say } = announce(this.#heard, { progress, connection: this.#connection, ended: hasEnded(view), now, pauseMs: PAUSE_MS });
    this.#heard = heard;
    if (say) live.textContent = spoken(say, view, this.#language);
  }
}

if (globalThis.customElements && !customElements.get("batch-progress")) customElements.define("batch-progress", BatchProgressElement);

declare global {
  interface HTMLElementTagNameMap {
    "batch-progress": BatchProgressElement;
  }
}

type Parts = Record<"body" | "figure" | "words" | "remaining" | "bar" | "note" | "photos" | "failuresTitle" | "failuresList" | "live", HTMLElement>
  & { readonly failures: HTMLDetailsElement };

/** Made by hand, not from HTML: a page may want all HTML in scripts to be trusted first. */
function makeParts(): Parts {
  const part = <K extends keyof HTMLElementTagNameMap>(tag: K, name: string, ...children: Node[]): HTMLElementTagNameMap[K] => {
    const element = make(tag, name, ...children);
    element.setAttribute("part", name);
    return element;
  };
  const [figure, words, remaining] = [part("span", "figure"), part("span", "words"), part("span", "remaining")];
  const bar = part("div", "bar", part("div", "fill"), part("div", "failed"));
  const note = part("p", "note");
  const photos = part("ul", "photos");
  const [failuresTitle, failuresList] = [part("summary", "failures-title"), make("ul", "")];
  const failures = part("details", "failures", failuresTitle, failuresList);
  const live = make("div", "unseen");
  const body = part("div", "body", part("div", "head", figure, words, remaining), bar, note, photos, failures, live);
  const fixed: [Element, Record<string, string>][] = [
    [bar, { role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100" }], [photos, { role: "list" }], [live, { role: "status" }],
  ];
  for (const [element, attributes] of fixed) for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  note.hidden = photos.hidden = failures.hidden = true;
  return { body, figure, words, remaining, bar, note, photos, failures, failuresTitle, failuresList, live };
}

function hasEnded({ state }: View): boolean {
  return state !== "asking" && state !== "open";
}

function nameIn({ photoId, result }: Photo): string {
  const name = typeof result === "object" && result !== null && "name" in result ? result.name : undefined;
  return typeof name === "string" && name !== "" ? name : photoId;
}
