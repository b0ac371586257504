// `@batchcast/client/react`: a batch as a hook. React is the application's own (18 or newer).

import { useEffect, useMemo, useRef, useSyncExternalStore } from "react";
import { isStale, type Connection } from "./connection.ts";
import type { Batch } from "./state.ts";
import { watchBatch, type Access, type BatchError } from "./watch.ts";

export type BatchSnapshot = {
  /** `undefined` until the first word of it. */
  readonly batch: Batch | undefined;
  readonly connection: Connection;
  /** What is shown may be behind. */
  readonly stale: boolean;
  /** Why there will be no more news. */
  readonly error: BatchError | undefined;
};

const NOTHING: BatchSnapshot = { batch: undefined, connection: { state: "connecting" }, stale: false, error: undefined };

/**
 * Watches the batch at `url` while the component is mounted; without one nothing is watched. Of `access` the functions of
 * the last rendering count. On a server, and until the first word, nothing is known.
 */
export function useBatch(url: string | undefined, access: Access = {}): BatchSnapshot {
  const latest = useRef(access);
  useEffect(() => void (latest.current = access));
  // A ticket or none: that decides how the watch begins.
  const byTicket = access.ticket !== undefined;
  const store = useMemo(() => storeOf(url, byTicket, () => latest.current), [url, byTicket]);
  return useSyncExternalStore(store.subscribe, store.snapshot, () => NOTHING);
}

function storeOf(url: string | undefined, byTicket: boolean, access: () => Access) {
  let snapshot = NOTHING;
  return {
    snapshot: (): BatchSnapshot => snapshot,
    subscribe(notify: () => void): () => void {
      if (!url) return () => {};
      const show = (news: Partial<BatchSnapshot>): void => {
        snapshot = { ...snapshot, ...news };
        notify();
      };
      return watchBatch(url, {
        ...(byTicket && { ticket: () => access().ticket?.() ?? "" }),
        token: () => access().token?.() ?? "",
        fetch: (...given) => (access().fetch ?? fetch)(...given),
        onConnection: (connection) => show({ connection, stale: isStale(connection) }),
        onProgress: (batch) => show({ batch }),
        onError: (error) => show({ error }),
      });
    },
  };
}
