// A position, `EPOCH-VERSION`: where in a batch's versioned state something stands. The greater always wins.

/** Negative when `a` is before `b`, 0 when they are the same, positive when `a` is after `b`, NaN when one is no position. */
export function comparePositions(a: string | undefined, b: string | undefined): number {
  const [first, second] = [numbersOf(a), numbersOf(b)];
  return first[0] - second[0] || first[1] - second[1];
}

function numbersOf(text = ""): readonly [number, number] {
  const [, epoch = NaN, version = NaN] = /^(\d+)-(\d+)$/.exec(text) ?? [];
  return [+epoch, +version];
}
