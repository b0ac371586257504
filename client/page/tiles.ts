// One tile a photo. Only tiles that changed are drawn, only those near the screen get a preview, and of thousands the first
// few hundred are made, more as the reader comes near their end.

import { byTestId, make, setAttribute, setPart, setText } from "../src/dom.ts";
import { makePreview } from "./preview.ts";
import type { Tile, Words } from "./words.ts";

const THUMBNAIL_RETRIES = 2;
const THUMBNAIL_RETRY_MS = 2_000;
/** Tiles made at first, and each time more are wanted. */
const PORTION = 480;

export type TileSource = {
  tile(photoId: string): Tile;
  file(photoId: string): File | undefined;
  retry(photoId: string): void;
};

type Parts = {
  readonly item: HTMLLIElement;
  readonly paper: HTMLElement;
  readonly number: HTMLElement;
  readonly name: HTMLElement;
  readonly label: HTMLElement;
  readonly detail: HTMLElement;
  retry?: HTMLButtonElement | undefined;
  preview?: HTMLImageElement | undefined;
  thumbnail?: HTMLImageElement | undefined;
};

export class Tiles {
  readonly #list: HTMLElement;
  readonly #source: TileSource;
  readonly #parts = new Map<string, Parts>();
  readonly #near: IntersectionObserver;
  readonly #more = byTestId<HTMLButtonElement>("more-photos");
  readonly #nearEnd: IntersectionObserver;
  readonly #stop = new AbortController();
  readonly #words: Words;
  #order: readonly string[] = [];
  #most = PORTION;
  #closed = false;

