import type { Key, Plural } from "../messages/en";
import { client } from "./client.svelte";
import { preferences } from "./preferences.svelte";
import { words } from "./language.svelte";

const base64 = (b: ArrayBuffer | null): string => btoa(String.fromCharCode(...new Uint8Array(b ?? new ArrayBuffer(0))));
const bytes = (text: string): Uint8Array<ArrayBuffer> => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

// kinds of notification that have a text; another one gets that of "other".
export const kinds = [
  "messages", "welcome", "signed_in", "device_added", "device_removed", "password_changed", "recovered", "reset", "email_changed",
  "test", "other",
] as const;
export const textOf = (kind: string): Key => `notices.${kinds.find((k) => k === kind) ?? "other"}`;

// Push lets the server wake this browser while every window is closed.
class Push {
  supported = "PushManager" in globalThis && "serviceWorker" in navigator;

  // start brings the subscription up to date where it is wanted: browsers end some, and a new login has none.
  async start(): Promise<void> {
    client.signedOut = () => this.#end();
    if (this.supported && preferences.push && globalThis.Notification?.permission === "granted") {
      await this.#begin().catch(() => undefined); // the settings show it
    }
  }

  // turn throws when the browser gives no subscription or the server does not take it.
  async turn(on: boolean): Promise<void> {
    if (on) {
      await this.#begin();
    } else {
      await client.ask("subscribe", { subscription: null });
      await this.#end();
    }
    preferences.setPush(on);
  }

  async #begin(): Promise<void> {
    await this.keepWords();
    const state = await client.ask("pushState", {});
    const { pushManager } = await navigator.serviceWorker.ready;
    let sub = await pushManager.getSubscription();
    if (sub && state.subscribed) {
      return;
    }
    sub ??= await pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: bytes(state.key) });
    await client.ask("subscribe", { subscription: { endpoint: sub.endpoint, p256dh: base64(sub.getKey("p256dh")), auth: base64(sub.getKey("auth")) } });
  }

  async #end(): Promise<void> {
    const registration = await navigator.serviceWorker?.getRegistration();
    await (await registration?.pushManager?.getSubscription())?.unsubscribe().catch(() => false);
    (await registration?.getNotifications())?.forEach((n) => { n.close(); });
    await globalThis.caches?.delete("sotto.words");
    preferences.setPush(false);
  }

  // keepWords leaves the texts of the chosen language where the service worker finds them.
  async keepWords(): Promise<void> {
    const waiting = words.raw("notify.waiting") as Plural;
    const told = Object.fromEntries(kinds.map((k) => [k, words.text(textOf(k))]));
    const cache = await caches.open("sotto.words");
    await cache.put("/words.json", Response.json({ language: words.language, waiting, kinds: told }));
  }
}

export const push = new Push();
