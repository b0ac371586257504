// The page's faces, a project and a batch, drawn from plain values. Structure stands in index.html, words in words.ts.

import { isCutOff, type Connection } from "../src/connection.ts";
import { byTestId, make, setAttribute, setPart, setText } from "../src/dom.ts";
import { isTerminal } from "../src/events.ts";
import type { Head, Shown } from "./shown.ts";
import type { Upload } from "./upload.ts";
import type { Remaining } from "../src/remaining.ts";
import type { Refused } from "./choose.ts";
import type { Outcome, Words } from "./words.ts";

/** Failures listed openly; the others wait behind a click. */
const FAILURES_SHOWN = 8;

export type BatchModel = {
  readonly batchId: string;
  readonly replica: Shown;
  readonly connection: Connection;
  readonly retryAt: number | undefined;
  readonly left: Remaining | undefined;
  /** The connection was lost until a moment ago. */
  readonly isBack: boolean;
  readonly outcome: Outcome | undefined;
  readonly uploads: ReadonlyMap<string, Upload> | undefined;
  readonly now: number;
};

export type View = ReturnType<typeof createView>;

export function createView(words: Words) {
  const project = byTestId("project");
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
  const retryFailed = byTestId<HTMLButtonElement>("retry-failed");
  const more = byTestId("upload-more");
  const cancel = byTestId<HTMLButtonElement>("cancel");
  const dialog = byTestId<HTMLDialogElement>("cancel-dialog");
  const leftOut = byTestId("left-out");
  const live = byTestId("live-region");
  const problem = byTestId("problem");
  const drop = byTestId("drop");
  const projectHeading = byTestId("project-heading");
  const allBatches = byTestId<HTMLAnchorElement>("all-batches");
  const endAllBatches = byTestId<HTMLAnchorElement>("end-all-batches");
  /** The end that is drawn: its kind and position. */
  let drawnEnd: string | undefined;

  cancel.addEventListener("click", () => dialog.showModal());
  byTestId("cancel-keep").addEventListener("click", () => dialog.close());
  byTestId("left-out-dismiss").addEventListener("click", () => {
    leftOut.hidden = true;
    focusHeading();
  });

  function show(face: "project" | "batch"): void {
    project.hidden = face !== "project";
    batch.hidden = face !== "batch";
    allBatches.hidden = face === "project";
    connection.hidden = face === "project";
    if (dialog.open) dialog.close();
    drawAction({ busy: false });
  }

  /** Where a keyboard or screen reader goes on after the page has changed its face. */
  function focusHeading(): void {
    (batch.hidden ? projectHeading : heading).focus({ preventScroll: true });
    scrollTo(0, 0);
  }

  /** How it stands with something that the reader has asked for. */
  function drawAction({ busy, problem = "" }: { readonly busy: boolean; readonly problem?: string }): void {
    retryFailed.disabled = cancel.disabled = busy;
    setText(byTestId("action-problem"), problem);
  }

  return {
    tiles: byTestId("tiles"),
    input: byTestId<HTMLInputElement>("file-input"),
    moreInput: byTestId<HTMLInputElement>("more-input"),
    copyLink: byTestId("copy-link"),
    retryAll,
    retryFailed,
    focusHeading,
    drawAction,

    /** Says in the reader's language what index.html says in English. */
    translate(language: string): void {
      document.documentElement.lang = language;
      const { page } = words.texts;
      for (const element of document.querySelectorAll<HTMLElement>("[data-text], [data-label]")) {
        const { text, label } = element.dataset;
        const [said, named] = [text && page[text], label && page[label]];
        if (said) element.textContent = said;
        if (named) element.ariaLabel = named;
      }
    },

    onCancel(confirmed: () => void): void {
      byTestId("cancel-yes").addEventListener("click", () => {
        dialog.close();
        confirmed();
      });
    },

    /** `undefined`: that of the start page. */
    showProject(name: string | undefined): void {
      show("project");
      const title = name === undefined ? words.texts.headline : words.texts.project(name);
      project.toggleAttribute("data-home", name === undefined);
      setText(projectHeading, title);
      document.title = name === undefined ? "Batchcast" : `${title} · Batchcast`;
      delete document.documentElement.dataset["phase"];
    },

    showBatch(id: string, projectAddress: string): void {
      show("batch");
      setText(batchId, id);
      allBatches.href = endAllBatches.href = projectAddress;
      drawnEnd = undefined;
      end.hidden = true;
      delete end.dataset["outcome"];
    },

    /** Chosen files that are not uploaded, and why. */
    drawLeftOut(refused: readonly Refused[]): void {
      leftOut.hidden = refused.length === 0;
      if (refused.length === 0) return;
      const { title, lines } = words.leftOut(refused);
      setText(byTestId("left-out-title"), title);
      const shown = lines.slice(0, FAILURES_SHOWN);
      const rest = lines.length - shown.length;
      const items = [...shown, ...(rest > 0 ? [words.more(rest)] : [])].map((line) => make("li", "", line));
      byTestId("left-out-files").replaceChildren(...items);
      // Told with the files that it is about.
      setText(live, [title, ...shown].join(". "));
    },

    /** `undefined`: nothing is being made, and nothing went wrong. */
    drawCreating(state: { readonly busy: number } | { readonly problem: string } | undefined): void {
      const busy = state !== undefined && "busy" in state;
      setAttribute(drop, "data-busy", busy ? "" : undefined);
      this.input.disabled = this.moreInput.disabled = busy;
      setText(byTestId("drop-title"), busy ? words.starting(state.busy) : words.texts.choose);
      const why = state !== undefined && "problem" in state ? state.problem : "";
      setText(problem, batch.hidden ? why : "");
      setText(byTestId("action-problem"), batch.hidden ? "" : why);
      if (busy) setText(live, words.starting(state.busy));
    },

    draw(model: BatchModel): void {
      const { replica, uploads, outcome, now } = model;
      const head = replica.head;
      const lost = outcome !== undefined && !head;
      document.title = words.pageTitle(replica, model.connection);
      setAttribute(document.documentElement, "data-phase", outcome?.kind ?? "working");

      const total = head?.counts.total ?? uploads?.size;
      setText(heading, total === undefined ? words.texts.batch : words.photos(total));
      const { state, label } = words.pill(model.connection, now);
      setAttribute(connection, "data-connection", state);
      // The bar shows it too: it stays in sight when the words above have scrolled away.
      setAttribute(meter, "data-old", isCutOff(model.connection) || state === "behind" ? "" : undefined);
      setText(connection, label);

      meter.hidden = lost;
      setAttribute(bar, "aria-valuenow", head ? String(head.progress) : undefined);
      setAttribute(bar, "aria-valuetext", words.barText(head));
      setPart(bar, (head?.progress ?? 0) / 100);
      setPart(bar, partOf(head, head?.counts.failed), "--failed");
      setPart(bar, head && isTerminal(head.status) ? partOf(head, unfinished(head)) : 0, "--dropped");
      setText(figure, head ? String(head.progress) : "–");
      setText(status, lost ? "" : words.statusLine(replica, model.connection, model.left));
      drawCounts(replica);
      drawUploads(uploads, outcome);

      cancel.hidden = outcome !== undefined || !head;
      if (cancel.hidden && dialog.open) dialog.close();

      const warned = outcome ? "" : words.notice(model.connection, { online: navigator.onLine, retryAt: model.retryAt, now });
      const isBack = warned === "" && model.isBack && !outcome;
      setText(warning, isBack ? words.texts.notice.back : warned);
      setAttribute(warning, "data-tone", isBack ? "good" : undefined);
      warning.hidden = warned === "" && !isBack;
      drawEnd(outcome, head?.position);
    },

    announce(said: string): void {
      setText(live, said);
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
    setText(byTestId("label-queued", counts), ended ? words.texts.dropped : words.texts.waiting);
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
    const { text, part, unsent, done } = words.uploadLine(uploads.values());
    setText(lineText, text);
    setPart(lineBar, part);
    setAttribute(lineBar, "aria-valuenow", String(Math.floor(part * 100)));
    setAttribute(lineBar, "aria-valuetext", text);
    setAttribute(line, "data-done", done ? "" : undefined);
    retryAll.hidden = unsent === 0;
  }

  function drawEnd(outcome: Outcome | undefined, position = ""): void {
    const drawn = outcome && `${outcome.kind} ${position}`;
    if (drawn === drawnEnd) return;
    drawnEnd = drawn;
    end.hidden = !outcome;
    if (!outcome) return;
    end.dataset["outcome"] = outcome.kind;
    setText(endTitle, outcome.title);
    setText(endAdvice, outcome.advice);
    retryFailed.hidden = !["partial", "failed", "cancelled"].includes(outcome.kind);
    setText(retryFailed, outcome.kind === "cancelled" ? words.texts.runRest : words.texts.runAgain);
    more.hidden = outcome.kind === "expired" || outcome.kind === "denied";
    failures.replaceChildren(...failureLists(outcome));
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
    if (rest.length > 0) lists.push(make("details", "", make("summary", "", words.more(rest.length)), make("ul", "", ...rest)));
    return lists;
  }
}

function unfinished({ counts }: Head): number {
  return counts.queued + counts.processing;
}

function partOf(head: Head | undefined, count = 0): number {
  return head && head.counts.total > 0 ? count / head.counts.total : 0;
}
