// From the network's bytes to the wire's types. What has another shape is refused here (`undefined`), and nowhere else.

import type { BatchState, BatchStatus, CompleteEvent, Counts, Photo, PhotoStatus, ProgressEvent } from "./wire.ts";

const BATCH_STATUSES: readonly string[] =
  ["QUEUED", "PROCESSING", "COMPLETED", "PARTIAL", "FAILED", "CANCELLED"] satisfies BatchStatus[];
const PHOTO_STATUSES: readonly string[] = ["QUEUED", "PROCESSING", "COMPLETED", "FAILED"] satisfies PhotoStatus[];

export function parseProgress(data: string): ProgressEvent | undefined {
  const value = parseJson(data);
  return isHead(value) && hasPhotos(value) ? (value as ProgressEvent) : undefined;
}

export function parseComplete(data: string): CompleteEvent | undefined {
  const value = parseJson(data);
  return isHead(value) && isString(value["position"]) ? (value as CompleteEvent) : undefined;
}

export function parseState(data: string): BatchState | undefined {
  const value = parseJson(data);
  return isHead(value) && hasPhotos(value) && isString(value["position"]) ? (value as BatchState) : undefined;
}

/** `undefined` when the data is neither: an event we do not understand changes nothing. */
export function parseUpstream(data: string): "stale" | "live" | undefined {
  const value = parseJson(data);
  const state = isRecord(value) ? value["state"] : undefined;
  return state === "stale" || state === "live" ? state : undefined;
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function parseJson(data: string): unknown {
  try {
    return JSON.parse(data);
  } catch {
    return undefined;
  }
}

function isHead(value: unknown): value is Record<string, unknown> {
  return isRecord(value) && isString(value["status"]) && BATCH_STATUSES.includes(value["status"])
    && isCount(value["progress"]) && isCounts(value["counts"])
    && (value["position"] === undefined || isString(value["position"]));
}

function isCounts(value: unknown): value is Counts {
  return isRecord(value) && ["total", "queued", "processing", "completed", "failed"].every((key) => isCount(value[key]));
}

function hasPhotos(value: Record<string, unknown>): boolean {
  return Array.isArray(value["photos"]) && value["photos"].every(isPhoto);
}

function isPhoto(value: unknown): value is Photo {
  return isRecord(value) && isString(value["photoId"]) && isCount(value["version"])
    && isString(value["status"]) && PHOTO_STATUSES.includes(value["status"])
    && (value["error"] === undefined || isString(value["error"]));
}

function isString(value: unknown): value is string {
  return typeof value === "string";
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value) && value >= 0;
}
