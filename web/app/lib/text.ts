// What a message's text is made of. Nothing here makes HTML: parts are shown by the framework as text and as links.

export interface Part { kind: "text" | "link"; text: string; href?: string }

const address = /\bhttps?:\/\/[^\s<>"'`{}|\\^\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]+/giu;
const trailing = /[.,:;!?'"…»”)\]]+$/u;
const maxLinks = 50; // in one message; the rest stays text

// parts finds http and https addresses. An address with a user or an unusual form stays text.
export function parts(text: string): Part[] {
  const out: Part[] = [];
  let end = 0, links = 0;
  for (const m of text.matchAll(address)) {
    const shown = trimmed(m[0]);
    const href = links < maxLinks ? safe(shown) : undefined;
    if (href === undefined) {
      continue;
    }
    links++;
    if (m.index > end) {
      out.push({ kind: "text", text: text.slice(end, m.index) });
    }
    out.push({ kind: "link", text: shown, href });
    end = m.index + shown.length;
  }
  if (end < text.length) {
    out.push({ kind: "text", text: text.slice(end) });
  }
  return out;
}

// trimmed takes away punctuation that belongs to the sentence, but keeps a bracket that was opened in the address.
function trimmed(s: string): string {
  const cut = s.replace(trailing, "");
  const rest = s.slice(cut.length);
  return rest.startsWith(")") && cut.split("(").length > cut.split(")").length ? cut + ")" : cut;
}

function safe(s: string): string | undefined {
  try {
    const u = new URL(s);
    return (u.protocol === "http:" || u.protocol === "https:") && u.username === "" && u.password === "" && u.hostname !== "" ? u.href : undefined;
  } catch {
    return undefined;
  }
}

const emoji = /^(?:\p{RGI_Emoji}|\s)+$/v;

// emojiOnly tells whether a text is one to six emoji and nothing else: those are shown larger.
export function emojiOnly(text: string): boolean {
  if (text.length > 120 || !emoji.test(text)) {
    return false;
  }
  const n = [...new Intl.Segmenter().segment(text)].filter((s) => s.segment.trim() !== "").length;
  return n >= 1 && n <= 6;
}

// bytes of a text as the wire counts them.
export const byteLength = (text: string): number => new TextEncoder().encode(text).length;

export const maxText = 32 << 10; // bytes of one message, e2ee.MaxText

// oneLine is a text as a list shows it.
export const oneLine = (text: string): string => text.replace(/\s+/gu, " ").trim().slice(0, 200);

// displayed is what somebody calls themselves, as it is safe to show: one line, without what steers directions or is not
// seen, with few marks above a letter. Joiners stay: emoji and some scripts need them. Empty when nothing is left to see.
const steering = /[\p{Cc}\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/gu;
const seen = /[^\p{C}\p{Z}\p{M}\u115f\u1160\u2800\u3164\uffa0]/u;
export function displayed(text: string, most = 128): string {
  const line = text.replace(/\s+/gu, " ").replace(steering, "").replace(/(\p{M}{3})\p{M}+/gu, "$1").trim().slice(0, most);
  return seen.test(line) ? line : "";
}

// isolate keeps a name of any direction from disturbing the sentence around it, in texts that cannot hold <bdi>.
const firstStrong = String.fromCodePoint(0x2068), popIsolate = String.fromCodePoint(0x2069);
export const isolate = (name: string): string => firstStrong + name + popIsolate;
