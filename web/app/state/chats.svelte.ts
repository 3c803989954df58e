import type { Conversation, ConversationNotifications, Event, History, ID, Message, Position, Presence } from "sotto-sdk";
import { effect } from "../lib/actions";
import { fold } from "../lib/fold";
import { announce } from "./announce.svelte";
import { Chat } from "./chat.svelte";
import { client, sotto } from "./client.svelte";
import { notices } from "./notices.svelte";
import { before } from "./order";
import { pictures } from "./pictures.svelte";
import { own } from "./profile.svelte";
import { preferences } from "./preferences.svelte";
import { t } from "./language.svelte";
import { router } from "./router.svelte";
import * as vault from "./vault";

const previewsAtOnce = 16; // requests for previews that are worked on at the same time
const mostUnread = 99; // counted exactly up to here

interface Kept { drafts: Record<ID, string> }

export const forever = 253_402_214_400_000; // milliseconds: muted until somebody changes it

// Chats are all conversations, kept up to date by the core's events.
class Chats {
  all = $state.raw<Chat[]>([]);
  loaded = $state(false);
  history = $state.raw<History | undefined>(); // while older messages are restored on a new device
  #reading: ReturnType<typeof setTimeout> | undefined;
  #byID = new Map<ID, Chat>();
  #saving: ReturnType<typeof setTimeout> | undefined;
  #marking = new Map<ID, ReturnType<typeof setTimeout>>();

  // ordered is how the list shows them: pinned first, then by the newest message.
  ordered: Chat[] = $derived([...this.all].filter((c) => !c.info.settings.hidden || c.unread > 0)
    .sort((a, b) => Number(b.pinned) - Number(a.pinned) || b.at - a.at || a.name.localeCompare(b.name)));
  requests: Chat[] = $derived(this.ordered.filter((c) => c.info.state === "requested"));
  unread: number = $derived(this.all.reduce((n, c) => n + (c.muted || c.info.state === "blocked" ? 0 : c.unread), 0));

