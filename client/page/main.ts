// Wiring: addresses to faces, chosen files to a batch, a batch to its stream, all of it to one drawing a frame.

import { announce, type Heard } from "../src/announce.ts";
import { isCutOff, type Connection } from "../src/connection.ts";
import { isTerminal } from "../src/events.ts";
import { comparePositions } from "../src/position.ts";
import { watchBatch } from "../src/watch.ts";
import { acceptPhotos } from "./drop.ts";
import { byTestId } from "../src/dom.ts";
import { addressOf, isBatchId, routeOf, type Route } from "./route.ts";
import { shownOf, type Shown } from "./shown.ts";
import { Tiles } from "./tiles.ts";
import { CreateError, createBatch, sendByXhr, Uploader } from "./upload.ts";
import { createView } from "./view.ts";
import { describeTile, outcome, spoken } from "./words.ts";

/** The page has no projects of its own. */
const PROJECT_ID = "live-page";
/** How often a page that nobody looks at is drawn: for its title. */
const HIDDEN_DRAW_MS = 500;

/** One batch as this page knows it; kept after leaving, since its uploads go on. */
type Session = {
  readonly batchId: string;
  readonly uploader?: Uploader;
  replica: Shown;
  connection: Connection;
  heard: Heard | undefined;
};

/** The session on the screen. */
type Stage = { readonly session: Session; readonly tiles: Tiles; readonly changed: Set<string>; readonly stop: () => void };

const view = createView();
const sessions = new Map<string, Session>();
let stage: Stage | undefined;
let drawing = false;

acceptPhotos(view.input, (files) => void start(files));
view.retryAll.addEventListener("click", () => stage?.session.uploader?.retry());
byTestId("copy-link").addEventListener("click", () => void copyLink());
document.addEventListener("click", followInPage);
window.addEventListener("popstate", () => enter(routeOf(location.pathname)));
document.addEventListener("visibilitychange", () => {
  // A drawing asked for while visible would wait until the page is seen again.
  drawing = false;
  requestDraw();
});
window.addEventListener("online", requestDraw);
window.addEventListener("offline", requestDraw);
window.addEventListener("beforeunload", (event) => {
  // Photos not yet sent exist only here.
  if ([...sessions.values()].some((session) => session.uploader?.busy)) event.preventDefault();
});
// Only times shown ("since 12 s") change without an event.
setInterval(() => {
  if (stage && isCutOff(stage.session.connection)) requestDraw();
}, 1_000);
enter(routeOf(location.pathname));

async function start(files: readonly File[]): Promise<void> {
  if (routeOf(location.pathname).face !== "home") go({ face: "home" });
  view.drawCreating({ busy: files.length });
  try {
    const batch = await createBatch(PROJECT_ID, files);
    const changed = (photoId: string): void => {
      if (stage?.session.batchId !== batch.batchId) return;
      stage.changed.add(photoId);
      requestDraw();
    };
    const uploader = new Uploader(batch, files, sendByXhr(PROJECT_ID, batch.batchId), changed);
    sessions.set(batch.batchId, newSession(batch.batchId, uploader));
    view.drawCreating(undefined);
    go({ face: "batch", batchId: batch.batchId });
    uploader.start();
  } catch (error) {
    if (!(error instanceof CreateError)) throw error;
    const advice = "Nothing was uploaded; choose the photos again to retry.";
    view.drawCreating({ problem: `The batch could not be started: ${error.message}. ${advice}` });
  }
}

function newSession(batchId: string, uploader?: Uploader): Session {
  return { batchId, ...(uploader ? { uploader } : {}), replica: shownOf(undefined), connection: { state: "connecting" }, heard: undefined };
}

function go(route: Route): void {
  history.pushState(null, "", addressOf(route));
  enter(route);
  view.focusHeading();
}

function enter(route: Route): void {
  // A jump within the page is a change of address too, but not of face.
  if (route.face === "batch" && stage?.session.batchId === route.batchId) return;
  leave();
  if (route.face === "batch") return watch(route.batchId);
  view.showHome([...sessions.values()].flatMap(({ batchId, uploader }) =>
    uploader?.busy ? [{ batchId, text: "is still uploading in this page." }] : []));
}

function leave(): void {
  stage?.stop();
  stage?.tiles.close();
  stage = undefined;
  view.announce("");
}

function watch(batchId: string): void {
  const session = sessions.get(batchId) ?? newSession(batchId);
  session.connection = { state: "connecting" };
  session.heard = undefined;
  const changed = new Set<string>();
  const tiles = new Tiles(view.tiles, {
    tile: (photoId) => {
      const upload = session.uploader?.uploads.get(photoId);
      return describeTile(photoId, session.replica.photos.get(photoId), upload, hasEnded(session));
    },
    file: (photoId) => session.uploader?.file(photoId),
    retry: (photoId) => session.uploader?.retry(photoId),
  });
  const onConnection = (connection: Connection): void => {
    session.connection = connection;
    if (hasEnded(session)) {
      session.uploader?.stop();
      for (const photoId of photoIds(session)) changed.add(photoId);
    }
    requestDraw();
  };
  view.showBatch(batchId);
  let stop = (): void => {};
  stage = { session, tiles, changed, stop: () => stop() };
  // An address that cannot be a batch's needs no server to be refused.
  if (!isBatchId(batchId)) return onConnection({ state: "closed", why: "missing" });
  stop = watchBatch(`/api/batches/${encodeURIComponent(batchId)}`, {
    onConnection,
    onProgress(batch, ids) {
      // Seen before in this page, the batch may be shown older for a moment.
      if (comparePositions(batch.position, session.replica.head?.position) < 0) return;
      session.replica = shownOf(batch);
      for (const id of ids) changed.add(id);
      requestDraw();
    },
    // The end changes what is said of the photos that were not done.
    onComplete: () => onConnection(session.connection),
  });
  requestDraw();
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

function requestDraw(): void {
  if (drawing) return;
  drawing = true;
  if (document.hidden) setTimeout(draw, HIDDEN_DRAW_MS);
  else requestAnimationFrame(draw);
}

function draw(): void {
  drawing = false;
  if (!stage) return;
  const { session, tiles, changed } = stage;
  const { batchId, replica, connection, uploader } = session;
  const now = Date.now();
  const end = outcome(replica, connection, uploader?.uploads);
  view.draw({ batchId, replica, connection, outcome: end, uploads: uploader?.uploads, now });
  tiles.draw(end && !replica.head ? [] : photoIds(session), changed);
  changed.clear();

  const open = replica.head && !isTerminal(replica.head.status) ? replica.head.progress : undefined;
  const { heard, say } = announce(session.heard, { progress: open, connection, ended: end !== undefined, now });
  session.heard = heard;
  if (say) view.announce(spoken(say, replica, end));
}

/** Links between the page's own faces change the address without loading it again: uploads go on. */
function followInPage(event: MouseEvent): void {
  const link = event.target instanceof Element ? event.target.closest("a") : null;
  if (!link || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
  if (link.origin !== location.origin || link.getAttribute("href")?.startsWith("#")) return;
  const route = routeOf(link.pathname);
  event.preventDefault();
  go(route);
}

async function copyLink(): Promise<void> {
  try {
    await navigator.clipboard.writeText(location.href);
    view.announce("Address copied.");
    byTestId("copy-link").dataset["copied"] = "";
    setTimeout(() => delete byTestId("copy-link").dataset["copied"], 2_000);
  } catch {
    view.announce(`Copying is not allowed here. The address is ${location.href}`);
  }
}
