// A project's list, as the server gives it: a page of heads, the newest first, and where the next page is.

import { batchIn, parseRecord, recordOf } from "../src/events.ts";
import type { Head } from "./shown.ts";
import { ask } from "./upload.ts";
import { localPath } from "./words.ts";

/** Batches of one page: full rows in two, three and four columns. */
const PAGE = 24;

export type Listed = {
  readonly head: Head;
  /** Milliseconds since 1970. */
  readonly createdAt: number;
  readonly thumbnails: readonly string[];
};

export type Listing = { readonly batches: readonly Listed[]; readonly nextUrl?: string | undefined };

export function firstPage(projectId: string): string {
  return `/api/projects/${encodeURIComponent(projectId)}/batches?limit=${PAGE}`;
}

/** @throws ServerError */
export async function readListing(url: string): Promise<Listing> {
  return parseListing(await ask("GET", url));
}

/** What has another shape is left out. */
export function parseListing(body: string): Listing {
  const { batches, nextUrl } = parseRecord(body);
  const all = Array.isArray(batches) ? batches.map(recordOf) : [];
  return { batches: all.flatMap((value) => listedIn(value) ?? []), nextUrl: localPath(nextUrl) };
}

function listedIn(value: Record<string, unknown>): Listed | undefined {
  const batch = batchIn(value);
  if (!batch || typeof batch.batchId !== "string") return undefined;
  const { v, at, full, photos, position, ...head } = batch;
  if (position === undefined) return undefined;
  const thumbnails = Array.isArray(value["thumbnails"]) ? value["thumbnails"] : [];
  return {
    head: { ...head, position },
    createdAt: Date.parse(String(value["createdAt"])),
    thumbnails: thumbnails.map(localPath).filter((path) => path !== undefined),
  };
}
