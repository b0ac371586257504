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
  /** Why the photo is `unsent`, in words. */
  readonly problem?: string;
};

/** `status` 0: there was no answer. */
export type Answer = { readonly status: number; readonly detail?: string };

export type Send = (photoId: string, file: File, sent: (part: number) => void, signal: AbortSignal) => Promise<Answer>;

/** Waits, and gives up waiting when `signal` is aborted. */
export type Wait = (ms: number, signal: AbortSignal) => Promise<void>;

/** What the server said no to, in its own words where it gave some. */
export class CreateError extends Error {
  readonly status: number;

  constructor(answer: Answer) {
    super(explain(answer));
    this.name = "CreateError";
    this.status = answer.status;
  }
}

export async function createBatch(projectId: string, files: readonly File[]): Promise<NewBatch> {
  const photos = files.map(({ name, size }) => ({ name, size }));
  let response: Response;
  let body: string;
  try {
    response = await fetch("/api/batches", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ projectId, photos }),
    });
    body = await response.text();
  } catch {
    throw new CreateError({ status: 0 });
  }
  if (!response.ok) throw new CreateError(answerOf(response.status, body));
  const created = parseNewBatch(body);
  if (created?.photoIds.length !== files.length) {
    throw new CreateError({ status: response.status, detail: "the server's answer could not be understood" });
  }
  return created;
}

export class Uploader {
  readonly uploads = new Map<string, Upload>();
  readonly #files = new Map<string, File>();
  readonly #queue: string[] = [];
  readonly #stop = new AbortController();
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
      if (delay === undefined || signal.aborted) return this.#set(photoId, "unsent", 0, explain(answer));
      await this.#wait(delay, signal);
      if (signal.aborted) return this.#set(photoId, "unsent", 0, "the batch had ended");
    }
  }

  #set(photoId: string, phase: Upload["phase"], part: number, problem?: string): void {
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

export function explain({ status, detail }: Answer): string {
  if (detail !== undefined) return detail;
  if (status === 0) return "no connection to the server";
  if (status === 401 || status === 403) return "you are not signed in, or may not upload here";
  if (status === 413) return "the file is too large";
  if (status === 429 || status === 503) return "the server is busy";
  return status >= 500 ? "the server had a problem" : `the server refused it (${status})`;
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
