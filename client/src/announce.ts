// What a screen reader is told, and when: the start, each quarter, a lost connection, the end. Nothing else.

import { isCutOff, type Connection } from "./connection.ts";
import { isTerminal, type Replica } from "./state.ts";
import { barText, photos, type Outcome } from "./words.ts";

/** A connection that returns within this time is not worth a word. */
const LOST_AFTER_MS = 3_000;

/** What has been said so far. */
export type Heard = { readonly quarter: number; readonly lost: boolean; readonly ended: boolean };

export type Now = {
  readonly replica: Replica;
  readonly connection: Connection;
  readonly outcome: Outcome | undefined;
  readonly now: number;
};

/** `heard` is `undefined` before the first word on a batch. */
export function announce(heard: Heard | undefined, { replica, connection, outcome, now }: Now): { heard: Heard | undefined; say?: string } {
  if (outcome) {
    if (heard?.ended) return { heard };
    return { heard: { quarter: 4, lost: false, ended: true }, say: `${outcome.title}. ${outcome.advice}` };
  }
  const head = replica.head;
  const lost = isCutOff(connection) && now - connection.since >= LOST_AFTER_MS;
  if (lost && !heard?.lost) {
    return { heard: { quarter: heard?.quarter ?? 0, lost, ended: false }, say: "Connection lost. Trying again." };
  }
  if (!head || isTerminal(head.status)) return { heard };
  const quarter = Math.floor(head.progress / 25);
  if (!heard) {
    return { heard: { quarter, lost, ended: false }, say: `Watching a batch of ${photos(head.counts.total)}, ${barText(head)}.` };
  }
  if (heard.lost && !isCutOff(connection)) {
    return { heard: { ...heard, quarter, lost: false }, say: `Connected again. ${barText(head)}.` };
  }
  if (quarter <= heard.quarter) return { heard };
  return { heard: { ...heard, quarter }, say: `${barText(head)}.` };
}
