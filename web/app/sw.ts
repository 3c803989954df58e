/// <reference lib="webworker" />
// Keeps the pages and the core for offline use. Nothing that people write passes through here: messages travel over the
// socket and the API, which this worker leaves alone.
import { plain, pushed, shown, type Pushed, type Words } from "./lib/pushed";

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
self.addEventListener("push", (e) => { e.waitUntil(tell(e.data)); });

async function tell(data: PushMessageData | null): Promise<void> {
  const windows = await self.clients.matchAll({ type: "window" });
  if (windows.some((w) => w.focused)) {
    return; // the page tells it
  }
  const { path, ...options } = await notification(pushed(json(data)));
  await self.registration.showNotification("Sotto", { ...options, icon: "/icon-192.png", badge: "/icon-192.png", data: { path } });
}

function json(data: PushMessageData | null): unknown {
  try {
    return data?.json();
  } catch {
    return undefined;
  }
}

// notification never throws: a push that shows nothing may cost the permission.
async function notification(p: Pushed): Promise<ReturnType<typeof shown>> {
  try {
    const kept = await caches.match("/words.json", { cacheName: "sotto.words" });
    return shown(p, await kept?.json() as Words | undefined ?? plain);
  } catch {
    return shown(p, plain);
  }
}

// The browser has changed the subscription. This worker cannot sign in to the server: it sees to it that there is one, and
// the page tells the server, now or when it is opened next. Until then nobody is woken.
self.addEventListener("pushsubscriptionchange", (e) => {
  e.waitUntil(renew(e.newSubscription, e.oldSubscription?.options.applicationServerKey));
});

async function renew(fresh: PushSubscription | null, key: ArrayBuffer | null | undefined): Promise<void> {
  if (!fresh && key) {
    await self.registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key }).catch(() => undefined);
  }
  const windows = await self.clients.matchAll({ type: "window" });
  windows.forEach((w) => w.postMessage({ subscribed: true }));
}

self.addEventListener("notificationclick", (e) => {
  e.notification.close();
  e.waitUntil(open((e.notification.data as { path?: string } | null)?.path ?? "/"));
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
