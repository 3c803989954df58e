/// <reference lib="webworker" />
// Keeps the pages and the core for offline use. Nothing that people write passes through here: messages travel over the
// socket and the API, which this worker leaves alone.
declare const __VERSION__: string, __SHELL__: string[];
declare const self: ServiceWorkerGlobalScope;

const name = `sotto-${__VERSION__}`;

self.addEventListener("install", (e) => {
  e.waitUntil((async () => {
    const cache = await caches.open(name);
    await Promise.all(__SHELL__.map(async (path) => {
      const kept = path === "/" ? undefined : await caches.match(path); // names with a hash are the same in every version
      const answer = kept ?? await fetch(path, { cache: path === "/" ? "reload" : "default" });
      if (!answer.ok) {
        throw new Error(`${path}: ${answer.status}`);
      }
      await cache.put(path, answer.redirected ? new Response(answer.body, answer) : answer);
    }));
    await self.skipWaiting();
  })());
});

self.addEventListener("activate", (e) => {
  e.waitUntil((async () => {
    const old = (await caches.keys()).filter((key) => key.startsWith("sotto-") && key !== name);
    await Promise.all(old.map((key) => caches.delete(key)));
    await self.clients.claim();
  })());
});

// The page comes from the network when there is one, so that an update shows at the next visit; everything else that is
// kept never changes under its name.
self.addEventListener("fetch", (e) => {
  const url = new URL(e.request.url);
  if (e.request.method !== "GET" || url.origin !== location.origin || url.pathname.startsWith("/api/")) {
    return;
  }
  if (e.request.mode === "navigate") {
    e.respondWith(navigate(e.request));
  } else if (__SHELL__.includes(url.pathname)) {
    e.respondWith(caches.match(url.pathname).then((kept) => kept ?? fetch(e.request)));
  }
});

const patience = 2_500; // milliseconds for the network before the kept page is shown

async function navigate(request: Request): Promise<Response> {
  const kept = await caches.match("/", { cacheName: name });
  const fresh = fetch(request).then((r) => (r.status >= 500 && kept ? kept.clone() : r));
  if (!kept) {
    return fresh;
  }
  const late = new Promise<Response>((resolve) => { setTimeout(() => resolve(kept.clone()), patience); });
  return Promise.race([fresh.catch(() => kept), late]);
}

// What waits is told with every window closed. The message says what kind of thing and how many, never who or what; the
// texts are those that the page left in the language it shows.
interface Push { kind: string; conversation_id?: string; count?: number }
interface Words { language: string; waiting: Record<string, string>; kinds: Record<string, string> }

const plain: Words = { language: "en", waiting: { one: "{n} new message", other: "{n} new messages" }, kinds: {} };

self.addEventListener("push", (e) => { e.waitUntil(tell(e.data)); });

async function tell(data: PushMessageData | null): Promise<void> {
  let push: Push = { kind: "messages", count: 1 };
  try {
    push = data?.json() as Push ?? push;
  } catch {
    // something is new all the same
  }
  const windows = await self.clients.matchAll({ type: "window" });
  if (windows.some((w) => w.focused)) {
    return; // the page tells it
  }
  const kept = await caches.match("/words.json", { cacheName: "sotto.words" });
  const words = await kept?.json().catch(() => undefined) as Words | undefined ?? plain;
  const n = push.count ?? 1;
  const waiting = words.waiting[new Intl.PluralRules(words.language).select(n)] ?? words.waiting["other"] ?? "";
  const body = push.kind === "messages" ? waiting.replace("{n}", n.toLocaleString(words.language)) : words.kinds[push.kind] ?? words.kinds["other"] ?? "";
  const path = push.conversation_id ? `/c/${push.conversation_id}` : "/settings/notifications";
  await self.registration.showNotification("Sotto", {
    body, tag: push.conversation_id ?? push.kind, lang: words.language, icon: "/icon-192.png", badge: "/icon-192.png", data: { path },
  });
}

self.addEventListener("notificationclick", (e) => {
  e.notification.close();
  e.waitUntil(open((e.notification.data as { path: string }).path));
});

// open shows the place in a window that is there, or in a new one.
async function open(path: string): Promise<void> {
  const [first] = await self.clients.matchAll({ type: "window" });
  if (first) {
    first.postMessage({ go: path });
    await first.focus().catch(() => undefined); // the place is shown all the same
  } else {
    await self.clients.openWindow(path);
  }
}

export {};
