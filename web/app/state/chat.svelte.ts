import type { Conversation, ID, Message, Notice, Position, Presence, Safety } from "sotto-sdk";
import type { Line } from "../lib/rows";
import { displayed, isolate } from "../lib/text";
import { client } from "./client.svelte";
import { day } from "./day.svelte";
import { before } from "./order";

export const pageSize = 100; // messages of one step back

// placed puts a message where it belongs in an ordered list, in the place of an older form of the same message.
export function placed(all: Message[], m: Message): Message[] {
  const next = all.filter((x) => x.id !== m.id);
  let i = next.length;
  while (i > 0 && before(m.position, next[i - 1]!.position)) {
    i--;
  }
  next.splice(i, 0, m);
  return next;
}

// Chat is a conversation as the page shows it.
export class Chat {
  readonly id: ID;
  info: Conversation = $state.raw()!;
  messages = $state.raw<Message[]>([]); // the newest part of the history, oldest first; what waits comes last
  complete = $state(false); // nothing older is in the store
  loaded = $state(false); // messages was read at least once
  last = $state.raw<Message | undefined>();
  unread = $state(0);
  read = $state.raw<Position>({ epoch: 0, seq: 0 }); // everything up to here was seen
  draft = $state("");
  sending: string[] = []; // texts that the core does not have yet: drafts again when the tab ends before it has
  peerRead = $state.raw<Position>({ epoch: 0, seq: 0 }); // the peer has read everything up to here
  typing = $state(false);
  presence = $state.raw<Presence | undefined>();
  editing = $state.raw<Message | undefined>(); // the own message that the composer changes
  notices = $state<Notice[]>([]); // messages that could not be read
  safety = $state.raw<Safety | undefined>(); // of the open conversation
  identity = $state(0); // raised when what is known of the peer's identity has changed
  atEnd = true; // the newest message is in view
  entered = $state(false); // it is open, and the unread line stands where it belongs
  // unreadFrom is where the unread line stands, from when the conversation is entered until it is left.
  unreadFrom = $state<ID | undefined>();
  #loading: Promise<void> | undefined;
  readonly #asked = new Set<(() => void)[]>(); // for each question that the core has not answered: what was heard since
  #quiet: ReturnType<typeof setTimeout> | undefined;

  constructor(info: Conversation) {
    this.id = info.id;
    this.learn(info);
  }

  // learn takes what the core says of the conversation. What was seen here a moment ago may be newer.
  learn(info: Conversation): void {
    this.info = info;
    if (before(this.read, info.read)) {
      this.read = info.read;
    }
    if (info.peer_read && before(this.peerRead, info.peer_read)) {
      this.peerRead = info.peer_read;
    }
  }

  get pinned(): boolean { return this.info.settings.pinned ?? false; }
  get mutedUntil(): number { return this.info.settings.muted_until ?? 0; }
  get muted(): boolean {
    void day.now; // who asks is told when it is over, to the minute
    return this.mutedUntil > Date.now();
  }

  get name(): string { return this.info.username; }

  // display is what the peer calls itself; empty when that is nothing but the username, and before their request is accepted.
  // Anybody may take any name: it never stands without the username, and what is said of keys names the username alone.
  get display(): string {
    const display = this.self || this.info.state !== "accepted" ? "" : displayed(this.info.profile?.display_name ?? "");
    return display === this.name ? "" : display;
  }

  // shown is the one of the two that stands out.
  get shown(): string { return this.display || this.name; }

  // title is both, for where there is one text only.
  get title(): string { return this.display ? `${isolate(this.display)} (${this.name})` : this.name; }

  get status(): string { return this.self || this.info.state !== "accepted" ? "" : displayed(this.info.profile?.status ?? "", 512); }

  get self(): boolean { return this.info.kind === "self"; }
  get at(): number { return this.last ? this.last.server_time || this.last.sent_at : 0; }

