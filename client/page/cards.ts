// One card a batch: a contact sheet of a few of its photos, a bar, and how far it is in words.

import { isCutOff, type Connection } from "../src/connection.ts";
import { make, setAttribute, setPart, setText } from "../src/dom.ts";
import { isTerminal } from "../src/events.ts";
import { addressOf } from "./route.ts";
import type { Head } from "./shown.ts";
import type { Words } from "./words.ts";

/** Photos of a contact sheet. */
export const FRAMES = 4;

export type CardModel = {
  readonly head: Head;
  readonly createdAt: number;
  readonly thumbnails: readonly string[];
  /** Of its stream, where it has one. */
  readonly connection: Connection | undefined;
  /** In words, while this page uploads into it. */
  readonly upload: string | undefined;
};

export type CardParts = ReturnType<typeof makeCard>;

export function makeCard(batchId: string) {
  const frames = Array.from({ length: FRAMES }, () => make("span", "cell"));
  const sheet = make("div", "sheet", ...frames);
  sheet.ariaHidden = "true";
  const [photos, time] = [make("span", "card-photos"), make("span", "card-time")];
  const link = make("a", "card-link", photos, " ", time);
  link.href = addressOf({ face: "batch", batchId });
  const bar = make("div", "card-bar", make("div", "card-fill"), make("div", "card-failed"), make("div", "card-dropped"));
  for (const [name, value] of [["role", "progressbar"], ["aria-valuemin", "0"], ["aria-valuemax", "100"]] as const) bar.setAttribute(name, value);
  const [status, upload] = [make("p", "card-status"), make("p", "card-upload")];
  const item = make("li", "card", sheet, make("h3", "card-title", link), bar, status, upload);
  item.dataset["testid"] = "card";
  item.dataset["batchId"] = batchId;
  return { item, frames, photos, time, bar, status, upload };
}

export function drawCard(parts: CardParts, { head, createdAt, thumbnails, connection, upload }: CardModel, words: Words, now: Date): void {
  const { item, frames, bar } = parts;
  const { total, completed, failed, queued, processing } = head.counts;
  const closed = connection?.state === "closed" ? connection.why : undefined;
  const part = (count: number): number => (total > 0 ? count / total : 0);
  setAttribute(item, "data-status", closed ? "CLOSED" : head.status);
  setAttribute(item, "data-live", connection?.state === "live" ? "" : undefined);
  setAttribute(item, "data-old", connection && (isCutOff(connection) || connection.state === "behind") ? "" : undefined);
  setText(parts.photos, words.photos(total));
  setText(parts.time, words.when(new Date(createdAt), now));
  setAttribute(bar, "aria-label", words.texts.analysed);
  setAttribute(bar, "aria-valuenow", String(head.progress));
  setPart(bar, head.progress / 100);
  setPart(bar, part(failed), "--failed");
  setPart(bar, isTerminal(head.status) ? part(queued + processing) : 0, "--dropped");
  setText(parts.status, closed ? words.closed(closed) : words.counts(head));
  setText(parts.upload, upload ?? "");
  parts.upload.hidden = !upload;
  drawFrames(frames, thumbnails, Math.min(FRAMES, total), completed);
}

/** As many frames as there are photos to come; those that are done have their picture. */
function drawFrames(frames: readonly HTMLElement[], thumbnails: readonly string[], used: number, completed: number): void {
  frames.forEach((frame, index) => {
    frame.toggleAttribute("data-used", index < used);
    frame.toggleAttribute("data-done", index < Math.min(used, completed));
    const url = thumbnails[index];
    const picture = frame.firstElementChild as HTMLImageElement | null;
    if (!url || picture?.getAttribute("src") === url) return;
    const image = make("img", "");
    image.alt = "";
    image.loading = "lazy";
    image.decoding = "async";
    image.addEventListener("load", () => void (image.dataset["loaded"] = ""));
    image.addEventListener("error", () => image.remove());
    image.src = url;
    frame.replaceChildren(image);
  });
}
