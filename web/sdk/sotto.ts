import { failureOf, SottoError } from "./core";
import type { SearchHit } from "./fold";
import { Leader } from "./leader";
import { Search } from "./search";
import { initial, type Status } from "./status";
import type { Event, Failure, Operation, Operations } from "./types";

export interface Options {
  core: string; // address of worker.js; the other three files of the core are next to it
  search?: string; // address of the search worker; without it search is refused
  server?: string; // base address; the page's own origin when left out
  database?: string; // name of the database and its locks: one for each account that a browser holds
}

// What tabs of one database say to each other over a BroadcastChannel. It never leaves the origin.
type Word =
  | { kind: "hello"; from: string }
  | { kind: "status"; leader: string; status: Status }
  | { kind: "events"; leader: string; events: Event[] }
  | { kind: "ask"; from: string; to: string; id: number; operation: Operation; args: object }
  | { kind: "stop"; from: string; id: number }
  | { kind: "bye"; from: string }
  | { kind: "reconnect" }
  | { kind: "answer"; to: string; id: number; ok?: unknown; error?: Failure };

interface Pending { resolve(v: unknown): void; reject(e: SottoError): void }

type Question = [Operation, object, Pending, AbortSignal | undefined];

// reads are the operations that change nothing: they are asked again when the tab that worked on them is closed.
const reads = new Set<Operation>([
  "conversations", "profile", "picture", "presence", "find", "historyChoice", "waitSent", "messages", "history", "notices", "queue", "devices",
  "safety", "recoveryState", "counters", "notifications", "notificationSettings", "conversationNotifications", "pushState",
]);

const interrupted = () => new SottoError({
  code: "interrupted", message: "The tab that was working on this has been closed. Look whether it was done, and try again.",
});

// Sotto is one tab's connection to the core. One tab of the browser leads: it has the worker. The others ask it, and the
// next in line takes over when it goes. Pages need not care, except for `interrupted`, which is said of changes only.
export class Sotto {
  status: Status = initial;
  readonly #options: Required<Pick<Options, "core" | "server" | "database">> & { search: string | undefined };
  readonly #me: string = crypto.randomUUID?.() ?? String(Math.random());
  readonly #statusListeners = new Set<(s: Status) => void>();
  readonly #eventListeners = new Set<(e: Event) => void>();
  readonly #pending = new Map<number, Question>(); // asked of the leading tab
  readonly #asked = new Map<string, AbortController>(); // requests of other tabs that this leader works on
  readonly #closing = new AbortController();
  #channel: BroadcastChannel | undefined;
  #leader: Leader | undefined;
  #leaderName: string | undefined;
  #held: Question[] = []; // asked before anybody leads
  #search: Search | undefined;
  #last = 0;

