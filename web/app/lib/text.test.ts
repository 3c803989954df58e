import { describe, expect, test } from "vitest";
import { byteLength, displayed, emojiOnly, oneLine, parts } from "./text";

const links = (text: string) => parts(text).filter((p) => p.kind === "link").map((p) => [p.text, p.href]);

describe("links", () => {
  test.each([
    ["see https://example.org/a?b=c#d.", [["https://example.org/a?b=c#d", "https://example.org/a?b=c#d"]]],
    ["(https://example.org/wiki/A_(b))", [["https://example.org/wiki/A_(b)", "https://example.org/wiki/A_(b)"]]],
    ["HTTP://EXAMPLE.ORG", [["HTTP://EXAMPLE.ORG", "http://example.org/"]]],
    ["http://a.b und https://c.d!", [["http://a.b", "http://a.b/"], ["https://c.d", "https://c.d/"]]],
    ["javascript:alert(1)", []],
    ["data:text/html,<script>1</script>", []],
    ["https://user:secret@example.org/", []],
    ["https://", []],
    ["file:///etc/passwd ftp://x.y", []],
    ["no address", []],
  ])("%s", (text, want) => expect(links(text)).toEqual(want));

  test("nothing is lost or added", () => {
    for (const text of ["a https://b.c d", "https://b.c", "x", "https://user@b.c y https://d.e."]) {
      expect(parts(text).map((p) => p.text).join("")).toBe(text);
    }
  });

  test("directions cannot hide an address", () => {
    expect(links("https://good.example/\u202egnp.exe")).toEqual([["https://good.example/", "https://good.example/"]]);
  });

  test("many addresses stay bounded", () => {
    expect(links("https://a.b ".repeat(500)).length).toBe(50);
  });
});

test("emoji alone are large", () => {
  for (const text of ["👋", "👍🏽 🎉", "👩‍👩‍👧‍👦", "❤️", "🇩🇪"]) {
    expect(emojiOnly(text), text).toBe(true);
  }
  for (const text of ["", " ", "a👋", "1", "#", "👋👋👋👋👋👋👋", "👋".repeat(200)]) {
    expect(emojiOnly(text), text).toBe(false);
  }
});

test("sizes and previews", () => {
  expect(byteLength("ü👋")).toBe(6);
  expect(oneLine(" a\n\n b\tc ")).toBe("a b c");
  expect(oneLine("x".repeat(5000)).length).toBe(200);
});

describe("a display name is shown", () => {
  test.each([
    ["Ada Lovelace", "Ada Lovelace"],
    ["  Ada\n\tLovelace ", "Ada Lovelace"],
    ["\u202eecalevoL\u202c \u2067x\u2069\u200f", "ecalevoL x"],
    ["A\u200bd\u0000a\u001b[2J\ufeff", "Ada[2J"],
    ["نور", "نور"],
    ["می\u200cخواهم", "می\u200cخواهم"],
    ["👩‍👩‍👧 Müller", "👩‍👩‍👧 Müller"],
    [`Z${"\u0301".repeat(40)}a`, "Z\u0301\u0301\u0301a"],
    ["\u200d\u00a0\u3164\u2800 \u0301", ""],
    ["", ""],
  ])("%j", (name, want) => expect(displayed(name)).toBe(want));

  test("in bounds", () => expect(displayed("x".repeat(5000)).length).toBe(128));
});
