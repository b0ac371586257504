// How long a batch may still take, from how fast its photos were done while it was watched. Silent rather than wrong.

type Step = { readonly photos: number; readonly ms: number };

/** What was seen of a batch's speed. `at`: when its number of done photos last rose; `undefined` until it has. */
export type Pace = { readonly done: number; readonly at: number | undefined; readonly steps: readonly Step[] };

export type Remaining = { readonly lowMs: number; readonly highMs: number };

/** Older steps say little about what is to come. */
const STEPS_KEPT = 40;
const STEPS_LEAST = 4;
const PHOTOS_LEAST = 6;
/** Within this many standard deviations lie four cases of five. */
const FOUR_OF_FIVE = 1.28;
/** A batch that rests for so long, and for so many times its usual pace, is not going at that pace any more. */
const REST_MS = 15_000;
const REST_TIMES = 10;

/** `done`: photos completed or failed. `now` in milliseconds. */
export function paceAfter(pace: Pace | undefined, done: number, now: number): Pace {
  if (!pace || done < pace.done) return { done, at: undefined, steps: [] };
  if (done === pace.done) return pace;
  // Of the first step nobody saw the beginning.
  if (pace.at === undefined) return { done, at: now, steps: [] };
  const step = { photos: done - pace.done, ms: now - pace.at };
  return { done, at: now, steps: [...pace.steps, step].slice(-STEPS_KEPT) };
}

/**
 * Between what times the rest will be done, in four cases of five; `undefined` when that cannot be said. Photos are taken to
 * come as they came: the times between them vary, and the fewer were seen, the less is known of their mean.
 */
export function remaining({ steps, at }: Pace, left: number, now: number): Remaining | undefined {
  const photos = steps.reduce((sum, step) => sum + step.photos, 0);
  if (at === undefined || steps.length < STEPS_LEAST || photos < PHOTOS_LEAST || left <= 0) return undefined;
  const mean = steps.reduce((sum, step) => sum + step.ms, 0) / photos;
  const rest = now - at;
  if (rest > REST_MS && rest > REST_TIMES * mean) return undefined;
  const variance = steps.reduce((sum, { photos, ms }) => sum + (ms - photos * mean) ** 2 / photos, 0) / (steps.length - 1);
  const spread = FOUR_OF_FIVE * Math.sqrt(variance * left * (1 + left / photos));
  const expected = mean * left - Math.min(rest, mean);
  return { lowMs: Math.max(0, expected - spread), highMs: expected + spread };
}
