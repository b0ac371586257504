// A watcher's replica of a batch, and the rules by which events change it: never backwards, whatever arrives when.

import { comparePositions } from "./position.ts";
import type { BatchHead, Photo, ProgressEvent } from "./wire.ts";

/** A batch as it stands: all of it, whatever came in which order. */
export type Batch = Omit<BatchHead, "v"> & {
  /** By `photoId`. */
  readonly photos: ReadonlyMap<string, Photo>;
};

export type Replica = {
  readonly batch?: Batch | undefined;
  /** The last progress of a stream. It has no position, so it waits for the `complete` that says where it stands. */
  readonly held?: ProgressEvent;
};

/** `changed` holds the ids to draw again; all of them when the state was replaced as a whole. */
export type Merged = { readonly replica: Replica; readonly changed: ReadonlySet<string> };

export function mergeProgress(replica: Replica, event: ProgressEvent): Merged {
  // What is left of an event without what is only said of the event is the head.
  const { v, at, full, position, photos: news, ...head } = event;
  const before = replica.batch?.photos ?? new Map<string, Photo>();
  if (position === undefined) return { replica: { ...replica, held: event }, changed: new Set() };
  if (isBehind(replica, position)) return { replica, changed: new Set() };
  const changed = new Set(full ? before.keys() : []);
  const photos = new Map(full ? [] : before);
  for (const photo of news) {
    if ((photos.get(photo.photoId)?.version ?? 0) > photo.version) continue;
    photos.set(photo.photoId, photo);
    changed.add(photo.photoId);
  }
  return { replica: { batch: { ...head, position, photos } }, changed };
}

/** The end takes with it the last progress, which was held for it. */
export function mergeComplete({ held, ...replica }: Replica, event: Omit<ProgressEvent, "photos">): Merged {
  return mergeProgress(replica, { ...event, photos: held?.photos ?? [], full: held?.full === true });
}

/** The replica stands at a greater position, or this is none: an event with it changes nothing. */
export function isBehind({ batch }: Replica, position: string | undefined): boolean {
  return !(comparePositions(position, batch?.position ?? position) >= 0);
}
