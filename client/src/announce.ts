// What a screen reader is told, and when: the start, each quarter, a lost connection, the end. Nothing else. The words are
// the caller's.

import { isCutOff, type Connection } from "./connection.ts";

/** A connection that returns within this time is not worth a word. */
const LOST_AFTER_MS = 3_000;

/** What has been said so far, and when last. */
export type Heard = { readonly quarter: number; readonly lost: boolean; readonly ended: boolean; readonly at: number };

export type Now = {
  /** Of an open batch; `undefined` when nothing is known of it. */
  readonly progress: number | undefined;
  readonly connection: Connection;
  readonly ended: boolean;
  /** Milliseconds. */
  readonly now: number;
  /** The least pause before the next quarter is told: of a fast batch some are left out. */
  readonly pauseMs?: number;
};

export type Saying = "watching" | "quarter" | "lost" | "back" | "ended";

/** `heard` is `undefined` before the first word on a batch. */
export function announce(
  heard: Heard | undefined, { progress, connection, ended, now, pauseMs = 0 }: Now,
): { heard: Heard | undefined; say?: Saying } {
  const said = (say: Saying, rest: Partial<Heard>): { heard: Heard; say: Saying } =>
    ({ heard: { quarter: 0, lost: false, ended: false, ...heard, at: now, ...rest }, say });
  if (ended) return heard?.ended ? { heard } : said("ended", { quarter: 4, lost: false, ended: true });
  const lost = isCutOff(connection) && now - connection.since >= LOST_AFTER_MS;
  if (lost && !heard?.lost) return said("lost", { lost });
  if (progress === undefined) return { heard };
  const quarter = Math.floor(progress / 25);
  if (!heard) return said("watching", { quarter });
  if (heard.lost && !isCutOff(connection)) return said("back", { quarter, lost: false });
  return quarter > heard.quarter && now - heard.at >= pauseMs ? said("quarter", { quarter }) : { heard };
}
