import { beforeEach, expect, test, vi } from "vitest";
import type { Status } from "./status";
import { Sotto } from "./sotto";

// Browser is what a tab needs around it: a lock of which one tab at a time is the holder, and workers that are cores. Cores
// answer when the test lets them.
class Browser {
  readonly queue: (() => Promise<unknown>)[] = [];
  readonly cores: FakeWorker[] = [];
  #held = false;

  request = (_name: string, { signal }: { signal: AbortSignal }, work: () => Promise<unknown>): Promise<unknown> =>
    new Promise((resolve) => {
      this.queue.push(() => Promise.race([work(), new Promise((end) => { signal.addEventListener("abort", end); })]).then(resolve));
      this.#next();
    });

  #next(): void {
    const first = this.#held ? undefined : this.queue.shift();
    if (first) {
      this.#held = true;
      void first().finally(() => { this.#held = false; this.#next(); });
    }
  }
}

let browser: Browser;

class FakeWorker {
  onmessage: (m: { data: Uint8Array }) => void = () => {};
  readonly asked: { id: number; do: string }[] = [];
  silent = false;

  constructor() {
    browser.cores.push(this);
    queueMicrotask(() => this.#say({ ready: { api: 1, protocol: 1 } }));
  }

  postMessage(b: Uint8Array): void {
    const r = JSON.parse(new TextDecoder().decode(b)) as { id: number; do: string };
    this.asked.push(r);
    if (!this.silent && r.do !== "run" && r.do !== "events") {
      const account = { id: "a", username: "carol", device: "d", wire_device: 1 };
      queueMicrotask(() => this.#say({ id: r.id, ok: r.do === "send" ? { message_id: "m" } : { account } }));
    }
  }

  terminate(): void { this.silent = true; }

  #say(m: object): void { this.onmessage({ data: new TextEncoder().encode(JSON.stringify(m)) }); }
}

beforeEach(() => {
  browser = new Browser();
  vi.stubGlobal("Worker", FakeWorker);
  vi.stubGlobal("navigator", { locks: { request: browser.request } });
  vi.stubGlobal("indexedDB", {});
  vi.stubGlobal("location", { origin: "http://localhost", href: "http://localhost/" });
  vi.stubGlobal("addEventListener", () => {});
});

const ready = (s: Sotto) => vi.waitFor(() => { expect(s.status.account?.username).toBe("carol"); });

test("a tab that takes over keeps who is signed in, and asks again what changes nothing", async () => {
  const first = new Sotto({ core: "/core.js", database: "takeover" });
  await ready(first);
  const second = new Sotto({ core: "/core.js", database: "takeover" });
  await ready(second);
  const seen: Status[] = [];
  second.onStatus((s) => seen.push(s));

  browser.cores[0]!.silent = true;
  const read = second.ask("conversations", {}), change = second.ask("send", { conversation: "c", text: "once" });
  const refused = expect(change).rejects.toMatchObject({ code: "interrupted" });
  await vi.waitFor(() => { expect(browser.cores[0]!.asked.map((r) => r.do)).toContain("send"); });
  first.close();

  await expect(read).resolves.toBeDefined();
  await refused;
  expect(second.status.role).toBe("leader");
  expect(seen.every((s) => s.phase === "ready" && s.account?.username === "carol")).toBe(true);
  expect(browser.cores[1]!.asked.map((r) => r.do)).not.toContain("send");
  second.close();
});

test("what was asked of a tab that another tab follows is asked of that one", async () => {
  const [first, second, third] = [0, 1, 2].map(() => new Sotto({ core: "/core.js", database: "third" })) as [Sotto, Sotto, Sotto];
  await Promise.all([first, second, third].map(ready));
  browser.cores[0]!.silent = true;
  const read = third.ask("conversations", {});
  await vi.waitFor(() => { expect(browser.cores[0]!.asked.map((r) => r.do)).toContain("conversations"); });
  first.close();
  await expect(read).resolves.toBeDefined();
  expect(third.status.role).toBe("view");
  [second, third].forEach((s) => s.close());
});
