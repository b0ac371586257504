// Waiting times between attempts: exponential, with jitter, so that pages that failed together return apart.

export type Backoff = { readonly firstMs: number; readonly capMs: number };

/** `attempt` counts from 0; `random` is in [0, 1). Between half of the step and the whole of it. */
export function backoffMs({ firstMs, capMs }: Backoff, attempt: number, random: number): number {
  const step = Math.min(capMs, firstMs * 2 ** attempt);
  return step * (0.5 + random / 2);
}