  constructor() {
    sotto.onEvent((e) => void this.#hear(e));
    addEventListener("pagehide", () => this.#saveNow());
  }

  get(id: ID): Chat | undefined {
    void this.all; // who asks is told when conversations are added
    return this.#byID.get(id);
  }

  async load(): Promise<void> {
    if (!client.status.account) {
      return;
    }
    const [{ conversations }, { notices }] = await Promise.all([client.ask("conversations", {}), client.ask("notices", {})]);
    const kept = this.loaded ? undefined : await vault.read<Kept>("page");
    const added = conversations.filter((v) => !this.#byID.has(v.id));
    conversations.forEach((v) => this.#learn(v));
    for (const { id } of added) {
      const c = this.#byID.get(id)!;
      c.draft = kept?.drafts[id] ?? "";
    }
    for (const c of this.all) {
      c.notices = notices.filter((n) => n.conversation === c.id);
    }
    own.load().catch(() => undefined); // the settings read it again
    const queue = [...this.all];
    await Promise.all(Array.from({ length: previewsAtOnce }, async () => {
      for (let c = queue.shift(); c; c = queue.shift()) {
        await this.#preview(c).catch(() => undefined); // its row shows no preview
      }
    }));
    this.loaded = true;
    this.#restored(await client.ask("history", {}));
    if (client.status.connection === "online") {
      await this.#presence();
    }
  }

  // restored takes the progress of the restoring. What it brought is read again every two seconds at most.
  #restored(h: History): void {
    this.history = h.complete || h.of === 0 ? undefined : h;
  }

  forget(): void {
    clearTimeout(this.#saving);
    this.#saving = undefined;
    clearTimeout(this.#reading);
    this.#reading = undefined;
    this.history = undefined;
    this.#byID.clear();
    pictures.forget();
    own.forget();
    this.all = [];
    this.loaded = false;
  }

  // called are the conversations that a text names. Usernames come first: whoever takes somebody's name as a display name
  // does not come before them.
  called(text: string): Chat[] {
    const wanted = fold(text.trim());
    const by = (name: (c: Chat) => string) => this.ordered.filter((c) => fold(name(c)).includes(wanted));
    return [...new Set([...by((c) => (c.self ? t("self") : c.name)), ...by((c) => c.display)])];
  }

  // open opens a conversation with a person.
  async open(username: string): Promise<Chat> {
    const known = this.all.find((c) => c.name === username.toLowerCase());
    const c = known ?? this.#learn(await client.ask("conversation", { username: username.toLowerCase() }));
    router.go(`/c/${c.id}`);
    return c;
  }

  // seen marks everything that is there as read, here at once and on all devices within a second.
  seen(c: Chat): void {
    notices.seen(c.id);
    const newest = c.messages.findLast((m) => m.position)?.position ?? c.last?.position ?? null;
    c.unread = 0;
    if (!newest || !before(c.read, newest)) {
      return;
    }
    c.read = newest;
    if (!this.#marking.has(c.id)) {
      this.#marking.set(c.id, setTimeout(() => {
        this.#marking.delete(c.id);
        client.ask("markRead", { conversation: c.id, position: c.read }).catch(() => undefined); // said again the next time
      }, 500));
    }
  }

  async configure(c: Chat, change: { pinned?: boolean; muted_until?: number; hidden?: boolean }): Promise<void> {
    const settings = { ...c.info.settings, ...change };
    await client.ask("configure", { conversation: c.id, settings });
    c.info = { ...c.info, settings };
    if (change.muted_until !== undefined) { // the server alone can hold push and mail back
      await client.ask("setConversationNotifications", { conversation: c.id, ...change.muted_until > 0 && { set: quiet(change.muted_until) } });
    }
  }

  // save keeps drafts and marks soon; several changes in a row are one write.
  save(): void {
    this.#saving ??= setTimeout(() => this.#saveNow(), 400);
  }

  #saveNow(): void {
    if (this.#saving === undefined || !client.status.account) {
      return;
    }
    clearTimeout(this.#saving);
    this.#saving = undefined;
    const drafts = this.all.map((c) => [c.id, [...c.sending, c.draft].filter((text) => text !== "").join("\n")]);
    const kept: Kept = { drafts: Object.fromEntries(drafts.filter(([, text]) => text)) };
    void vault.write("page", kept);
  }

  #learn(v: Conversation): Chat {
    const known = this.#byID.get(v.id);
    if (known) {
      known.learn(v);
      return known;
    }
    const c = new Chat(v);
    this.#byID.set(v.id, c);
    this.all = [...this.all, c];
    return c;
  }

  async #preview(c: Chat): Promise<void> {
    const shown = c.unread;
    let newest: Position | null = null;
    await c.current(this.#newest(c), (messages) => {
      c.last = messages.findLast((m) => !m.erased) ?? c.last;
      newest = messages.findLast((m) => m.position)?.position ?? null;
    });
    if (c.loaded) {
      await c.load();
    }
    const unread = newest && before(c.read, newest) ? await this.#countUnread(c) : 0;
    if (c.unread === shown) { // nothing came, and nothing was read, while the core was asked
      c.unread = unread;
    }
  }

  // newest is the newest message, with some before it when it has been erased.
  async #newest(c: Chat): Promise<Message[]> {
    const { messages } = await client.ask("messages", { conversation: c.id, limit: 1 });
    return messages.length > 0 && messages.every((m) => m.erased) ? (await client.ask("messages", { conversation: c.id, limit: 50 })).messages : messages;
  }

  async #countUnread(c: Chat): Promise<number> {
    const { messages } = await client.ask("messages", { conversation: c.id, limit: mostUnread + 1 });
    return messages.filter((m) => !m.own && !m.erased && m.position && before(c.read, m.position)).length;
  }

  async #hear(e: Event): Promise<void> {
    switch (e.type) {
      case "resync":
        await this.load().catch(() => undefined);
        return;
      case "conversation":
        await this.#refresh(e.conversation).catch(() => undefined);
        return;
      case "identity": case "profile": // of an account
        await this.#refresh(this.all.find((c) => c.info.peer === e.account && !c.self)?.id).catch(() => undefined);
        return;
      case "history":
        if (e.history) {
          this.#restored(e.history);
        }
        this.#reading ??= setTimeout(() => {
          this.#reading = undefined;
          this.load().catch(() => undefined); // the next event reads again
        }, 2_000);
        return;
      case "notice":
        if (e.notice) {
          this.#byID.get(e.notice.conversation)?.notices.push(e.notice);
        }
        return;
      case "queued": case "sent": case "failed": case "message":
        if (e.message && !effect(e.message)) {
          await this.#message(e.message, e.type === "message");
        }
        return;
      case "notification":
        if (e.notification?.conversation_id && this.#inView(e.notification.conversation_id)) {
          notices.seen(e.notification.conversation_id);
        }
        return;
      case "connected":
        await this.#presence();
        return;
      case "presence":
        this.#seen(e.presence);
        return;
    }
    const c = e.conversation && this.#byID.get(e.conversation);
    if (!c) {
      return;
    }
    switch (e.type) {
      case "changed":
        if (e.message) {
          c.changed(e.message);
        }
        return;
      case "delivered":
        if (e.account !== client.status.account?.id) {
          c.delivered(e.message_ids ?? []);
        }
        return;
      case "read":
        if (e.position && before(c.peerRead, e.position)) {
          c.peerRead = e.position;
        }
        return;
      case "typing":
        c.heard(e.typing ?? false);
    }
  }

  // presence asks who is online; events follow.
  async #presence(): Promise<void> {
    const { presence } = await client.ask("presence", {}).catch(() => ({ presence: [] }));
    presence.forEach((p) => this.#seen(p));
  }

  #seen(p: Presence | undefined): void {
    for (const c of this.all) {
      if (p && c.info.peer === p.account_id && !c.self) {
        c.presence = p;
      }
    }
  }

  // refresh reads what the core says of the conversations. One that was read on another device loses its count.
  async #refresh(id?: ID): Promise<void> {
    const { conversations } = await client.ask("conversations", {});
    conversations.forEach((v) => this.#learn(v));
    const c = id && this.#byID.get(id);
    if (c) {
      c.identity++;
      if (c.unread > 0) {
        c.unread = await this.#countUnread(c);
      }
    }
  }

  #inView(id: ID): boolean {
    return router.place.at === "conversation" && router.place.id === id && document.visibilityState === "visible" && document.hasFocus();
  }

  async #message(m: Message, isNew: boolean): Promise<void> {
    if (!this.#byID.has(m.conversation)) {
      await this.#refresh().catch(() => undefined);
    }
    const c = this.#byID.get(m.conversation);
    if (!c) {
      return;
    }
    const known = c.last?.id === m.id;
    c.put(m);
    if (!isNew || m.own || known) {
      return;
    }
    c.heard(false);
    const inView = this.#inView(c.id);
    if (!inView || !c.atEnd) {
      c.unread++;
    }
    if (inView && c.atEnd) {
      this.seen(c);
    }
    if (c.info.state !== "accepted" || c.muted) {
      return;
    }
    announce(t("announce.message", { name: c.name, text: m.text ?? t("message.newer") }));
    if (preferences.notify && !document.hasFocus() && client.status.role === "leader") {
      notify(c);
    }
  }
}

// quiet is how the server mutes a conversation. It counts no further than ten years; without an end its channels are off.
function quiet(until: number): ConversationNotifications {
  return until < forever ? { muted_until: until, mentions_only: false } : { channels: { app: true, mail: false, push: false }, mentions_only: false };
}

// notify shows a notification that says who, not what: it may stand on a lock screen.
function notify(c: Chat): void {
  if (globalThis.Notification?.permission !== "granted") {
    return;
  }
  try {
    const n = new Notification(c.title, { body: t("notify.body"), tag: c.id, icon: "/icon-192.png", badge: "/icon-192.png" });
    n.onclick = () => {
      focus();
      router.go(`/c/${c.id}`);
      n.close();
    };
  } catch {
    // Some mobile browsers allow notifications from service workers only.
  }
}

export const chats = new Chats();
