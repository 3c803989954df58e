import type { SearchHit } from "./fold";
import type { Sotto } from "./sotto";
import type { Event, Message } from "./types";

const pageSize = 500; // messages of one step of indexing; between steps the page may draw

// Search feeds the search worker: on the first search the whole history, page by page, and from then on what happens.
export class Search {
  readonly #worker: Worker;
  readonly #sotto: Sotto;
  readonly #waiting = new Map<number, (hits: SearchHit[]) => void>();
  readonly #unsubscribe: () => void;
  #last = 0;
  #filled: Promise<void> | undefined;
  #complete = false;

  constructor(worker: Worker, sotto: Sotto) {
    this.#worker = worker;
    this.#sotto = sotto;
    worker.onmessage = ({ data }: MessageEvent<{ id: number; hits: SearchHit[] }>) => {
      this.#waiting.get(data.id)?.(data.hits);
      this.#waiting.delete(data.id);
    };
    this.#unsubscribe = sotto.onEvent((e) => this.#follow(e));
  }

  async run(query: string, limit: number, found: (hits: SearchHit[], done: boolean) => void, signal: AbortSignal): Promise<void> {
    if (!this.#filled) {
      this.#filled = this.#fill();
      this.#filled.catch(() => { this.#filled = undefined; });
    }
    const filled = this.#filled;
    while (!this.#complete && !signal.aborted) {
      found(await this.#find(query, limit), false);
      await Promise.race([filled, new Promise((tick) => { setTimeout(tick, 300); })]);
    }
    if (!signal.aborted) {
      found(await this.#find(query, limit), true);
    }
  }

  stop(): void {
    this.#unsubscribe();
    this.#worker.terminate();
  }

  #find(query: string, limit: number): Promise<SearchHit[]> {
    const id = ++this.#last;
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      this.#worker.postMessage({ do: "find", id, query, limit });
    });
  }

  async #fill(): Promise<void> {
    const { conversations } = await this.#sotto.ask("conversations", {});
    for (const { id: conversation } of conversations) {
      let before: Message["position"] | undefined;
      for (;;) {
        const page = (await this.#sotto.ask("messages", { conversation, limit: pageSize, ...(before && { before }) })).messages;
        const stored = page.filter((m) => m.position !== null);
        this.#add(stored);
        if (stored.length < pageSize) {
          break;
        }
        before = stored[0]!.position!;
      }
    }
    this.#complete = true;
  }

  #add(messages: Message[]): void {
    const hits = messages.filter((m) => m.text && m.position && !m.erased).map((m): SearchHit => ({
      conversation: m.conversation, id: m.id, position: m.position!, at: m.server_time || m.sent_at, own: m.own, text: m.text!,
    }));
    this.#worker.postMessage({ do: "add", hits });
  }

  #follow(e: Event): void {
    if (e.message?.erased) {
      this.#worker.postMessage({ do: "remove", conversation: e.message.conversation, id: e.message.id });
    } else if (e.message && (e.type === "message" || e.type === "sent" || e.type === "changed")) {
      this.#add([e.message]);
    } else if (e.type === "resync" || e.type === "history") {
      this.#complete = false;
      this.#filled = undefined;
      if (e.type === "resync") {
        this.#worker.postMessage({ do: "clear" });
      }
    }
  }
}
