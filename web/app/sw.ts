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

export {};
