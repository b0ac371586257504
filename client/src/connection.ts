// How the page stands with the server, as a state machine over what the stream reports. Honest before reassuring.

/** Why there will be no more news. All but `expired` are the server's last word on this batch. */
export type Refusal = "missing" | "gone" | "denied" | "expired";

export type Connection =
  | { readonly state: "connecting" | "behind" | "ended" }
  /** `away`: the server has closed the stream of a batch that stands still; the page looks in from time to time. */
  | { readonly state: "stalled"; readonly away?: true }
  /** `cutOffSince` is kept until the first news: a busy server opens a stream only to say that it is busy. */
  | { readonly state: "live"; readonly cutOffSince?: number }
  | { readonly state: "reconnecting" | "busy"; readonly since: number }
  | { readonly state: "closed"; readonly why: Refusal };

export type Signal = "open" | "news" | "lost" | "stale" | "fresh" | "stalled" | "busy" | "ended" | Refusal;

/** `now` in ms since 1970: kept as the time since when the page has been cut off. */
export function afterSignal(current: Connection, signal: Signal, now: number): Connection {
  if (current.state === "closed" || current.state === "ended") return current;
  switch (signal) {
    case "open":
      return isCutOff(current) ? { state: "live", cutOffSince: current.since } : { state: "live" };
    case "news":
      // A server that has lost its own source may still send what it finds elsewhere: that is not live.
      return current.state === "behind" ? current : { state: "live" };
    case "lost":
      // A stream of a standstill is closed on purpose, once. Lost again before it opened, it is a connection in trouble.
      if (current.state === "stalled" && !current.away) return { state: "stalled", away: true };
      // A busy server closes the stream on purpose; being busy stays the better explanation.
      return isCutOff(current) ? current : { state: "reconnecting", since: now };
    case "busy":
      return { state: "busy", since: cutOffSince(current) ?? now };
    case "stale":
      return { state: "behind" };
    case "fresh":
      return { state: "live" };
    case "stalled":
      return current.state === "behind" ? current : { state: "stalled" };
    case "ended":
      return { state: "ended" };
    default:
      return { state: "closed", why: signal };
  }
}

function cutOffSince(connection: Connection): number | undefined {
  if (isCutOff(connection)) return connection.since;
  return connection.state === "live" ? connection.cutOffSince : undefined;
}

export function isCutOff(connection: Connection): connection is Extract<Connection, { since: number }> {
  return connection.state === "reconnecting" || connection.state === "busy";
}
