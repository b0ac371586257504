// Sends the chosen photos: makes the batch, then one request a photo, a few at a time, each retried on its own.

import { backoffMs } from "../src/backoff.ts";
import { parseRecord } from "../src/events.ts";

export const CONCURRENT_UPLOADS = 3;
const ATTEMPTS = 4;
const RETRY = { firstMs: 1_000, capMs: 10_000 };
/** Bytes may go slowly, but not stand still for longer than this. */
const STANDSTILL_MS = 60_000;

export type NewBatch = { readonly batchId: string; readonly photoIds: readonly string[] };

export type Upload = {
  readonly name: string;
  readonly size: number;
  readonly phase: "waiting" | "sending" | "sent" | "unsent";
  /** From 0 to 1. */
  readonly part: number;
  /** Why the photo is `unsent`. */
  readonly problem?: Problem;
};

/** `status` 0: there was no answer. */
export type Answer = { readonly status: number; readonly detail?: string };

/** What went wrong: the server's answer, one that could not be understood, or the end of the batch. */
export type Problem = Answer | "unclear" | "ended";

export type Send = (photoId: string, file: File, sent: (part: number) => void, signal: AbortSignal) => Promise<Answer>;

/** Waits, and gives up waiting when `signal` is aborted. */
export type Wait = (ms: number, signal: AbortSignal) => Promise<void>;

/** Something asked of the server that did not come about. */
export class ServerError extends Error {
  override readonly name = "ServerError";
  readonly problem: Problem;

  constructor(problem: Problem) {
    super("the server did not do it");
    this.problem = problem;
  }
}

export async function createBatch(projectId: string, files: readonly File[]): Promise<NewBatch> {
  const photos = files.map(({ name, size }) => ({ name, size }));
  const created = parseNewBatch(await ask("POST", "/api/batches", { projectId, photos }));
  if (created?.photoIds.length !== files.length) throw new ServerError("unclear");
  return created;
}

/** Runs again what failed in a batch that has ended; the ids of those photos. */
export async function retryBatch(batchId: string): Promise<readonly string[]> {
  return parseNewBatch(await ask("POST", `/api/batches/${encodeURIComponent(batchId)}/retry`))?.photoIds ?? [];
}

export async function cancelBatch(batchId: string): Promise<void> {
  await ask("POST", `/api/batches/${encodeURIComponent(batchId)}/cancel`);
}

/**
 * Asks the server for something, once; the body of its answer.
 *
 * @throws ServerError
 */
export async function ask(method: "GET" | "POST", path: string, body?: unknown): Promise<string> {
  let response: Response;
  let text: string;
  try {
    const given = body === undefined ? {} : { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
    response = await fetch(path, { method, ...given });
    text = await response.text();
  } catch {
    throw new ServerError({ status: 0 });
  }
  if (!response.ok) throw new ServerError(answerOf(response.status, text));
  return text;
}

export class Uploader {
  readonly uploads = new Map<string, Upload>();
  readonly #files = new Map<string, File>();
  readonly #queue: string[] = [];
  #stop = new AbortController();
  readonly #send: Send;
  readonly #changed: (photoId: string) => void;
  readonly #wait: Wait;
  #running = 0;

  constructor(batch: NewBatch, files: readonly File[], send: Send, changed: (photoId: string) => void, wait: Wait = pause) {
    this.#send = send;
    this.#changed = changed;
    this.#wait = wait;
    batch.photoIds.forEach((photoId, index) => {
      const file = files[index];
      if (!file) return;
      this.#files.set(photoId, file);
      this.uploads.set(photoId, { name: file.name, size: file.size, phase: "waiting", part: 0 });
      this.#queue.push(photoId);
    });
  }

  /** Something is still on its way, or about to be. */
  get busy(): boolean {
    return this.#running > 0 || this.#queue.length > 0;
  }

  /** Requests under way. */
  get running(): number {
    return this.#running;
  }

  file(photoId: string): File | undefined {
    return this.#files.get(photoId);
  }

  start(): void {
    while (this.#running < CONCURRENT_UPLOADS && !this.#stop.signal.aborted) {
      const photoId = this.#queue.shift();
      if (photoId === undefined) return;
      this.#running += 1;
      void this.#upload(photoId).finally(() => {
        this.#running -= 1;
        this.start();
        this.#changed(photoId);
      });
    }
  }

  /** Tries photos again that did not get through; all of them when none is named. */
  retry(photoId?: string): void {
    const again = photoId === undefined ? [...this.uploads.keys()] : [photoId];
    for (const id of again) {
      if (this.uploads.get(id)?.phase !== "unsent") continue;
      this.#set(id, "waiting", 0);
      this.#queue.push(id);
    }
    this.start();
  }

  /** The batch is open again, and waits for these photos: those that the server does not have are sent. */
  reopen(photoIds: readonly string[]): void {
    this.#stop = new AbortController();
    for (const id of photoIds) if (this.uploads.get(id)?.phase === "waiting") this.#queue.push(id);
    this.retry();
  }

  /** The batch has ended: nobody waits for what is left. */
  stop(): void {
    this.#queue.length = 0;
    this.#stop.abort();
  }

  async #upload(photoId: string): Promise<void> {
    const file = this.#files.get(photoId);
    if (!file) return;
    const signal = this.#stop.signal;
    for (let attempt = 0; ; attempt += 1) {
      this.#set(photoId, "sending", 0);
      const answer = await this.#send(photoId, file, (part) => this.#set(photoId, "sending", part), signal);
      if (answer.status >= 200 && answer.status < 300) return this.#set(photoId, "sent", 1);
      const delay = retryDelayMs(answer.status, attempt, Math.random());
      if (delay === undefined || signal.aborted) return this.#set(photoId, "unsent", 0, signal.aborted ? "ended" : answer);
      await this.#wait(delay, signal);
      if (signal.aborted) return this.#set(photoId, "unsent", 0, "ended");
    }
  }

  #set(photoId: string, phase: Upload["phase"], part: number, problem?: Problem): void {
    const upload = this.uploads.get(photoId);
    if (!upload) return;
    const { name, size } = upload;
    this.uploads.set(photoId, { name, size, phase, part, ...(problem === undefined ? {} : { problem }) });
    this.#changed(photoId);
  }
}

