import "./styles/tokens.css";
import "./styles/base.css";
import { mount } from "svelte";
import { trusted } from "sotto-sdk";
import App from "./App.svelte";
import { client } from "./state/client.svelte";
import { preferences } from "./state/preferences.svelte";
import { push } from "./state/push.svelte";
import { router } from "./state/router.svelte";

await preferences.load();
mount(App, { target: document.getElementById("app")! });

// The pages work without a service worker; then they do not open offline.
navigator.serviceWorker?.register(trusted("/sw.js") as string).catch(() => undefined);

// The service worker says where to go when a notification was clicked, and that the subscription is another one.
navigator.serviceWorker?.addEventListener("message", (e: MessageEvent<{ go?: unknown; subscribed?: unknown } | null>) => {
  if (typeof e.data?.go === "string" && e.data.go.startsWith("/")) {
    router.go(e.data.go);
  } else if (e.data?.subscribed === true && client.status.role === "leader") {
    void push.start();
  }
});

// Storage that the browser may clear at will would lose the device with its keys. Browsers ask nobody, or once.
void navigator.storage?.persist?.().catch(() => undefined);
