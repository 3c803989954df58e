import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";

// The colours of tokens.css against WCAG 2.2 in both themes: text 4.5:1, lines and signs that mean something 3:1.
const css = readFileSync(new URL("../styles/tokens.css", import.meta.url), "utf8");
const tokens = new Map([...css.matchAll(/--([\w-]+): light-dark\(oklch\(([^)]*)\), oklch\(([^)]*)\)\)/g)].map((m) => [m[1]!, [m[2]!, m[3]!] as const]));

// luminance of an OKLCH colour, over linear sRGB, clipped to what screens show.
function luminance(oklch: string): number {
  const [l, c, h] = oklch.split(/\s+/).map(Number) as [number, number, number];
  const a = c * Math.cos((h * Math.PI) / 180), b = c * Math.sin((h * Math.PI) / 180);
  const l3 = (l + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m3 = (l - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s3 = (l - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const clip = (x: number) => Math.min(1, Math.max(0, x));
  const red = clip(4.0767416621 * l3 - 3.3077115913 * m3 + 0.2309699292 * s3);
  const green = clip(-1.2684380046 * l3 + 2.6097574011 * m3 - 0.3413193965 * s3);
  const blue = clip(-0.0041960863 * l3 - 0.7034186147 * m3 + 1.707614701 * s3);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function contrast(a: string, b: string, theme: 0 | 1): number {
  const [x, y] = [luminance(tokens.get(a)![theme]), luminance(tokens.get(b)![theme])];
  return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
}

const backgrounds = ["bg", "surface", "raised", "hover", "chosen", "own-bubble"];
const pairs: [string, string, number][] = [
  ...backgrounds.flatMap((b): [string, string, number][] => [["text", b, 4.5], ["text-muted", b, 4.5]]),
  ...["bg", "surface", "raised", "hover"].flatMap((b): [string, string, number][] => [
    ["accent", b, 4.5], ["danger", b, 4.5], ["warning", b, 4.5], ["success", b, 4.5], ["edge", b, 3], ["focus", b, 3],
  ]),
  ["accent", "chosen", 4.5], ["accent", "own-bubble", 4.5], ["danger", "own-bubble", 4.5],
  ["accent-text", "accent", 4.5], ["accent-text", "accent-hover", 4.5], ["text", "warning-bg", 4.5], ["warning", "warning-bg", 3], ["text", "mark", 4.5],
];

describe.each([["light", 0], ["dark", 1]] as const)("%s", (_, theme) => {
  test.each(pairs)("%s on %s", (a, b, least) => expect(contrast(a, b, theme)).toBeGreaterThanOrEqual(least));

  // Letters of avatars: every hue.
  test("avatars", () => {
    for (let hue = 0; hue < 360; hue += 5) {
      const back = luminance(theme === 0 ? `0.9 0.045 ${hue}` : `0.38 0.06 ${hue}`);
      const letters = luminance(theme === 0 ? `0.38 0.09 ${hue}` : `0.92 0.04 ${hue}`);
      expect((Math.max(back, letters) + 0.05) / (Math.min(back, letters) + 0.05)).toBeGreaterThanOrEqual(4.5);
    }
  });
});

test("the formula knows black and white", () => {
  expect((luminance("1 0 0") + 0.05) / (luminance("0 0 0") + 0.05)).toBeCloseTo(21, 1);
});