/** `undefined`: trying again would give the same answer, or was tried often enough. */
export function retryDelayMs(status: number, attempt: number, random: number): number | undefined {
  const passing = status === 0 || status === 408 || status === 429 || status >= 500;
  return passing && attempt + 1 < ATTEMPTS ? backoffMs(RETRY, attempt, random) : undefined;
}

/** Sends one photo by `XMLHttpRequest`, the only way for a page to see an upload's progress. */
export function sendByXhr(projectId: string, batchId: string): Send {
  return (photoId, file, sent, signal) => new Promise((resolve) => {
    const form = new FormData();
    // Fields first: the server knows where the file belongs before it comes.
    form.append("projectId", projectId);
    form.append("batchId", batchId);
    form.append("photoId", photoId);
    form.append("file", file, file.name);

    const request = new XMLHttpRequest();
    const abort = (): void => request.abort();
    let standstill = setTimeout(abort, STANDSTILL_MS);
    request.upload.onprogress = ({ loaded, total }) => {
      clearTimeout(standstill);
      standstill = setTimeout(abort, STANDSTILL_MS);
      // All bytes sent is not yet received: the last percent belongs to the server's answer.
      if (total > 0) sent(Math.min(0.99, loaded / total));
    };
    request.onloadend = () => {
      clearTimeout(standstill);
      signal.removeEventListener("abort", abort);
      resolve(answerOf(request.status, request.responseText));
    };
    signal.addEventListener("abort", abort);
    request.open("POST", "/api/photos/upload");
    request.send(form);
  });
}

function answerOf(status: number, body: string): Answer {
  const problem = parseRecord(body);
  const words = problem["detail"] ?? problem["title"];
  return typeof words === "string" && words !== "" ? { status, detail: words } : { status };
}

function parseNewBatch(body: string): NewBatch | undefined {
  const value = parseRecord(body);
  if (typeof value["batchId"] !== "string" || !Array.isArray(value["photoIds"])) return undefined;
  const photoIds = value["photoIds"].filter((id): id is string => typeof id === "string");
  return { batchId: value["batchId"], photoIds };
}

/** Also waits for the network to come back: attempts made without one would only be used up. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await until(signal, (done) => {
    const timer = setTimeout(done, ms);
    return () => clearTimeout(timer);
  });
  if (navigator.onLine || signal.aborted) return;
  await until(signal, (done) => {
    window.addEventListener("online", done);
    return () => window.removeEventListener("online", done);
  });
}

function until(signal: AbortSignal, arm: (done: () => void) => () => void): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      disarm();
      signal.removeEventListener("abort", done);
      resolve();
    };
    const disarm = arm(done);
    signal.addEventListener("abort", done);
  });
}
