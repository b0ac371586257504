// What the page shows of a batch: nothing until the first word of it.

import type { Batch } from "../src/state.ts";
import type { Photo } from "../src/wire.ts";

export type Head = Omit<Batch, "photos">;

export type Shown = { readonly head?: Head; readonly photos: ReadonlyMap<string, Photo> };

export function shownOf(batch: Batch | undefined): Shown {
  return batch ? { head: batch, photos: batch.photos } : { photos: new Map() };
}
