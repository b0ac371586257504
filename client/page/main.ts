// Wiring: addresses to faces, chosen files to a batch.

import { MAX_PHOTOS } from "../src/wire.ts";
import { BatchFace, newSession, type Session } from "./batch.ts";
import { choose, type Choice } from "./choose.ts";
import { acceptPhotos } from "./drop.ts";
import { Gallery } from "./gallery.ts";
import { addressOf, HOME_PROJECT, routeOf, type Route } from "./route.ts";
import { languageFor } from "./texts.ts";
import { createBatch, sendByXhr, ServerError, Uploader } from "./upload.ts";
import { createView } from "./view.ts";
import { createWords } from "./words.ts";

const language = languageFor(navigator.languages);
const words = createWords(language);
const view = createView(words);
const sessions = new Map<string, Session>();
const face = new BatchFace(view, words);
const gallery = new Gallery(words, {
  uploadOf(batchId) {
    const uploader = sessions.get(batchId)?.uploader;
    return uploader?.busy ? words.uploadLine(uploader.uploads.values()).text : undefined;
  },
  uploads: () => [...sessions.values()].reduce((sum, { uploader }) => sum + (uploader?.running ?? 0), 0),
  announce: view.announce,
});
/** Of the project on the screen, or of that whose batch is on it. */
let projectId = HOME_PROJECT;

view.translate(language);
acceptPhotos([view.input, view.moreInput], (files) => void start(files));
view.copyLink.addEventListener("click", () => void copyLink());
document.addEventListener("click", followInPage);
window.addEventListener("popstate", () => enter(routeOf(location.pathname)));
window.addEventListener("hashchange", revealTarget);
window.addEventListener("beforeunload", (event) => {
  // Photos not yet sent exist only here.
  if ([...sessions.values()].some((session) => session.uploader?.busy)) event.preventDefault();
});
enter(routeOf(location.pathname));

async function start(files: readonly File[]): Promise<void> {
  const project = projectId;
  view.drawCreating({ busy: files.length });
  const choice = await choose(files);
  view.drawLeftOut(choice.refused);
  if (choice.photos.length === 0) return view.drawCreating(undefined);
  if (choice.photos.length > MAX_PHOTOS) return view.drawCreating({ problem: words.tooMany(choice.photos.length) });
  try {
    await send(project, choice);
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    view.drawCreating({ problem: words.texts.notStarted(words.explain(error.problem)) });
  }
}

async function send(project: string, { photos }: Choice): Promise<void> {
  const batch = await createBatch(project, photos);
  const { batchId } = batch;
  const uploader = new Uploader(batch, photos, sendByXhr(project, batchId), (photoId) => {
    face.touch(batchId, photoId);
    gallery.touch(batchId);
  });
  sessions.set(batchId, newSession(batchId, project, uploader));
  view.drawCreating(undefined);
  projectId = project;
  go({ face: "batch", batchId });
  uploader.start();
}

function go(route: Route): void {
  history.pushState({ projectId }, "", addressOf(route));
  enter(route);
  view.focusHeading();
}

function enter(route: Route): void {
  if (route.face === "batch") {
    // A jump within the page is a change of address too, but not of face.
    if (face.batchId === route.batchId) return;
    gallery.leave();
    projectId = sessions.get(route.batchId)?.projectId ?? rememberedProject() ?? HOME_PROJECT;
    return face.show(sessions.get(route.batchId) ?? newSession(route.batchId, projectId));
  }
  face.leave();
  view.announce("");
  projectId = route.face === "project" ? route.projectId : HOME_PROJECT;
  view.showProject(route.face === "project" ? route.projectId : undefined);
  gallery.show(projectId);
}

/** A batch's address does not tell its project: the page that led to it did. */
function rememberedProject(): string | undefined {
  const { projectId } = (history.state ?? {}) as { projectId?: unknown };
  return typeof projectId === "string" ? projectId : undefined;
}

/** Links between the page's own faces change the address without loading it again: uploads go on. */
function followInPage(event: MouseEvent): void {
  const link = event.target instanceof Element ? event.target.closest("a") : null;
  if (!link || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
  if (link.origin !== location.origin || link.getAttribute("href")?.startsWith("#")) return;
  event.preventDefault();
  view.drawLeftOut([]);
  go(routeOf(link.pathname));
}

/** A link to a photo whose tile is not shown yet. */
function revealTarget(): void {
  const photoId = /^#photo-(.+)$/.exec(location.hash)?.[1];
  if (photoId === undefined) return;
  face.reveal(photoId);
  document.getElementById(`photo-${photoId}`)?.scrollIntoView();
}

async function copyLink(): Promise<void> {
  try {
    await navigator.clipboard.writeText(location.href);
    view.announce(words.texts.copied);
    view.copyLink.dataset["copied"] = "";
    setTimeout(() => delete view.copyLink.dataset["copied"], 2_000);
  } catch {
    view.announce(words.texts.notCopied(location.href));
  }
}
