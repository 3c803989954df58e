import { beforeEach, expect, test, vi } from "vitest";

// The server's half, as the core answers for it: the subscription that it has, and answers that wait when the test says so.
const server = vi.hoisted(() => ({
  key: "", endpoint: undefined as string | undefined, told: 0, refuses: "", held: undefined as Promise<void> | undefined,
}));
const client = vi.hoisted(() => ({
  status: { account: {} as object | null }, signedOut: undefined as (() => Promise<void>) | undefined,
  ask: async (operation: string, args: { subscription?: { endpoint: string } | null }) => {
    await server.held;
    if (server.refuses === operation || client.status.account === null) {
      throw new Error("refused");
    }
    if (operation === "subscribe") {
      server.told++;
      server.endpoint = args.subscription?.endpoint;
    }
    return { key: server.key, subscribed: server.endpoint !== undefined };
  },
}));
vi.mock("./client.svelte", () => ({ client }));

// The browser's half. Locks are those of all tabs; each import of the module is a tab.
const browser = { sub: undefined as { endpoint: string } | undefined, made: 0, words: undefined as { language: string; kinds: Record<string, string> } | undefined };
const stored = new Map<string, string>();
let queue = Promise.resolve();

function subscription(key: ArrayBuffer) {
  const sub = {
    endpoint: `https://push.example/${++browser.made}`, getKey: () => new ArrayBuffer(3), options: { applicationServerKey: key },
    unsubscribe: () => { browser.sub = browser.sub === sub ? undefined : browser.sub; return Promise.resolve(true); },
  };
  return browser.sub = sub;
}

const pushManager = {
  getSubscription: () => Promise.resolve(browser.sub ?? null),
  subscribe: ({ applicationServerKey: key }: { applicationServerKey: Uint8Array<ArrayBuffer> }) => Promise.resolve(subscription(key.buffer)),
};

beforeEach(() => {
  Object.assign(server, { key: btoa("key one"), endpoint: undefined, told: 0, refuses: "", held: undefined });
  Object.assign(browser, { sub: undefined, made: 0, words: undefined });
  client.status.account = {};
  stored.clear();
  queue = Promise.resolve();
  const registration = { pushManager, getNotifications: () => Promise.resolve([]) };
  vi.stubGlobal("PushManager", class {});
  vi.stubGlobal("Notification", { permission: "granted" });
  vi.stubGlobal("localStorage", { getItem: (k: string) => stored.get(k) ?? null, setItem: (k: string, v: string) => stored.set(k, v) });
  vi.stubGlobal("document", { documentElement: {} });
  vi.stubGlobal("caches", {
    open: () => Promise.resolve({ put: async (_: string, r: Response) => { browser.words = await r.json() as typeof browser.words; } }),
    delete: () => { browser.words = undefined; return Promise.resolve(true); },
  });
  vi.stubGlobal("navigator", {
    languages: ["en"], serviceWorker: { ready: Promise.resolve(registration), getRegistration: () => Promise.resolve(registration) },
    locks: { request: (_: string, work: () => Promise<void>) => { const done = queue.then(work); queue = done.catch(() => undefined); return done; } },
  });
});

async function tab() {
  vi.resetModules();
  const [{ push }, { words }] = [await import("./push.svelte"), await import("./language.svelte")];
  return { push, words };
}

function hold(): () => void {
  let release = () => {};
  server.held = new Promise((done) => { release = () => { server.held = undefined; done(); }; });
  return release;
}

test("an endpoint that the browser has changed reaches the server", async () => {
  await (await tab()).push.turn(true);
  expect(server.endpoint).toBe("https://push.example/1");
  subscription(new TextEncoder().encode("key one").buffer);
  const { push } = await tab(); // opened next
  await push.start();
  expect(server.endpoint).toBe("https://push.example/2");
  await push.start(); // another connection of the same page
  expect(server.told).toBe(2);
  subscription(new TextEncoder().encode("key one").buffer); // while it is open
  await push.start();
  expect(server.endpoint).toBe("https://push.example/3");
});

test("a subscription for another key of the server is made anew", async () => {
  const { push } = await tab();
  await push.turn(true);
  server.key = btoa("key two");
  await push.start();
  expect(browser.sub?.endpoint).toBe("https://push.example/2");
  expect(server.endpoint).toBe("https://push.example/2");
});

test("a server that has forgotten the subscription gets it again", async () => {
  const { push } = await tab();
  await push.turn(true);
  server.endpoint = undefined;
  await push.start();
  expect(server.endpoint).toBe("https://push.example/1");
});

test("the last wish wins, in all tabs together", async () => {
  stored.set("sotto.push", "yes");
  const [first, second] = [await tab(), await tab()];
  const release = hold();
  const all = [first.push.start(), second.push.turn(false), first.push.start()];
  release();
  await Promise.all(all);
  expect([browser.sub, server.endpoint, stored.get("sotto.push")]).toEqual([undefined, undefined, "no"]);
  await Promise.all([first.push.turn(false), second.push.turn(true)]);
  expect([server.endpoint, stored.get("sotto.push")]).toEqual([browser.sub?.endpoint, "yes"]);
});

test("a sign-out ends what is being made", async () => {
  stored.set("sotto.push", "yes");
  const { push } = await tab();
  await push.keepWords();
  const release = hold();
  const started = push.start();
  client.status.account = null;
  const ended = client.signedOut?.();
  release();
  await Promise.all([started, ended, push.keepWords()]);
  expect([browser.sub, browser.words, stored.get("sotto.push")]).toEqual([undefined, undefined, "no"]);
});

test("what is refused changes nothing", async () => {
  const { push } = await tab();
  server.refuses = "subscribe";
  await expect(push.turn(true)).rejects.toThrow("refused");
  expect([browser.sub, stored.get("sotto.push")]).toEqual([undefined, undefined]);
  server.refuses = "";
  await push.turn(true);
  server.refuses = "subscribe";
  await expect(push.turn(false)).rejects.toThrow("refused");
  expect([browser.sub?.endpoint, stored.get("sotto.push")]).toEqual([server.endpoint, "yes"]);
});

test("a browser that answers too late leaves nothing behind", async () => {
  vi.useFakeTimers();
  const { push } = await tab();
  let answer = () => {};
  const subscribe = vi.spyOn(pushManager, "subscribe").mockImplementation(({ applicationServerKey: key }) =>
    new Promise((resolve) => { answer = () => resolve(subscription(key.buffer)); }));
  const refused = expect(push.turn(true)).rejects.toBeInstanceOf(DOMException);
  await vi.advanceTimersByTimeAsync(30_000);
  await refused;
  answer();
  await push.start();
  expect([browser.sub, server.endpoint]).toEqual([undefined, undefined]);
  subscribe.mockRestore();
  vi.useRealTimers();
});

test("the worker's texts follow the language", async () => {
  const { push, words } = await tab();
  await push.keepWords();
  expect(browser.words?.language).toBe("en");
  await words.use("de");
  await push.keepWords();
  expect(browser.words).toMatchObject({ language: "de", kinds: { welcome: "Dein Konto wurde angelegt" } });
});
