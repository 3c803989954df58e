import { Core, failureOf, SottoError } from "./core";
import { initial, type Status } from "./status";
import type { Account, Event, ID, Operation } from "./types";

// Leader owns the core: it opens the store, keeps `run` and the fetching of events going, and knows what the tabs should
// know. One tab at a time has one; see tabs.ts.
export class Leader {
  status: Status;
  readonly #core: Core;
  readonly #open: { server: string; database: string };
  readonly #say: { status(s: Status): void; events(e: Event[]): void };
  #stopped = false;
  #running: Promise<void> | undefined;
  #settled!: () => void;
  readonly #started = new Promise<void>((settled) => { this.#settled = settled; });

  // known is what the tab knows from the leader before: who is signed in stays so for the page while the core starts.
  constructor(
    worker: Worker, known: Status, open: { server: string; database: string },
    say: { status(s: Status): void; events(e: Event[]): void },
  ) {
    this.status = known.phase === "ready"
      ? { ...known, role: "leader", connection: known.account ? "connecting" : "stopped", problem: undefined }
      : { ...initial, role: "leader" };
    this.#open = open;
    this.#say = say;
    this.#core = new Core(worker, (e) => this.#set({ phase: "failed", connection: "stopped", failure: e.toJSON() }));
  }

  async start(): Promise<void> {
    try {
      await this.#core.ready;
      await this.#opened();
    } catch (e) {
      this.#set({ phase: "failed", failure: failureOf(e) });
    }
    this.#settled();
  }

  // ask waits until the core has started: it would not hear a request before, and never answer.
  async ask<T>(operation: Operation, args: object, signal?: AbortSignal): Promise<T> {
    await this.#started;
    if (operation === "logout") {
      await this.#logout();
      return {} as T;
    }
    const result = await this.#core.request<T>(operation, args, signal);
    if (operation === "send") {
      this.#queued(args as { conversation: ID; text?: string }, result as { message_id: ID });
    }
    if (operation in signsIn) {
      const { account } = await this.#core.request<{ account: Account | null }>("account");
      this.#set({ account });
      this.#run();
    }
    return result;
  }

  // queued shows every tab what one of them has sent, before the server has it.
  #queued(sent: { conversation: ID; text?: string }, { message_id: id }: { message_id: ID }): void {
    const me = this.status.account;
    if (me && sent.text !== undefined) {
      this.#say.events([{
        type: "queued", conversation: sent.conversation, message: {
          conversation: sent.conversation, id, position: null, sender: me.id, sender_device: me.wire_device, own: true,
          sent_at: Date.now(), server_time: 0, state: "queued", text: sent.text, body: { kind: 0, bytes: "" }, showable: true,
        },
      }]);
    }
  }

  // reconnect starts `run` again after a problem that a person has dealt with.
  reconnect(): void { this.#run(); }

  stop(): void {
    this.#stopped = true;
    this.#core.stop();
  }

  async #opened(): Promise<void> {
    const { account } = await this.#core.request<{ account: Account | null }>("open", { ...this.#open, wait: true });
    this.#set({ phase: "ready", account, connection: "stopped" });
    void this.#listen();
    if (account) {
      this.#run();
    }
  }

  // logout ends `run` and the events, also when the server cannot be reached and all stays as it was.
  async #logout(): Promise<void> {
    try {
      await this.#core.request("logout");
    } catch (e) {
      void this.#listen();
      await this.#running;
      this.#run();
      throw e;
    }
    this.#set({ account: null, connection: "stopped", problem: undefined });
    await this.#opened();
  }

  #run(): void {
    if (this.#stopped || this.#running || !this.status.account) {
      return;
    }
    this.#set({ connection: "connecting", problem: undefined });
    this.#running = this.#core.request("run").then(
      () => { this.#set({ connection: "stopped" }); },
      (e: unknown) => {
        if (!this.#stopped && this.status.phase === "ready") {
          this.#set({ connection: "stopped", problem: failureOf(e) });
        }
      },
    ).finally(() => { this.#running = undefined; });
  }

  async #listen(): Promise<void> {
    while (!this.#stopped) {
      let events: Event[];
      try {
        ({ events } = await this.#core.request<{ events: Event[] }>("events"));
      } catch (e) {
        if (!(e instanceof SottoError) || e.code !== "running") {
          return; // logout, or the core is lost
        }
        await new Promise((again) => { setTimeout(again, 50); });
        continue;
      }
      for (const e of events) {
        if (e.type === "connected") {
          this.#set({ connection: "online" });
        } else if (e.type === "disconnected" && this.status.connection !== "stopped") {
          this.#set({ connection: "offline" });
        }
      }
      this.#say.events(events);
    }
  }

  #set(change: Partial<Status>): void {
    this.status = { ...this.status, ...change };
    if (!this.#stopped) {
      this.#say.status(this.status);
    }
  }
}

// signsIn are the operations after which somebody is signed in.
const signsIn = { register: true, login: true, recover: true, reset: true } as Record<string, true>;
