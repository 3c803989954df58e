import type { ID, Position } from "./types";

export interface SearchHit { conversation: ID; id: ID; position: Position; at: number; own: boolean; text: string }

const marks = /\p{M}+/gu;

// fold brings text into the form in which it is compared: without case, accents, and differences of width or
// presentation. It works on any script; scripts without spaces are found by substring all the same.
export function fold(text: string): string {
  return text.normalize("NFKD").replace(marks, "").toLowerCase().replaceAll("ß", "ss").replaceAll("ς", "σ");
}

// words splits a query: every word has to occur. A quoted part is one word.
export function words(query: string): string[] {
  const found = fold(query).matchAll(/"([^"]+)"|(\S+)/g);
  return [...found].map((m) => (m[1] ?? m[2]!).trim()).filter((w) => w !== "").slice(0, 16);
}

export interface Entry { hit: SearchHit; folded: string }

// Index holds folded texts for each conversation, newest first within a page. It lives in the search worker only.
export class Index {
  readonly #entries = new Map<string, Entry>();

  get size(): number { return this.#entries.size; }

  add(hits: SearchHit[]): void {
    for (const hit of hits) {
      this.#entries.set(`${hit.conversation} ${hit.id}`, { hit, folded: fold(hit.text) });
    }
  }

  remove(conversation: ID, id: ID): void { this.#entries.delete(`${conversation} ${id}`); }

  clear(): void { this.#entries.clear(); }

  // find gives the newest hits. Words at the beginning of a word count no more than others: newest first is what people expect.
  find(query: string, limit: number): SearchHit[] {
    const all = words(query);
    if (all.length === 0) {
      return [];
    }
    const hits: SearchHit[] = [];
    for (const { hit, folded } of this.#entries.values()) {
      if (all.every((w) => folded.includes(w))) {
        hits.push(hit);
      }
    }
    return hits.sort((a, b) => b.at - a.at).slice(0, limit);
  }
}
