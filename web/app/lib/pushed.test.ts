import { expect, test } from "vitest";
import de from "../messages/de";
import { plain, pushed, shown, type Words } from "./pushed";

const conversation = "0b9c1c62-9a43-4a7f-8a52-0f8d5b7c3d10";
const show = (value: unknown, words = plain) => shown(pushed(value), words);

test("a message says how many wait, and leads to its conversation", () => {
  expect(show({ kind: "messages", conversation_id: conversation, count: 3 })).toEqual(
    { body: "3 new messages", lang: "en", tag: conversation, silent: false, path: `/c/${conversation}` });
  const german: Words = { language: "de", waiting: de["notify.waiting"] as Record<string, string>, kinds: {} };
  expect(show({ kind: "messages", conversation_id: conversation, count: 1 }, german).body).toBe("1 neue Nachricht");
  expect(show({ kind: "welcome", count: 1 })).toMatchObject({ body: "Something is new", tag: "welcome", path: "/settings/notices" });
});

test("whatever cannot be read is told as something new, and leads nowhere else", () => {
  const generic = { body: "New messages", tag: "messages", path: "/" };
  for (const odd of [undefined, null, 0, "", "text", true, [], {}, [null], { kind: 7, count: "9", conversation_id: 3 }, { count: -1 }, { count: 0.5 }, { count: 1e300 }]) {
    expect(show(odd), JSON.stringify(odd)).toMatchObject(generic);
  }
  for (const path of ["../settings/account", "", `${conversation}/..`, conversation.toUpperCase(), `${conversation}\n`, [conversation]]) {
    expect(show({ kind: "messages", conversation_id: path, count: 1 }).path, String(path)).toBe("/");
  }
  for (const kind of ["constructor", "__proto__", "toString", ""]) {
    expect(show({ kind }), kind).toMatchObject({ body: "Something is new", path: "/settings/notices" });
  }
});

test("what is for mentions only makes no sound", () => {
  expect(show({ kind: "messages", count: 1, mentions_only: true }).silent).toBe(true);
  expect(show({ kind: "messages", count: 1, mentions_only: "yes" }).silent).toBe(false);
});

test("words that an earlier version left are enough", () => {
  expect(show({ kind: "welcome" }, { language: "de", waiting: {}, kinds: {} }).body).toBe("Something is new");
  expect(show({ kind: "messages", count: 2 }, { language: "de", waiting: {}, kinds: { messages: "Neue Nachrichten" } }).body).toBe("Neue Nachrichten");
});
