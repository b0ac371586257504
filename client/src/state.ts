// The page's replica of a batch, and the rules by which events change it: never backwards, whatever arrives when.

import { comparePositions, parsePosition, type Position } from "./position.ts";
import type { BatchState, BatchStatus, CompleteEvent, Counts, Photo, ProgressEvent } from "./wire.ts";

export type Head = {
  readonly status: BatchStatus;
  readonly progress: number;
  readonly counts: Counts;
  readonly updatedAt: string;
};

export type Replica = {
  readonly position?: Position;
  readonly head?: Head;
  readonly photos: ReadonlyMap<string, Photo>;
  /** The last progress of a stream. It has no position, so it waits for the `complete` that says where it stands. */
  readonly held?: ProgressEvent;
};

export const EMPTY: Replica = { photos: new Map() };

/** `changed` holds the ids to draw again; all of them when the state was replaced as a whole. */
export type Merged = { readonly replica: Replica; readonly changed: ReadonlySet<string> };

export function mergeProgress(replica: Replica, event: ProgressEvent): Merged {
  if (event.position === undefined) return unchanged({ ...replica, held: event });
  const position = parsePosition(event.position);
  if (!position || isBehind(replica, position)) return unchanged(replica);
  return advance(replica, position, event, event.photos, event.full === true);
}

export function mergeComplete(replica: Replica, event: CompleteEvent): Merged {
  const { held, ...rest } = replica;
  const position = parsePosition(event.position);
  if (!position || isBehind(replica, position)) return unchanged(rest);
  return advance(rest, position, event, held?.photos ?? [], held?.full === true);
}

/** A state read with `GET /api/batches/:id`: everything, at a known position. */
export function mergeState(replica: Replica, state: BatchState): Merged {
  return mergeProgress(replica, { ...state, full: true });
}

export function isTerminal(status: BatchStatus): boolean {
  return status !== "QUEUED" && status !== "PROCESSING";
}

function advance(from: Replica, position: Position, head: Head, photos: readonly Photo[], full: boolean): Merged {
  const next = new Map(full ? [] : from.photos);
  const changed = new Set<string>();
  for (const photo of photos) {
    const known = next.get(photo.photoId);
    if (known && known.version > photo.version) continue;
    next.set(photo.photoId, photo);
    changed.add(photo.photoId);
  }
  if (full) for (const id of from.photos.keys()) changed.add(id);
  const { status, progress, counts, updatedAt } = head;
  return { replica: { position, head: { status, progress, counts, updatedAt }, photos: next }, changed };
}

function isBehind(replica: Replica, position: Position): boolean {
  return replica.position !== undefined && comparePositions(position, replica.position) < 0;
}

function unchanged(replica: Replica): Merged {
  return { replica, changed: new Set() };
}
