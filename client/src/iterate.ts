// The same watch as an async iterator.

import type { Batch } from "./state.ts";
import { watchBatch, type Access, type Listener } from "./watch.ts";

export type IterateOptions = Access & Pick<Listener, "onStale" | "onConnection"> & {
  /** Ends the loop by throwing its reason. */
  readonly signal?: AbortSignal | undefined;
};

/**
 * The states of a batch, to its last: a loop that is slow is given the latest and misses those between. Leaving the loop
 * stops the watch.
 *
 * @throws BatchError when there will be no more news, TypeError when `url` is empty.
 */
export async function* batchStates(url: string, options: IterateOptions = {}): AsyncGenerator<Batch, void, undefined> {
  const { signal } = options;
  let latest: Batch | undefined;
  let over: { readonly error?: unknown } | undefined;
  let wake = (): void => {};
  const finish = (error?: unknown): void => {
    over = { error };
    wake();
  };
  signal?.throwIfAborted();
  const abort = (): void => finish(signal?.reason);
  signal?.addEventListener("abort", abort);
  const stop = watchBatch(url, {
    ...options,
    onProgress(batch) {
      latest = batch;
      wake();
    },
    onComplete: () => finish(),
    onError: finish,
  });
  try {
    for (;;) {
      const batch = latest;
      latest = undefined;
      if (over?.error) throw over.error;
      if (batch) yield batch;
      else if (over) return;
      else await new Promise<void>((resolve) => void (wake = resolve));
    }
  } finally {
    stop();
    signal?.removeEventListener("abort", abort);
  }
}
