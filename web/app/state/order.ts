import type { Position } from "sotto-sdk";

// before orders positions; what has none yet comes after everything else, in the order of sending.
export function before(a: Position | null, b: Position | null): boolean {
  if (a === null || b === null) {
    return a !== null && b === null;
  }
  return a.epoch < b.epoch || (a.epoch === b.epoch && a.seq < b.seq);
}
