// An honest hint about a password, for a person who makes one up. The core has the rules and the last word; this only
// speaks while somebody types. Guesses are estimated from variety and length; what is common or repeated counts little.

export type Strength = "empty" | "short" | "weak" | "fair" | "good";

export const minBytes = 10; // of e2ee.MinPassword

export function strength(password: string, username: string): Strength {
  if (password === "") {
    return "empty";
  }
  const normal = password.normalize("NFC");
  if (new TextEncoder().encode(normal).length < minBytes) {
    return "short";
  }
  const bits = entropy(normal.toLowerCase(), username.toLowerCase());
  return bits < 34 ? "weak" : bits < 50 ? "fair" : "good";
}

// entropy in bits, pessimistic: words count as one choice of 11 bits, runs and repeats hardly at all.
function entropy(s: string, username: string): number {
  let rest = s, bits = 0;
  if (username.length >= 3) {
    rest = rest.replaceAll(username, "");
  }
  const seen = new Set<string>();
  for (const token of rest.match(/\p{L}+|\p{N}+|[^\p{L}\p{N}]/gu) ?? []) {
    if (seen.has(token)) {
      bits += 1;
      continue;
    }
    seen.add(token);
    bits += cost(token);
  }
  return bits;
}

function cost(token: string): number {
  const chars = [...token], distinct = new Set(chars).size;
  if (chars.length > 2 && (distinct === 1 || run(chars))) {
    return 3;
  }
  if (/^\p{N}+$/u.test(token)) {
    return /^(19|20)\d\d$/.test(token) ? 6 : Math.min(chars.length, distinct + 2) * 2.5;
  }
  if (/^\p{L}+$/u.test(token)) {
    return Math.min(11 + Math.max(0, chars.length - 8), distinct * 3);
  }
  return token === " " ? 1 : 5;
}

function run(chars: string[]): boolean {
  const step = chars[1]!.codePointAt(0)! - chars[0]!.codePointAt(0)!;
  return Math.abs(step) === 1 && chars.every((c, i) => i === 0 || c.codePointAt(0)! - chars[i - 1]!.codePointAt(0)! === step);
}
