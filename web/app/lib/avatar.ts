// hue derives a colour from an account's id: the same on every device, and nothing to upload.
export function hue(id: string): number {
  let h = 0;
  for (const c of id) {
    h = (Math.imul(h, 31) + c.charCodeAt(0)) >>> 0;
  }
  return h % 360;
}

// initials are two letters of a name, of its first two parts where it has them.
export function initials(name: string): string {
  const parts = name.split(/[._\s-]+/u).filter((p) => p !== "");
  const letters = parts.length > 1 ? [first(parts[0]!), first(parts[1]!)] : [...(parts[0] ?? "?")].slice(0, 2);
  return letters.join("").toUpperCase();
}

const first = (s: string): string => [...s][0] ?? "";
