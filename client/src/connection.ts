// How a watcher stands with the server, as a state machine over what the stream reports. Honest before reassuring.

/** Why there will be no more news. All but `expired` are the server's last word on this batch. */
export type Refusal = "missing" | "gone" | "denied" | "expired";

export type Connection =
  /**
   * `behind`: the server has lost touch with its source. `reading`: streams do not get through, and the batch is read every
   * few seconds instead.
   */
  | { readonly state: "connecting" | "live" | "behind" | "reading" | "ended" }
  /** `away`: the server has closed the stream of a batch that stands still; the page looks in from time to time. */
  | { readonly state: "stalled"; readonly away?: true }
  /** `since`: milliseconds since 1970. */
  | { readonly state: "reconnecting" | "busy"; readonly since: number }
  | { readonly state: "closed"; readonly why: Refusal };

/** The state that a report speaks for. */
export type Signal = Exclude<Connection["state"], "connecting" | "closed">;

/** `now` in ms since 1970: kept as the time since when the page has been cut off. */
export function afterSignal(current: Connection, signal: Signal, now: number): Connection {
  const cutOff = isCutOff(current);
  if (current.state === signal) return current;
  if (signal === "busy") return { state: signal, since: cutOff ? current.since : now };
  if (signal !== "reconnecting") return { state: signal };
  // A stream of a standstill is closed on purpose, once. Lost again before it opened, it is a connection in trouble.
  if (current.state === "stalled" && !current.away) return { ...current, away: true };
  // A busy server closes the stream on purpose; being busy stays the better explanation.
  return cutOff ? current : { state: signal, since: now };
}

export function isCutOff(connection: Connection): connection is Extract<Connection, { since: number }> {
  return "since" in connection;
}

/** What is shown may be behind. */
export function isStale(connection: Connection): boolean {
  return isCutOff(connection) || connection.state === "behind";
}

export function isOver({ state }: Connection): boolean {
  return state === "ended" || state === "closed";
}
