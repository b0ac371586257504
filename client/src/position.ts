// A position, `EPOCH-VERSION`: where in a batch's versioned state something stands. The greater always wins.

export type Position = { readonly epoch: number; readonly version: number };

export function parsePosition(text: string | undefined): Position | undefined {
  const match = /^(\d{1,16})-(\d{1,16})$/.exec(text ?? "");
  if (!match) return undefined;
  const position = { epoch: Number(match[1]), version: Number(match[2]) };
  return Number.isSafeInteger(position.epoch) && Number.isSafeInteger(position.version) ? position : undefined;
}

/** Negative when `a` is before `b`, 0 when they are the same, positive when `a` is after `b`. */
export function comparePositions(a: Position, b: Position): number {
  return a.epoch - b.epoch || a.version - b.version;
}

export function formatPosition(position: Position): string {
  return `${position.epoch}-${position.version}`;
}
