import type { Event, ID, Notification } from "sotto-sdk";
import { client, sotto } from "./client.svelte";

const pageSize = 20;

// Notices are what happened to the account, newest first; new ones come in by themselves.
class Notices {
  all = $state.raw<Notification[]>([]);
  unread = $state(0); // of all, also of those further back
  next = $state(0); // where the page after those that are here begins; 0: nowhere
  loaded = $state(false);
  readonly #marking = new Set<number>();

  constructor() {
    sotto.onEvent((e) => this.#hear(e));
  }

  // load reads the newest page, again after events may have been lost.
  async load(): Promise<void> {
    const page = await client.ask("notifications", { limit: pageSize });
    this.all = page.notifications;
    this.next = page.next ?? 0;
    this.unread = page.unread;
    this.loaded = true;
  }

  async more(): Promise<void> {
    const page = await client.ask("notifications", { limit: pageSize, before: this.next });
    this.all = [...this.all, ...page.notifications.filter((n) => this.all.every((m) => m.id !== n.id))];
    this.next = page.next ?? 0;
    this.unread = page.unread;
  }

  async read(n: Notification): Promise<void> {
    if (n.read || this.#marking.has(n.id)) {
      return;
    }
    this.#marking.add(n.id);
    try {
      await client.ask("readNotification", { id: n.id });
      this.#put(n.id, { ...n, read: true });
    } finally {
      this.#marking.delete(n.id);
    }
  }

  async readAll(): Promise<void> {
    const newest = this.all[0]?.id ?? 0;
    this.unread = (await client.ask("readNotifications", { id: newest })).unread;
    this.all = this.all.map((n) => (n.id <= newest ? { ...n, read: true } : n));
  }

  async drop(n: Notification): Promise<void> {
    await client.ask("deleteNotification", { id: n.id });
    this.#put(n.id, undefined);
  }

  // seen marks what tells of a conversation, which somebody is looking at.
  seen(conversation: ID): void {
    this.all.filter((n) => n.conversation_id === conversation).forEach((n) => {
      this.read(n).catch(() => undefined); // it is marked by hand, or the next time
    });
  }

  forget(): void {
    this.all = [];
    this.unread = this.next = 0;
    this.loaded = false;
  }

  // put changes one that is here, or takes it away, and the count with it.
  #put(id: number, to: Notification | undefined): void {
    const was = this.all.find((n) => n.id === id);
    if (was) {
      this.unread += Number(to?.read === false) - Number(!was.read);
      this.all = this.all.flatMap((n) => (n.id !== id ? [n] : to ? [to] : []));
    }
  }

  #hear(e: Event): void {
    if (e.type === "connected" || e.type === "resync") {
      if (client.status.account) {
        this.load().catch(() => undefined); // the next connection reads again
      }
    } else if (e.type === "notification" && e.notification && this.loaded) {
      this.#add(e.notification);
    }
  }

  // add puts a new one first. What waits in a conversation takes the place of what waited there before.
  #add(n: Notification): void {
    this.all.filter((m) => m.id === n.id || (!m.read && n.conversation_id !== undefined && m.conversation_id === n.conversation_id))
      .forEach((m) => this.#put(m.id, undefined));
    this.all = [n, ...this.all];
    this.unread += Number(!n.read);
  }
}

export const notices = new Notices();
