// The page's two faces, home and batch, drawn from plain values. Structure stands in index.html, words in words.ts.

import { isCutOff, type Connection } from "../src/connection.ts";
import { byTestId, make, setAttribute, setPart, setText } from "../src/dom.ts";
import { isTerminal } from "../src/events.ts";
import type { Head, Shown } from "./shown.ts";
import type { Upload } from "./upload.ts";
import { barText, notice, pageTitle, photos, pill, statusLine, uploadLine, type Outcome } from "./words.ts";

/** Failures listed openly; the others wait behind a click. */
const FAILURES_SHOWN = 8;

export type BatchModel = {
  readonly batchId: string;
  readonly replica: Shown;
  readonly connection: Connection;
  readonly outcome: Outcome | undefined;
  readonly uploads: ReadonlyMap<string, Upload> | undefined;
  readonly now: number;
};

export type View = ReturnType<typeof createView>;

export function createView() {
  const home = byTestId("home");
  const batch = byTestId("batch");
  const heading = byTestId("heading");
  const batchId = byTestId("batch-id");
  const connection = byTestId("connection");
  const meter = byTestId("meter");
  const bar = byTestId("progressbar");
  const figure = byTestId("figure");
  const status = byTestId("status");
  const counts = byTestId("counts");
  const line = byTestId("upload-line");
  const lineText = byTestId("upload-text");
  const lineBar = byTestId("upload-bar");
  const retryAll = byTestId("retry-all");
  const warning = byTestId("notice");
  const end = byTestId("end-banner");
  const endTitle = byTestId("end-title");
  const endAdvice = byTestId("end-advice");
  const failures = byTestId("failures");
  const again = byTestId("end-new-batch");
  const live = byTestId("live-region");
  const problem = byTestId("problem");
  const drop = byTestId("drop");
  const pending = byTestId("pending");
  const newBatch = byTestId("new-batch");
  let drawnOutcome: Outcome["kind"] | undefined;

  function show(face: "home" | "batch"): void {
    home.hidden = face !== "home";
    batch.hidden = face !== "batch";
    newBatch.hidden = face === "home";
    connection.hidden = face === "home";
  }

  return {
    tiles: byTestId("tiles"),
    input: byTestId<HTMLInputElement>("file-input"),
    retryAll,

    showHome(running: readonly { readonly batchId: string; readonly text: string }[]): void {
      show("home");
      document.title = "Batchcast";
      delete document.documentElement.dataset["phase"];
      pending.replaceChildren(...running.map(({ batchId, text }) => {
        const link = make("a", "", `Batch ${batchId}`);
        link.href = `/batches/${batchId}`;
        return make("li", "", link, ` ${text}`);
      }));
      pending.hidden = running.length === 0;
    },

    showBatch(id: string): void {
      show("batch");
      setText(batchId, id);
      drawnOutcome = undefined;
      end.hidden = true;
      delete end.dataset["outcome"];
    },

    /** Where a keyboard or screen reader goes on after the page has changed its face. */
    focusHeading(): void {
      (batch.hidden ? byTestId("home-heading") : heading).focus({ preventScroll: true });
      scrollTo(0, 0);
    },

    /** `undefined`: nothing is being made, and nothing went wrong. */
    drawCreating(state: { readonly busy: number } | { readonly problem: string } | undefined): void {
      const busy = state !== undefined && "busy" in state;
      setAttribute(drop, "data-busy", busy ? "" : undefined);
      byTestId<HTMLInputElement>("file-input").disabled = busy;
      setText(byTestId("drop-title"), busy ? `Starting a batch of ${photos(state.busy)}` : "Choose photos");
      setText(problem, state !== undefined && "problem" in state ? state.problem : "");
    },

    draw(model: BatchModel): void {
      const { replica, uploads, outcome } = model;
      const head = replica.head;
      const lost = outcome !== undefined && !head;
      document.title = pageTitle(replica, model.connection);
      setAttribute(document.documentElement, "data-phase", outcome?.kind ?? "working");

      const total = head?.counts.total ?? uploads?.size;
      setText(heading, total === undefined ? "Batch" : photos(total));
      const { state, label } = pill(model.connection, model.now);
      setAttribute(connection, "data-connection", state);
      // The bar shows it too: it stays in sight when the words above have scrolled away.
      setAttribute(meter, "data-old", isCutOff(model.connection) || state === "behind" ? "" : undefined);
      setText(connection, label);

      meter.hidden = lost;
      setAttribute(bar, "aria-valuenow", head ? String(head.progress) : undefined);
      setAttribute(bar, "aria-valuetext", barText(head));
      setPart(bar, (head?.progress ?? 0) / 100);
      setPart(bar, partOf(head, head?.counts.failed), "--failed");
      setPart(bar, head && isTerminal(head.status) ? partOf(head, unfinished(head)) : 0, "--dropped");
      setText(figure, head ? String(head.progress) : "–");
      setText(status, lost ? "" : statusLine(replica, model.connection));
      drawCounts(replica);
      drawUploads(uploads, outcome);

      const warned = outcome ? "" : notice(model.connection, navigator.onLine);
      setText(warning, warned);
      warning.hidden = warned === "";
      drawEnd(outcome);
    },

    announce(words: string): void {
      setText(live, words);
    },
  };

  function drawCounts({ head }: Shown): void {
    counts.hidden = !head;
    if (!head) return;
    const ended = isTerminal(head.status);
    const { completed, processing, failed, queued } = head.counts;
    drawCount("completed", completed);
    drawCount("processing", ended ? undefined : processing);
    // Nobody waits in a batch that has ended: what is left was dropped, as in a cancelled one.
    drawCount("queued", ended ? unfinished(head) || undefined : queued);
    drawCount("failed", failed);
    setText(byTestId("label-queued", counts), ended ? "Not analysed" : "Waiting");
  }

  /** `undefined` hides it. */
  function drawCount(key: string, count: number | undefined): void {
    const item = byTestId(`count-${key}`, counts);
    const row = item.parentElement ?? item;
    row.hidden = count === undefined;
    setText(item, String(count ?? 0));
    setAttribute(row, "data-none", count === 0 ? "" : undefined);
  }

  function drawUploads(uploads: ReadonlyMap<string, Upload> | undefined, outcome: Outcome | undefined): void {
    line.hidden = !uploads || outcome !== undefined;
    if (!uploads || outcome) return;
    const { text, part, unsent, done } = uploadLine(uploads.values());
    setText(lineText, text);
    setPart(lineBar, part);
    setAttribute(lineBar, "aria-valuenow", String(Math.floor(part * 100)));
    setAttribute(lineBar, "aria-valuetext", text);
    setAttribute(line, "data-done", done ? "" : undefined);
    retryAll.hidden = unsent === 0;
  }

  function drawEnd(outcome: Outcome | undefined): void {
    if (outcome?.kind === drawnOutcome) return;
    drawnOutcome = outcome?.kind;
    end.hidden = !outcome;
    if (!outcome) return;
    end.dataset["outcome"] = outcome.kind;
    setText(endTitle, outcome.title);
    setText(endAdvice, outcome.advice);
    again.hidden = outcome.kind === "expired" || outcome.kind === "denied";
    failures.replaceChildren(...failureLists(outcome));
  }
}

function unfinished({ counts }: Head): number {
  return counts.queued + counts.processing;
}

function partOf(head: Head | undefined, count = 0): number {
  return head && head.counts.total > 0 ? count / head.counts.total : 0;
}

function failureLists({ failures }: Outcome): HTMLElement[] {
  const rows = failures.map(({ photoId, name, reason }) => {
    const link = make("a", "", name);
    link.href = `#photo-${photoId}`;
    return make("li", "", link, ` — ${reason}`);
  });
  const open = rows.slice(0, FAILURES_SHOWN);
  const rest = rows.slice(FAILURES_SHOWN);
  const lists: HTMLElement[] = open.length === 0 ? [] : [make("ul", "", ...open)];
  if (rest.length > 0) lists.push(make("details", "", make("summary", "", `and ${rest.length} more`), make("ul", "", ...rest)));
  return lists;
}
