// The face of one batch: its watch and its uploads, all of it to one drawing a frame.

import { announce, type Heard } from "../src/announce.ts";
import { isCutOff, type Connection } from "../src/connection.ts";
import { isTerminal } from "../src/events.ts";
import { comparePositions } from "../src/position.ts";
import { paceAfter, remaining, type Pace } from "../src/remaining.ts";
import type { Batch } from "../src/state.ts";
import { watchBatch } from "../src/watch.ts";
import { BACK_MS } from "./gallery.ts";
import { addressOf, isId, routeOfProject } from "./route.ts";
import { shownOf, type Shown } from "./shown.ts";
import { Tiles } from "./tiles.ts";
import { cancelBatch, retryBatch, ServerError, type Uploader } from "./upload.ts";
import type { View } from "./view.ts";
import type { Words } from "./words.ts";

/** How often a page that nobody looks at is drawn: for its title. */
const HIDDEN_DRAW_MS = 500;

/** One batch as this page knows it; kept after leaving, since its uploads go on. */
export type Session = {
  readonly batchId: string;
  readonly projectId: string;
  readonly uploader?: Uploader | undefined;
  replica: Shown;
  connection: Connection;
  /** When the next request is due; `undefined` while one is open. */
  retryAt?: number | undefined;
  pace?: Pace | undefined;
  heard?: Heard | undefined;
  /** The photos that run again, until the batch is seen to be open again. */
  reopening?: readonly string[] | undefined;
};

export function newSession(batchId: string, projectId: string, uploader?: Uploader): Session {
  return { batchId, projectId, uploader, replica: shownOf(undefined), connection: { state: "connecting" } };
}

/** The session on the screen. */
type Stage = { readonly session: Session; readonly tiles: Tiles; readonly changed: Set<string>; stop: () => void; backUntil: number };

export class BatchFace {
  readonly #view: View;
  readonly #words: Words;
  #stage: Stage | undefined;
  #drawing = false;

  constructor(view: View, words: Words) {
    this.#view = view;
    this.#words = words;
    view.retryAll.addEventListener("click", () => this.#stage?.session.uploader?.retry());
    view.retryFailed.addEventListener("click", () => void this.#retryFailed());
    view.onCancel(() => void this.#cancel());
    document.addEventListener("visibilitychange", () => {
      // A drawing asked for while visible would wait until the page is seen again.
      this.#drawing = false;
      this.draw();
    });
    for (const name of ["online", "offline"]) window.addEventListener(name, () => this.draw());
    // Only times shown ("since 12 s") change without an event.
    setInterval(() => {
      if (this.#stage && (isCutOff(this.#stage.session.connection) || this.#stage.backUntil > 0 || this.#stage.session.pace)) this.draw();
    }, 1_000);
  }

  get batchId(): string | undefined {
    return this.#stage?.session.batchId;
  }

  get projectId(): string | undefined {
    return this.#stage?.session.projectId;
  }

  show(session: Session): void {
    this.leave();
    session.heard = undefined;
    const tiles = new Tiles(this.#view.tiles, this.#words, {
      tile: (photoId) => {
        const upload = session.uploader?.uploads.get(photoId);
        return this.#words.describeTile(photoId, session.replica.photos.get(photoId), upload, hasEnded(session));
      },
      file: (photoId) => session.uploader?.file(photoId),
      retry: (photoId) => session.uploader?.retry(photoId),
    });
    this.#view.showBatch(session.batchId, addressOf(routeOfProject(session.projectId)));
    this.#stage = { session, tiles, changed: new Set(), stop: () => {}, backUntil: 0 };
    this.#watch(this.#stage);
    this.draw();
  }

  leave(): void {
    this.#stage?.stop();
    this.#stage?.tiles.close();
    this.#stage = undefined;
  }

  /** An upload of this page has gone on. */
  touch(batchId: string, photoId: string): void {
    if (this.#stage?.session.batchId !== batchId) return;
    this.#stage.changed.add(photoId);
    this.draw();
  }

  /** A photo's tile is shown, however many stand before it. */
  reveal(photoId: string): void {
    if (!this.#stage) return;
    this.#stage.tiles.reveal(photoId);
    this.#drawNow();
  }

  #watch(stage: Stage): void {
    const { session } = stage;
    session.connection = { state: "connecting" };
    session.pace = session.retryAt = undefined;
    const onConnection = (connection: Connection, retryAt?: number): void => {
      if (isCutOff(session.connection) && connection.state === "live") stage.backUntil = Date.now() + BACK_MS;
      session.retryAt = retryAt;
      session.connection = connection;
      this.#settle(stage);
    };
    // An address that cannot be a batch's needs no server to be refused.
    if (!isId(session.batchId)) return onConnection({ state: "closed", why: "missing" });
    stage.stop = watchBatch(`/api/batches/${session.batchId}`, {
      onConnection,
      onProgress: (batch, changed) => this.#take(stage, batch, changed),
      // The end changes what is said of the photos that were not done.
      onComplete: () => this.#settle(stage),
    });
  }

  #take(stage: Stage, batch: Batch, changed: ReadonlySet<string>): void {
    const { session } = stage;
    const before = session.replica.head;
    // Seen before in this page, the batch may be shown older for a moment.
    if (comparePositions(batch.position, before?.position) < 0) return;
    session.replica = shownOf(batch);
    session.pace = paceAfter(session.pace, batch.counts.completed + batch.counts.failed, Date.now());
    for (const photoId of changed) stage.changed.add(photoId);
    if (session.reopening && before && comparePositions(batch.position, before.position) > 0) {
      if (!isTerminal(batch.status)) session.uploader?.reopen(session.reopening);
      session.reopening = undefined;
      for (const photoId of batch.photos.keys()) stage.changed.add(photoId);
    }
    this.draw();
  }

  #settle(stage: Stage): void {
    const { session } = stage;
    if (hasEnded(session) && !session.reopening) {
      session.uploader?.stop();
      for (const photoId of photoIds(session)) stage.changed.add(photoId);
    }
    this.draw();
  }

  async #retryFailed(): Promise<void> {
    const stage = this.#stage;
    if (!stage) return;
    await this.#change("retry", async () => {
      stage.session.reopening = await retryBatch(stage.session.batchId);
      // Its reader has gone on to something else.
      if (this.#stage !== stage) return;
      stage.session.heard = undefined;
      stage.stop();
      this.#watch(stage);
      this.#view.focusHeading();
    });
  }