  constructor(o: Options) {
    this.#options = { core: o.core, server: o.server ?? location.origin, database: o.database ?? "sotto", search: o.search };
    if (!navigator.locks || !globalThis.BroadcastChannel || !globalThis.indexedDB) {
      queueMicrotask(() => this.#become({
        ...initial, phase: "failed",
        failure: { code: "store_unsupported", message: "This browser lacks IndexedDB or Web Locks, or the page was not opened through https." },
      }));
      return;
    }
    this.#channel = new BroadcastChannel(`sotto:${this.#options.database}`);
    this.#channel.onmessage = ({ data }: MessageEvent<Word>) => this.#hear(data);
    this.#say({ kind: "hello", from: this.#me });
    addEventListener("pagehide", () => this.#say({ kind: "bye", from: this.#me }));
    void this.#lead();
  }

  // onStatus calls back now and at every change, until the returned function is called.
  onStatus(f: (s: Status) => void): () => void {
    this.#statusListeners.add(f);
    f(this.status);
    return () => this.#statusListeners.delete(f);
  }

  // onEvent calls back for every event. After a change of leader that is a `resync`: read again what is shown.
  onEvent(f: (e: Event) => void): () => void {
    this.#eventListeners.add(f);
    return () => this.#eventListeners.delete(f);
  }

  // ask makes a request of the core, wherever it runs. Errors are SottoError.
  ask<O extends Operation>(operation: O, args: Operations[O][0], signal?: AbortSignal): Promise<Operations[O][1]> {
    return new Promise((resolve, reject) => {
      this.#route(operation, args, { resolve: resolve as (v: unknown) => void, reject }, signal);
    });
  }

  // search finds messages that contain every word of the query, newest first. It calls back as the index grows.
  async search(query: string, limit: number, found: (hits: SearchHit[], done: boolean) => void, signal: AbortSignal): Promise<void> {
    if (!this.#options.search) {
      throw new SottoError({ code: "argument", message: "No search worker was given." });
    }
    this.#search ??= new Search(worker(this.#options.search), this);
    await this.#search.run(query, limit, found, signal);
  }

  // reconnect tries again after status.problem was dealt with.
  reconnect(): void {
    this.#leader ? this.#leader.reconnect() : this.#say({ kind: "reconnect" });
  }

  close(): void {
    this.#say({ kind: "bye", from: this.#me });
    this.#closing.abort();
    this.#leader?.stop();
    this.#search?.stop();
    this.#channel?.close();
  }

  // lead waits for its turn, then leads until the tab goes away.
  async #lead(): Promise<void> {
    const name = `sotto-leader:${this.#options.database}`;
    await navigator.locks.request(name, { signal: this.#closing.signal }, async () => {
      this.#leaderName = this.#me;
      const leader = new Leader(worker(this.#options.core), this.status, { server: this.#options.server, database: this.#options.database }, {
        status: (s) => {
          this.#say({ kind: "status", leader: this.#me, status: { ...s, role: "view" } });
          this.#become(s);
        },
        events: (events) => {
          this.#say({ kind: "events", leader: this.#me, events });
          events.forEach((e) => this.#eventListeners.forEach((f) => f(e)));
        },
      });
      this.#leader = leader;
      this.#become(leader.status);
      this.#interrupt();
      await leader.start();
      this.#say({ kind: "status", leader: this.#me, status: { ...leader.status, role: "view" } });
      this.#changed();
      await new Promise<void>((end) => { this.#closing.signal.addEventListener("abort", () => end()); });
    }).catch((e: unknown) => {
      if (!this.#closing.signal.aborted) {
        this.#become({ ...this.status, phase: "failed", failure: failureOf(e) });
      }
    });
  }

  // changed sends on what waited for a leader, and lets the page read again.
  #changed(): void {
    const held = this.#held;
    this.#held = [];
    held.forEach((h) => this.#route(...h));
    this.#eventListeners.forEach((f) => f({ type: "resync" }));
  }

  #route(...[operation, args, p, signal]: Question): void {
    if (this.#leader) {
      this.#leader.ask(operation, args, signal).then(p.resolve, p.reject);
    } else if (this.#leaderName === undefined) {
      this.#held.push([operation, args, p, signal]);
    } else {
      const id = ++this.#last;
      this.#pending.set(id, [operation, args, p, signal]);
      this.#say({ kind: "ask", from: this.#me, to: this.#leaderName, id, operation, args });
      signal?.addEventListener("abort", () => this.#say({ kind: "stop", from: this.#me, id }));
    }
  }

  #hear(w: Word): void {
    switch (w.kind) {
      case "hello":
        if (this.#leader) {
          this.#say({ kind: "status", leader: this.#me, status: { ...this.#leader.status, role: "view" } });
        }
        return;
      case "status":
        if (this.#leader) {
          return;
        }
        if (this.#leaderName !== w.leader) {
          this.#leaderName = w.leader;
          this.#interrupt();
          this.#become(w.status);
          this.#changed();
        } else {
          this.#become(w.status);
        }
        return;
      case "events":
        if (w.leader === this.#leaderName) {
          w.events.forEach((e) => this.#eventListeners.forEach((f) => f(e)));
        }
        return;
      case "ask":
        if (w.to === this.#me && this.#leader) {
          this.#work(this.#leader, w);
        }
        return;
      case "stop":
        this.#asked.get(`${w.from} ${w.id}`)?.abort();
        return;
      case "bye":
        this.#asked.forEach((c, key) => key.startsWith(w.from) && c.abort());
        return;
      case "reconnect":
        this.#leader?.reconnect();
        return;
      case "answer": {
        const [, , p] = (w.to === this.#me && this.#pending.get(w.id)) || [];
        this.#pending.delete(w.to === this.#me ? w.id : 0);
        w.error ? p?.reject(new SottoError(w.error)) : p?.resolve(w.ok);
      }
    }
  }

  #work(leader: Leader, w: Extract<Word, { kind: "ask" }>): void {
    const key = `${w.from} ${w.id}`, cancel = new AbortController();
    this.#asked.set(key, cancel);
    leader.ask(w.operation, w.args, cancel.signal).then(
      (ok) => this.#say({ kind: "answer", to: w.from, id: w.id, ok }),
      (e: unknown) => this.#say({ kind: "answer", to: w.from, id: w.id, error: failureOf(e) }),
    ).finally(() => this.#asked.delete(key));
  }

  // interrupt asks the new leader what the one before has not answered, as far as it changes nothing.
  #interrupt(): void {
    const all = [...this.#pending.values()];
    this.#pending.clear();
    for (const r of all) {
      reads.has(r[0]) ? this.#route(...r) : r[2].reject(interrupted());
    }
  }

  #become(s: Status): void {
    if (this.status.account !== null && s.account === null) {
      this.#search?.stop(); // it knows what was written
      this.#search = undefined;
    }
    this.status = s;
    this.#statusListeners.forEach((f) => f(s));
  }

  #say(w: Word): void {
    if (!this.#closing.signal.aborted || w.kind === "bye") {
      this.#channel?.postMessage(w);
    }
  }
}

// worker starts a worker of the page's own origin. Pages with Trusted Types allow the policy `sotto`; it lets nothing
// else pass.
function worker(address: string): Worker {
  const url = new URL(address, location.href);
  if (url.origin !== location.origin) {
    throw new SottoError({ code: "argument", message: "The core must come from the page's own origin." });
  }
  return new Worker(trusted(url.href) as string, { type: "module" });
}

interface TrustedTypes { createPolicy(name: string, rules: object): { createScriptURL(s: string): unknown } }
let policy: { createScriptURL(s: string): unknown } | undefined;

// trusted makes an address of this origin acceptable as a script, for workers and the service worker.
export function trusted(address: string): unknown {
  const types = (globalThis as { trustedTypes?: TrustedTypes }).trustedTypes;
  if (!types) {
    return address;
  }
  policy ??= types.createPolicy("sotto", {
    createScriptURL(s: string) {
      if (new URL(s, location.href).origin !== location.origin) {
        throw new TypeError("a script of another origin");
      }
      return s;
    },
  });
  return policy.createScriptURL(address);
}
