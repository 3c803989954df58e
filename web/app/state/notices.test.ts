import type { Event, Notification } from "sotto-sdk";
import { beforeEach, expect, test, vi } from "vitest";

// The server's list, and what was asked of it.
const server = vi.hoisted(() => ({
  list: [] as Notification[], hear: undefined as unknown as (e: Event) => void, refuses: false, asked: [] as string[],
  ask: (operation: string, { id, before, limit }: { id: number; before?: number; limit: number }): Promise<unknown> => {
    server.asked.push(operation);
    if (server.refuses) {
      return Promise.reject(new Error("refused"));
    }
    const unread = () => server.list.filter((n) => !n.read).length;
    switch (operation) {
      case "readNotification": server.list = server.list.map((n) => (n.id === id ? { ...n, read: true } : n)); return Promise.resolve({});
      case "readNotifications": server.list = server.list.map((n) => (n.id <= id ? { ...n, read: true } : n)); return Promise.resolve({ unread: unread() });
      case "deleteNotification": server.list = server.list.filter((n) => n.id !== id); return Promise.resolve({});
    }
    const notifications = server.list.filter((n) => n.id < (before ?? Infinity)).slice(0, limit);
    return Promise.resolve({ notifications, unread: unread(), ...notifications.length === limit && { next: notifications.at(-1)!.id } });
  },
}));
vi.mock("./client.svelte", () => ({
  client: { ask: server.ask, status: { account: {} } }, sotto: { onEvent: (f: (e: Event) => void) => { server.hear = f; } },
}));
const { notices } = await import("./notices.svelte");

const item = (id: number, conversation?: string): Notification =>
  ({ id, kind: conversation ? "messages" : "welcome", count: 1, at: id, read: false, ...conversation && { conversation_id: conversation } });
const ids = () => notices.all.map((n) => n.id);
const live = (n: Notification) => { server.list = [n, ...server.list]; server.hear({ type: "notification", notification: n }); };

beforeEach(async () => {
  server.refuses = false;
  server.list = Array.from({ length: 25 }, (_, i) => item(25 - i));
  await notices.load();
});

test("pages follow each other, and the count is of all", async () => {
  expect([notices.all.length, notices.unread, notices.next]).toEqual([20, 25, 6]);
  await notices.more();
  expect([ids(), notices.next]).toEqual([server.list.map((n) => n.id), 0]);
});

test("one is marked, all are, one is taken away", async () => {
  await notices.read(notices.all[1]!);
  expect([notices.unread, notices.all.filter((n) => n.read).map((n) => n.id)]).toEqual([24, [24]]);
  await notices.read(notices.all[1]!);
  expect(notices.unread).toBe(24);
  await notices.drop(notices.all[1]!); // was read
  await notices.drop(notices.all[0]!);
  expect([notices.unread, ids().slice(0, 2)]).toEqual([23, [23, 22]]);
  await notices.readAll();
  expect([notices.unread, notices.all.every((n) => n.read)]).toEqual([0, true]);
});

test("what is refused changes nothing", async () => {
  server.refuses = true;
  for (const f of [() => notices.read(notices.all[0]!), () => notices.readAll(), () => notices.drop(notices.all[0]!), () => notices.more()]) {
    await expect(f()).rejects.toThrow("refused");
  }
  expect([notices.unread, notices.all.length, notices.all.some((n) => n.read)]).toEqual([25, 20, false]);
  server.refuses = false;
  await notices.read(notices.all[0]!); // can be tried again
  expect(notices.unread).toBe(24);
});

test("a new one comes first, in the place of what waited in the same conversation", () => {
  live(item(26, "c"));
  live(item(27, "d"));
  expect([notices.unread, ids().slice(0, 2)]).toEqual([27, [27, 26]]);
  live(item(28, "c"));
  expect([notices.unread, ids().slice(0, 3)]).toEqual([27, [28, 27, 25]]);
  live(item(29));
  server.hear({ type: "notification", notification: item(29) }); // told twice
  expect([notices.unread, ids().slice(0, 4)]).toEqual([28, [29, 28, 27, 25]]);
});

test("what tells of a conversation is read with it", async () => {
  live(item(26, "c"));
  server.asked = [];
  notices.seen("c");
  notices.seen("c");
  await vi.waitFor(() => { expect(notices.unread).toBe(25); });
  expect(server.asked).toEqual(["readNotification"]);
  expect(server.list.filter((n) => n.read).map((n) => n.id)).toEqual([26]);
});

test("after a new connection the list is that of the server", async () => {
  server.list = [item(30)];
  server.hear({ type: "connected" });
  await vi.waitFor(() => { expect(ids()).toEqual([30]); });
  notices.forget();
  expect([ids(), notices.unread, notices.loaded]).toEqual([[], 0, false]);
});