  constructor(list: HTMLElement, words: Words, source: TileSource) {
    this.#list = list;
    this.#words = words;
    this.#source = source;
    list.replaceChildren();
    this.#more.addEventListener("click", () => this.#showMore(true), { signal: this.#stop.signal });
    this.#nearEnd = new IntersectionObserver(([end]) => end?.isIntersecting && this.#showMore(false), { rootMargin: "1200px" });
    this.#near = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        if (isIntersecting && target instanceof HTMLElement) void this.#preview(target);
      }
    }, { rootMargin: "300px" });
  }

  /** Draws `changed`, after making the list hold exactly `order`. */
  draw(order: readonly string[], changed: Iterable<string>): void {
    this.#order = order;
    const added = this.#arrange(order.slice(0, this.#most));
    this.#more.hidden = order.length <= this.#most;
    if (this.#more.hidden) this.#nearEnd.unobserve(this.#more);
    else this.#nearEnd.observe(this.#more);
    for (const photoId of new Set([...added, ...changed])) {
      const parts = this.#parts.get(photoId);
      if (parts) this.#drawOne(photoId, parts);
    }
  }

  /** Has the tile of this photo made, and those before it. */
  reveal(photoId: string): void {
    this.#most = Math.max(this.#most, this.#order.indexOf(photoId) + 1);
  }

  #showMore(focus: boolean): void {
    const next = this.#order[this.#most];
    this.#most += PORTION;
    // Told anew where its end is now, also when that is in sight again.
    this.#nearEnd.unobserve(this.#more);
    this.draw(this.#order, []);
    if (focus && next !== undefined) this.#parts.get(next)?.item.focus();
  }

  close(): void {
    this.#closed = true;
    this.#stop.abort();
    this.#more.hidden = true;
    this.#near.disconnect();
    this.#nearEnd.disconnect();
    for (const parts of this.#parts.values()) dropPreview(parts);
    this.#parts.clear();
    this.#list.replaceChildren();
  }

  #arrange(order: readonly string[]): string[] {
    const same = order.length === this.#parts.size && order.every((photoId) => this.#parts.has(photoId));
    if (same) return [];
    const added = order.filter((photoId) => !this.#parts.has(photoId));
    const wanted = new Set(order);
    for (const [photoId, parts] of this.#parts) {
      if (wanted.has(photoId)) continue;
      this.#near.unobserve(parts.item);
      dropPreview(parts);
      parts.item.remove();
      this.#parts.delete(photoId);
    }
    for (const photoId of added) this.#parts.set(photoId, this.#make(photoId));
    order.forEach((photoId, index) => {
      const parts = this.#parts.get(photoId);
      if (!parts) return;
      setText(parts.number, String(index + 1));
      // Moving an element that stands right would restart its picture.
      if (this.#list.children[index] !== parts.item) this.#list.insertBefore(parts.item, this.#list.children[index] ?? null);
    });
    return added;
  }

  #make(photoId: string): Parts {
    const number = make("span", "tile-number");
    number.ariaHidden = "true";
    const paper = make("div", "paper");
    const frame = make("div", "frame", number, paper);
    const name = make("span", "tile-name");
    const label = make("span", "tile-label");
    const detail = make("span", "tile-detail");
    const item = make("li", "tile", frame, name, make("span", "tile-state", label, detail));
    item.id = `photo-${photoId}`;
    item.tabIndex = -1;
    item.dataset["testid"] = "tile";
    item.dataset["photoId"] = photoId;
    this.#near.observe(item);
    return { item, paper, number, name, label, detail };
  }

  #drawOne(photoId: string, parts: Parts): void {
    const tile = this.#source.tile(photoId);
    setAttribute(parts.item, "data-status", tile.status);
    setAttribute(parts.name, "title", tile.name);
    setText(parts.name, tile.name);
    setText(parts.label, tile.label);
    setText(parts.detail, tile.detail);
    setAttribute(parts.detail, "title", tile.detail || undefined);
    setPart(parts.paper, tile.part ?? 0);
    this.#drawRetry(photoId, parts, tile);
    if (tile.thumbnail && !parts.thumbnail) this.#showThumbnail(parts, tile.thumbnail);
    if (tile.status === "FAILED") this.#near.unobserve(parts.item);
  }

  #drawRetry(photoId: string, parts: Parts, tile: Tile): void {
    const wanted = tile.status === "UNSENT";
    if (wanted === (parts.retry !== undefined)) return;
    if (!wanted) {
      const hadFocus = document.activeElement === parts.retry;
      parts.retry?.remove();
      parts.retry = undefined;
      // Focus must not fall back to the top of the page.
      if (hadFocus) parts.item.focus({ preventScroll: true });
      return;
    }
    const retry = make("button", "tile-retry", this.#words.texts.again);
    retry.type = "button";
    retry.setAttribute("aria-label", this.#words.texts.againFor(tile.name));
    retry.addEventListener("click", () => this.#source.retry(photoId));
    parts.item.append(retry);
    parts.retry = retry;
  }

  async #preview(item: HTMLElement): Promise<void> {
    this.#near.unobserve(item);
    const photoId = item.dataset["photoId"] ?? "";
    const parts = this.#parts.get(photoId);
    const file = this.#source.file(photoId);
    const wanted = (): boolean => !this.#closed && parts?.thumbnail?.dataset["loaded"] === undefined;
    if (!parts || !file || !wanted()) return;
    const url = await makePreview(file, wanted);
    if (url === undefined) return;
    if (!wanted()) return URL.revokeObjectURL(url);
    parts.preview = picture("preview", url);
    parts.paper.prepend(parts.preview);
  }

  #showThumbnail(parts: Parts, url: string, attempt = 0): void {
    const image = picture("thumbnail", url);
    parts.thumbnail = image;
    image.addEventListener("load", () => {
      image.dataset["loaded"] = "";
      // The thumbnail fades in over the preview, which may go once it is covered.
      setTimeout(() => dropPreview(parts), THUMBNAIL_RETRY_MS);
    });
    image.addEventListener("error", () => {
      image.remove();
      if (attempt >= THUMBNAIL_RETRIES || this.#closed) return;
      setTimeout(() => {
        if (!this.#closed) this.#showThumbnail(parts, url, attempt + 1);
      }, THUMBNAIL_RETRY_MS * (attempt + 1));
    });
    parts.paper.append(image);
  }
}

function picture(className: string, url: string): HTMLImageElement {
  const image = make("img", className);
  // The name beside it says what it shows; a second time would only be noise.
  image.alt = "";
  image.decoding = "async";
  image.loading = "lazy";
  image.src = url;
  return image;
}

function dropPreview(parts: Parts): void {
  if (!parts.preview) return;
  URL.revokeObjectURL(parts.preview.src);
  parts.preview.remove();
  parts.preview = undefined;
}
