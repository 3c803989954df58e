import type { Conversation } from "sotto-sdk";
import { beforeAll, expect, test, vi } from "vitest";

const asked = vi.hoisted(() => [] as [string, object][]);
const conversation = { id: "c", kind: "direct", read: { epoch: 0, seq: 0 }, settings: { pinned: true } } as Conversation;
vi.mock("./client.svelte", () => ({
  client: { ask: (operation: string, args: object) => { asked.push([operation, args]); return Promise.resolve({}); }, status: { account: {} } },
  sotto: { onEvent: () => {} },
}));
vi.mock("./day.svelte", () => ({ day: { now: 0 } }));

let chats: typeof import("./chats.svelte").chats, forever: number, Chat: typeof import("./chat.svelte").Chat;
beforeAll(async () => {
  vi.stubGlobal("addEventListener", () => {});
  vi.stubGlobal("location", { pathname: "/" });
  ({ chats, forever } = await import("./chats.svelte"));
  ({ Chat } = await import("./chat.svelte"));
});

const told = () => asked.splice(0).filter(([operation]) => operation === "setConversationNotifications").map(([, args]) => args);

test("whoever takes a username as a display name is found after its owner", () => {
  const of = (username: string, display_name: string) =>
    new Chat({ ...conversation, id: username, state: "accepted", settings: {}, username, profile: { display_name } } as Conversation);
  chats.all = [of("alice-b", "Bob"), of("bob", ""), of("mallory", "bob")];
  const names = (text: string) => chats.called(text).map((c) => c.name);
  expect(names("bob")).toEqual(["bob", "alice-b", "mallory"]);
  expect(names("BOB ")).toEqual(["bob", "alice-b", "mallory"]);
  expect(names("mal")).toEqual(["mallory"]);
  expect(names("")).toHaveLength(3);
  chats.all = [];
});

test("a mute with an end ends by itself, with the account's channels", async () => {
  const c = new Chat(conversation), until = Date.now() + 60_000;
  await chats.configure(c, { muted_until: until });
  expect(asked[0]).toEqual(["configure", { conversation: "c", settings: { pinned: true, muted_until: until } }]);
  expect(told()).toEqual([{ conversation: "c", set: { muted_until: until, mentions_only: false } }]);
  expect(c.muted).toBe(true);
  vi.useFakeTimers({ now: until + 1 });
  expect(c.muted).toBe(false);
  vi.useRealTimers();
});

test("a mute without an end is ended by hand", async () => {
  const c = new Chat(conversation);
  await chats.configure(c, { muted_until: forever });
  expect(told()).toEqual([{ conversation: "c", set: { channels: { app: true, mail: false, push: false }, mentions_only: false } }]);
  await chats.configure(c, { muted_until: 0 });
  expect(told()).toEqual([{ conversation: "c" }]);
  expect(c.muted).toBe(false);
  await chats.configure(c, { pinned: false });
  expect(told()).toEqual([]);
});
