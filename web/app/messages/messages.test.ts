import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { fill, languages, preferred } from "../state/language.svelte";
import ar from "./ar";
import de from "./de";
import en, { type Catalogue, type Plural } from "./en";

const values = (text: string) => [...new Set([...text.matchAll(/\{\w+\}/g)].map((m) => m[0]))].sort();

describe.each<[string, Catalogue]>([["de", de], ["ar", ar], ["en", en]])("%s", (language, catalogue) => {
  test("has every text and no other", () => expect(Object.keys(catalogue).sort()).toEqual(Object.keys(en).sort()));

  test("uses the same values, and every plural form of the language", () => {
    const forms = new Intl.PluralRules(language).resolvedOptions().pluralCategories.sort();
    for (const [key, text] of Object.entries(catalogue)) {
      const source = en[key as keyof typeof en];
      expect(typeof text, key).toBe(typeof source);
      if (typeof text === "string") {
        expect(values(text), key).toEqual(values(source as string));
      } else {
        expect(Object.keys(text).sort(), key).toEqual(forms);
        expect(values(text.other), key).toEqual(values((source as Plural).other));
      }
    }
  });

  test("has no empty text", () => {
    for (const [key, text] of Object.entries(catalogue)) {
      for (const form of typeof text === "string" ? [text] : Object.values(text)) {
        expect(form.trim(), key).not.toBe("");
      }
    }
  });
});

test("plural forms and numbers follow the language", () => {
  expect(fill(ar["list.unread"], { n: 2 }, "ar")).toBe("رسالتان غير مقروءتين");
  expect(fill(ar["list.unread"], { n: 3 }, "ar-EG")).toContain("رسائل");
  expect(fill(de["list.unread"], { n: 1 }, "de")).toBe("1 ungelesene Nachricht");
  expect(fill(en["list.unread"], { n: 1200 }, "en")).toBe("1,200 unread messages");
  expect(fill("{name} {other}", { name: "{other}" }, "en")).toBe("{other} {other}");
});

test("the browser's languages decide, English is the last resort", () => {
  expect(preferred(["fr", "de-AT", "en"])).toBe("de");
  expect(preferred(["fr", "zh"])).toBe("en");
  expect(preferred(["toString"])).toBe("en");
  expect(Object.keys(languages)).toEqual(["en", "de", "ar"]);
});

// Rules of the pages that no type holds.
const app = join(import.meta.dirname, "..");
const sources = readdirSync(app, { recursive: true, encoding: "utf8" }).filter((f) => /\.(svelte|ts)$/.test(f) && !f.endsWith(".test.ts"));

test.each(sources)("%s makes no HTML from text and knows no other origin", (file) => {
  const text = readFileSync(join(app, file), "utf8");
  expect(text).not.toMatch(/\{@html|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function/);
  expect(text.replaceAll("https?:", "").replaceAll('"http:"', "").replaceAll('"https:"', "")).not.toMatch(/https?:\/\/(?!\$|[^/]*w3\.org)/);
});

test.each(sources.filter((f) => f.endsWith(".svelte")))("%s lays out by reading direction", (file) => {
  const css = readFileSync(join(app, file), "utf8").match(/<style>[\s\S]*<\/style>/)?.[0] ?? "";
  expect(css).not.toMatch(/(^|[\s;{])((margin|padding|border)-(left|right|top|bottom)|left|right|float: (left|right)|text-align: (left|right))\b/m);
});

test.each(sources.filter((f) => f.endsWith(".svelte")))("%s speaks only through the catalogues", (file) => {
  const markup = readFileSync(join(app, file), "utf8").replace(/<(script|style)[\s\S]*?<\/\1>/g, "").replace(/<!--[\s\S]*?-->/g, "")
    .replace(/\{[^{}]*(\{[^{}]*(\{[^{}]*\}[^{}]*)*\}[^{}]*)*\}/g, "").replace(/<[^>]*>/g, " ");
  expect(markup.match(/\p{L}{3,}/u)?.[0]).toBeUndefined();
});
