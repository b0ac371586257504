// From the network's text to the wire's types. What has another shape is refused here (`undefined`), and nowhere else.

import type { BatchStatus, ProgressEvent } from "./wire.ts";

/** The open ones first. */
const STATUSES: readonly unknown[] = ["QUEUED", "PROCESSING", "COMPLETED", "PARTIAL", "FAILED", "CANCELLED"] satisfies BatchStatus[];

/** The fields of the JSON object in `text`; of something else there are none. */
export function parseRecord(text = ""): Record<string, unknown> {
  try {
    return recordOf(JSON.parse(text));
  } catch {
    return {};
  }
}

/** The data of `progress` and `complete`, and the body of a read: a head with or without its position and photos. */
export function batchIn(value: Record<string, unknown>): ProgressEvent | undefined {
  const { status, progress, counts, photos = [] } = value;
  const fits = STATUSES.includes(status) && Number.isFinite(progress)
    // The total and its four parts.
    && Object.values(recordOf(counts)).filter(Number.isFinite).length > 4
    && Array.isArray(photos) && photos.every((photo) => Number.isFinite(recordOf(photo)["version"]));
  return fits ? { ...(value as ProgressEvent), photos } : undefined;
}

export function isTerminal(status: BatchStatus): boolean {
  return STATUSES.indexOf(status) > 1;
}

/** Whatever has no fields of its own has none here. */
export function recordOf(value: unknown): Record<string, unknown> {
  return Object(value) as Record<string, unknown>;
}
