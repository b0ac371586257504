// Batches for the tests: what is not named takes an ordinary value.

import type { Batch } from "../src/state.ts";
import type { BatchState, BatchStatus, CompleteEvent, Photo, PhotoStatus, ProgressEvent } from "../src/wire.ts";

export function photo(photoId: string, status: PhotoStatus, version: number, rest: Partial<Photo> = {}): Photo {
  return { photoId, status, version, ...rest };
}

/** Head fields that fit the numbers: `total` photos, of which some are completed or failed. */
export function head(total: number, completed: number, failed = 0, status: BatchStatus = "PROCESSING") {
  const counts = { total, queued: total - completed - failed, processing: 0, completed, failed };
  const progress = Math.floor((100 * (completed + failed)) / total);
  return { v: 1, batchId: "b1", status, progress, counts, updatedAt: "2026-11-22T23:10:30.082Z" };
}

export function progress(position: string | undefined, photos: Photo[], rest: Partial<ProgressEvent> = {}): ProgressEvent {
  return { ...head(4, 1), photos, ...(position === undefined ? {} : { position }), ...rest };
}

export function complete(position: string, rest: Partial<CompleteEvent> = {}): CompleteEvent {
  return { ...head(4, 4, 0, "COMPLETED"), position, ...rest };
}

export function state(position: string, photos: Photo[], rest: Partial<BatchState> = {}): BatchState {
  return { ...head(4, 1), position, photos, ...rest };
}

export function batch(position: string, photos: Photo[], rest: Partial<Batch> = {}): Batch {
  return { ...head(4, 1), position, photos: new Map(photos.map((photo) => [photo.photoId, photo])), ...rest };
}

/** The same numbers in [0, 1) for the same seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