  // load reads the newest messages, or reads them again after events were lost.
  load(): Promise<void> { return this.#once(() => this.#newest()); }

  // older reads one step further back.
  older(step = pageSize): Promise<void> {
    return this.complete ? Promise.resolve() : this.#once(() => this.#older(step));
  }

  // reach reads back until a message is there.
  async reach(id: ID): Promise<boolean> {
    await this.load();
    for (;;) {
      if (this.messages.some((m) => m.id === id)) {
        return true;
      }
      if (this.complete) {
        return false;
      }
      await this.older(1000);
    }
  }

  // heard shows for ten seconds that the peer is writing, unless it is heard that they have stopped.
  heard(typing: boolean): void {
    clearTimeout(this.#quiet);
    this.typing = typing;
    this.#quiet = setTimeout(() => { this.typing = false; }, 10_000);
  }

  // current asks the core and takes its answer, which may be older than what was heard of while it was on its way: that is
  // then taken once more.
  async current<T>(question: Promise<T>, take: (answer: T) => void): Promise<void> {
    const heard: (() => void)[] = [];
    this.#asked.add(heard);
    try {
      take(await question);
    } finally {
      this.#asked.delete(heard);
    }
    heard.forEach((again) => again());
  }

  // changed shows a message anew, or takes it away.
  changed(m: Message): void {
    this.#asked.forEach((heard) => heard.push(() => this.changed(m)));
    if (m.erased) {
      this.messages = this.messages.filter((x) => x.id !== m.id);
      if (this.last?.id === m.id) {
        this.last = this.messages.at(-1);
      }
    } else {
      this.messages = this.messages.map((x) => (x.id === m.id ? m : x));
      this.last = this.last?.id === m.id ? m : this.last;
    }
    if (this.editing?.id === m.id) {
      this.editing = undefined;
    }
  }

  // delivered raises what the peer's devices have acknowledged.
  delivered(ids: ID[]): void {
    this.#asked.forEach((heard) => heard.push(() => this.delivered(ids)));
    const reached = (m: Message): Message => (m.own && m.state === "stored" && ids.includes(m.id) ? { ...m, state: "delivered" } : m);
    this.messages = this.messages.map(reached);
    this.last = this.last && reached(this.last);
  }

  put(m: Message): void {
    this.#asked.forEach((heard) => heard.push(() => this.put(m)));
    const known = this.messages.find((x) => x.id === m.id);
    if (m.state === "queued" && known?.position) {
      return; // the news that it was stored came first
    }
    if (this.loaded) {
      this.messages = placed(this.messages, m);
    }
    if (!this.last || this.last.id === m.id || before(this.last.position, m.position)) {
      this.last = m;
    }
  }

  // lines are what stands between the messages: changes of the identity, and messages that could not be read.
  get lines(): Line[] {
    const changes = (this.safety?.changes ?? []).map((c): Line => ({ kind: "identity", at: c.at, settled: c.accepted ?? false }));
    const unreadable = this.notices.map((n): Line => ({ kind: "unreadable", at: n.server_time, settled: true }));
    return [...changes, ...unreadable].sort((a, b) => a.at - b.at);
  }

  // enter puts the unread line where it belongs.
  enter(): void {
    this.entered = true;
    this.unreadFrom = this.unread > 0 ? this.messages.find((m) => !m.own && m.position && before(this.read, m.position))?.id : undefined;
  }

  leave(): void {
    this.entered = false;
    this.unreadFrom = undefined;
  }

  async #once(f: () => Promise<void>): Promise<void> {
    while (this.#loading) {
      await this.#loading;
    }
    this.#loading = f().finally(() => { this.#loading = undefined; });
    await this.#loading;
  }

  async #newest(): Promise<void> {
    const limit = Math.min(1000, Math.max(pageSize, this.messages.length));
    await this.current(client.ask("messages", { conversation: this.id, limit }), ({ messages }) => {
      const stored = messages.filter((m) => m.position !== null);
      const oldest = stored[0]?.position ?? null;
      // What was loaded further back stays, as long as there is no gap between it and what was read now.
      const kept = stored.length < limit ? [] : this.messages.filter((m) => m.position && before(m.position, oldest));
      this.messages = [...kept, ...messages.filter((m) => !m.erased)];
      this.complete = stored.length < limit || (kept.length > 0 && this.complete);
      this.loaded = true;
      this.last = this.messages.at(-1) ?? this.last;
    });
  }

  async #older(limit: number): Promise<void> {
    const first = this.messages.find((m) => m.position)?.position;
    if (!first) {
      this.complete = true;
      return;
    }
    await this.current(client.ask("messages", { conversation: this.id, before: first, limit }), ({ messages }) => {
      this.complete = messages.length < limit;
      this.messages = [...messages.filter((m) => !m.erased), ...this.messages];
    });
  }
}