  async #cancel(): Promise<void> {
    const batchId = this.batchId;
    if (batchId !== undefined) await this.#change("cancel", () => cancelBatch(batchId));
  }

  async #change(what: "retry" | "cancel", change: () => Promise<void>): Promise<void> {
    const stage = this.#stage;
    this.#view.drawAction({ busy: true });
    try {
      await change();
      if (this.#stage === stage) this.#view.drawAction({ busy: false });
    } catch (error) {
      if (!(error instanceof ServerError)) throw error;
      // What went wrong with one batch is not said on the face of another.
      if (this.#stage === stage) this.#view.drawAction({ busy: false, problem: this.#words.texts.couldNot[what](this.#words.explain(error.problem)) });
    }
  }

  draw(): void {
    if (this.#drawing) return;
    this.#drawing = true;
    const draw = (): void => {
      this.#drawing = false;
      this.#drawNow();
    };
    if (document.hidden) setTimeout(draw, HIDDEN_DRAW_MS);
    else requestAnimationFrame(draw);
  }

  #drawNow(): void {
    const stage = this.#stage;
    if (!stage) return;
    const { session, tiles, changed } = stage;
    const { batchId, replica, connection, retryAt, uploader } = session;
    const { head } = replica;
    const now = Date.now();
    const end = this.#words.outcome(replica, connection, uploader?.uploads);
    if (stage.backUntil <= now) stage.backUntil = 0;
    const left = head && session.pace && remaining(session.pace, head.counts.queued + head.counts.processing, now);
    this.#view.draw({ batchId, replica, connection, retryAt, left, isBack: stage.backUntil > 0, outcome: end, uploads: uploader?.uploads, now });
    tiles.draw(end && !head ? [] : photoIds(session), changed);
    changed.clear();

    const open = head && !isTerminal(head.status) ? head.progress : undefined;
    const { heard, say } = announce(session.heard, { progress: open, connection, ended: end !== undefined, now });
    session.heard = heard;
    if (say) this.#view.announce(this.#words.spoken(say, replica, end));
  }
}

/** Nothing more will be analysed. Access that has expired is no end: the batch and the uploads go on. */
function hasEnded({ replica, connection }: Session): boolean {
  if (connection.state === "closed") return connection.why === "gone" || connection.why === "missing";
  return replica.head !== undefined && isTerminal(replica.head.status);
}

/** In the order in which they were chosen, as far as this page knows it. */
function photoIds({ replica, uploader }: Session): string[] {
  const chosen = [...(uploader?.uploads.keys() ?? [])];
  if (!replica.head) return chosen;
  return [...new Set([...chosen.filter((id) => replica.photos.has(id)), ...replica.photos.keys()])];
}
