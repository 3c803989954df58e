// The part of a long list that is in the page. A few screens of rows exist at any time, whatever the length of the list:
// near an edge of what is there the window moves on, and the list keeps its place on the screen (MessageList.svelte).
export const windowSize = 120; // rows in the page
export const stride = 40; // rows that one move adds

export interface Range { from: number; to: number }

export const last = (length: number): Range => ({ from: Math.max(0, length - windowSize), to: length });

export function up(r: Range): Range {
  const from = Math.max(0, r.from - stride);
  return { from, to: Math.min(r.to, from + windowSize) };
}

export function down(r: Range, length: number): Range {
  const to = Math.min(length, r.to + stride);
  return { from: Math.max(r.from, to - windowSize), to };
}

export function around(index: number, length: number): Range {
  const from = Math.max(0, Math.min(index - windowSize / 2, length - windowSize));
  return { from, to: Math.min(length, from + windowSize) };
}
