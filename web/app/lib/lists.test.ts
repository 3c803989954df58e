import type { Message } from "sotto-sdk";
import { describe, expect, test } from "vitest";
import { excerpt } from "./excerpt";
import { days, groupGap } from "./rows";
import { strength } from "./strength";
import { dayName, endTime, listTime } from "./time";
import { around, down, last, stride, up, windowSize } from "./window";

const noon = new Date(2026, 5, 15, 12).getTime();

function message(id: string, sender: string, at: number): Message {
  return {
    conversation: "c", id, position: { epoch: 1, seq: Number(id) }, sender, sender_device: 1, own: false, sent_at: at, server_time: at,
    state: "stored", text: id, body: { kind: 16, bytes: "" }, showable: true,
  };
}

test("messages are grouped by day, author and five minutes", () => {
  const all = [
    message("1", "a", noon - 86_400_000), message("2", "a", noon), message("3", "a", noon + 1000), message("4", "b", noon + 2000),
    message("5", "b", noon + 2000 + groupGap),
  ];
  const got = days(all, 0, 5, undefined);
  expect(got.map((d) => d.rows.map((r) => [r.message.id, r.first, r.last]))).toEqual([
    [["1", true, true]], [["2", true, false], ["3", false, true], ["4", true, true], ["5", true, true]],
  ]);
  expect(days(all, 1, 5, "3")[0]!.rows.map((r) => r.first)).toEqual([true, true, true, true]);
  expect(days([], 0, 0, undefined)).toEqual([]);
});

describe("the window over a long list", () => {
  test("stays bounded and reaches both ends", () => {
    const n = 10_000;
    let r = last(n);
    expect(r).toEqual({ from: n - windowSize, to: n });
    for (let i = 0; r.from > 0; i++) {
      const next = up(r);
      expect(r.from - next.from).toBe(Math.min(stride, r.from));
      expect(next.to - next.from).toBeLessThanOrEqual(windowSize);
      r = next;
      expect(i).toBeLessThan(n);
    }
    while (r.to < n) {
      r = down(r, n);
      expect(r.to - r.from).toBeLessThanOrEqual(windowSize);
    }
    expect(around(5_000, n)).toEqual({ from: 5_000 - windowSize / 2, to: 5_000 + windowSize / 2 });
    expect(around(3, n)).toEqual({ from: 0, to: windowSize });
    expect(around(1, 2)).toEqual({ from: 0, to: 2 });
  });
});

test("days and times as people say them", () => {
  expect(dayName(noon, "en", noon)).toBe("Today");
  expect(dayName(noon - 86_400_000, "de", noon)).toBe("Gestern");
  expect(dayName(noon - 3 * 86_400_000, "en", noon)).toBe("Friday");
  expect(dayName(new Date(2024, 0, 2).getTime(), "en", noon)).toBe("January 2, 2024");
  expect(listTime(noon, "en-GB", noon)).toBe("12:00");
  expect(endTime(noon, "en-GB", noon - 8 * 3_600_000)).toBe("12:00");
  expect(endTime(noon, "en-GB", noon - 86_400_000)).toMatch(/\D\d{1,2} \w{3,4}\D+12:00$/);
  expect(dayName(noon + 3 * 86_400_000, "en", noon)).toBe("June 18"); // a clock that is wrong
});

test("an excerpt shows the first hit and marks all", () => {
  const got = excerpt(`${"x ".repeat(60)}Straße in ÖSTERREICH and österreich`, "osterreich strasse");
  expect(got[0]!.text.startsWith("…x x")).toBe(true);
  expect(got.filter((p) => p.found).map((p) => p.text)).toEqual(["Straße", "ÖSTERREICH", "österreich"]);
  expect(excerpt("nothing", "zzz")).toEqual([{ text: "nothing", found: false }]);
});

test.each([
  ["", "empty"], ["kurz", "short"], ["aaaaaaaaaaaa", "weak"], ["abcdefghijkl", "weak"], ["12345678901234", "weak"], ["alice2024alice", "weak"],
  ["correct horse battery", "fair"], ["correct horse battery staple mountain", "good"], ["xK9#mQ2$vL7&pR4!", "good"],
] as const)("the hint for %s is %s", (password, want) => expect(strength(password, "alice")).toBe(want));
