import { fold, queryWords } from "./fold";

export interface Excerpt { text: string; found: boolean }

const around = 40; // characters before the first hit

// excerpt is the part of a text around the first hit, with every hit marked. Folding changes lengths, so positions are
// found character by character.
export function excerpt(text: string, query: string): Excerpt[] {
  const chars = [...text.replace(/\s+/gu, " ")];
  const folded: number[] = []; // index of the character that each folded unit came from
  let whole = "";
  chars.forEach((c, i) => {
    for (const unit of fold(c)) {
      whole += unit;
      for (let k = 0; k < unit.length; k++) {
        folded.push(i);
      }
    }
  });
  const found = new Set<number>();
  for (const word of queryWords(query)) {
    for (let at = whole.indexOf(word); at >= 0; at = whole.indexOf(word, at + word.length)) {
      for (let k = at; k < at + word.length; k++) {
        found.add(folded[k]!);
      }
    }
  }
  const first = found.size > 0 ? Math.min(...found) : 0;
  const from = Math.max(0, first - around), to = Math.min(chars.length, from + 200);
  const out: Excerpt[] = from > 0 ? [{ text: "…", found: false }] : [];
  for (let i = from; i < to; i++) {
    const last = out.at(-1);
    if (last && last.found === found.has(i)) {
      last.text += chars[i]!;
    } else {
      out.push({ text: chars[i]!, found: found.has(i) });
    }
  }
  return out;
}
