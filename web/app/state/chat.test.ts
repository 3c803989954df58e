import type { Message } from "sotto-sdk";
import { expect, test, vi } from "vitest";
import { Chat } from "./chat.svelte";

let answer: (a: { messages: Message[] }) => void;
vi.mock("./client.svelte", () => ({ client: { ask: () => new Promise((resolve) => { answer = resolve; }) } }));
vi.mock("./day.svelte", () => ({ day: { now: 0 } }));

const chat = () => new Chat({ id: "c", read: { epoch: 0, seq: 0 }, settings: {} } as never);
const message = (seq: number): Message => ({ id: `m${seq}`, position: { epoch: 1, seq }, state: "stored", own: true, text: `${seq}` } as Message);
const ids = (c: Chat) => c.messages.map((m) => m.id);

test("what comes while the core is asked is not lost to its answer", async () => {
  const c = chat();
  const first = c.load();
  c.put(message(2));
  answer({ messages: [message(1)] });
  await first;
  expect(ids(c)).toEqual(["m1", "m2"]);
  expect(c.last?.id).toBe("m2");

  const second = c.load();
  c.put(message(3));
  c.changed({ ...message(1), erased: "deleted" });
  c.delivered(["m2"]);
  answer({ messages: [message(1), message(2)] });
  await second;
  expect(c.messages.map((m) => [m.id, m.state])).toEqual([["m2", "delivered"], ["m3", "stored"]]);
});

test("what came before the question is the answer's", async () => {
  const c = chat();
  const first = c.load();
  answer({ messages: [message(1), message(2)] });
  await first;
  const second = c.load();
  answer({ messages: [message(2)] });
  await second;
  expect(ids(c)).toEqual(["m2"]);
});

test("a display name is shown beside the username, and not before the request is accepted", () => {
  const of = (more: object) => new Chat({ id: "c", kind: "direct", state: "accepted", username: "mallory", read: { epoch: 0, seq: 0 }, settings: {}, ...more } as never);
  const profile = { display_name: "bob\u202e", status: "away" };
  expect([of({ profile }).display, of({ profile }).title, of({ profile }).status]).toEqual(["bob", "\u2068bob\u2069 (mallory)", "away"]);
  for (const state of ["requested", "blocked"]) {
    expect([of({ profile, state }).display, of({ profile, state }).title, of({ profile, state }).status]).toEqual(["", "mallory", ""]);
  }
  expect(of({ profile: { display_name: "mallory" } }).title).toBe("mallory");
  expect(of({ profile, kind: "self" }).display).toBe("");
});
