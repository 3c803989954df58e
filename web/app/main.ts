import "./styles/tokens.css";
import "./styles/base.css";
import { mount } from "svelte";
import { trusted } from "sotto-sdk";
import App from "./App.svelte";
import { preferences } from "./state/preferences.svelte";
import { router } from "./state/router.svelte";

await preferences.load();
mount(App, { target: document.getElementById("app")! });

// The pages work without a service worker; then they do not open offline.
navigator.serviceWorker?.register(trusted("/sw.js") as string).catch(() => undefined);

// A notification was clicked: the service worker says where to go.
navigator.serviceWorker?.addEventListener("message", (e: MessageEvent<{ go?: unknown }>) => {
  if (typeof e.data.go === "string" && e.data.go.startsWith("/")) {
    router.go(e.data.go);
  }
});

// Storage that the browser may clear at will would lose the device with its keys. Browsers ask nobody, or once.
void navigator.storage?.persist?.().catch(() => undefined);
