import { describe, expect, test } from "vitest";
import { fold, Index, words, type SearchHit } from "./fold";

let n = 0;
const hit = (text: string, at = ++n): SearchHit => ({ conversation: "c", id: `m${++n}`, position: { epoch: 1, seq: n }, at, own: false, text });

describe("search", () => {
  test.each([
    ["Grüße aus Köln", "grusse koln"], ["GROSSE STRASSE", "große straße"], ["Ελληνικός", "ελληνικος"], ["été à Nîmes", "ETE nimes"],
    ["今天天气很好", "天气"], ["مُحَمَّد", "محمد"], ["ﬁnal ２０２６", "final 2026"], ["Привет мир", "прив"], ["สวัสดีครับ", "สวัส"], ["a middle part", "ddle"],
  ])("%s is found by %s", (text, query) => {
    const index = new Index();
    index.add([hit(text), hit("something else")]);
    expect(index.find(query, 10).map((h) => h.text)).toEqual([text]);
  });

  test("every word has to occur; quotes keep words together; newest first; bounded", () => {
    const index = new Index();
    index.add([hit("red green blue", 1), hit("green red", 2), hit("red", 3)]);
    expect(index.find("red green", 10).map((h) => h.at)).toEqual([2, 1]);
    expect(index.find('"red green"', 10).map((h) => h.at)).toEqual([1]);
    expect(index.find("red", 2).map((h) => h.at)).toEqual([3, 2]);
    expect(index.find("  ", 2)).toEqual([]);
    expect(words("a ".repeat(100)).length).toBe(16);
  });

  test("a message is there once, and can go away", () => {
    const index = new Index(), h = hit("once");
    index.add([h]);
    index.add([{ ...h, text: "changed" }]);
    expect(index.size).toBe(1);
    expect(index.find("once", 1)).toEqual([]);
    index.remove(h.conversation, h.id);
    expect(index.find("changed", 1)).toEqual([]);
  });

  test("58,000 messages are searched at once", () => {
    const index = new Index();
    index.add(Array.from({ length: 58_000 }, (_, i) => hit(`message number ${i} with some words in it`)));
    expect(index.find("57123", 10).length).toBe(1);
  });
});

test("folding keeps scripts apart and symbols", () => {
  expect(fold("İI")).toBe("ii");
  expect(fold("C++ 👍")).toBe("c++ 👍");
});
