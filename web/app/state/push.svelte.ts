import { base64, bytesOf } from "../lib/base64";
import type { Key, Plural } from "../messages/en";
import { client } from "./client.svelte";
import { preferences } from "./preferences.svelte";
import { words } from "./language.svelte";

// kinds of notification that have a text; another one gets that of "other".
export const kinds = [
  "messages", "welcome", "signed_in", "device_added", "device_removed", "password_changed", "recovered", "reset", "email_changed",
  "test", "other",
] as const;
export const textOf = (kind: string): Key => `notices.${kinds.find((k) => k === kind) ?? "other"}`;

const patience = 30_000; // milliseconds for browser and server to make a subscription

function until<T>(stopped: AbortSignal, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    stopped.addEventListener("abort", () => reject(stopped.reason as DOMException));
    work.then(resolve, reject);
  });
}

// Push lets the server wake this browser while every window is closed. What changes the subscription happens one after the
// other, in all tabs together: what was wished last is what stays.
class Push {
  supported = "PushManager" in globalThis && "serviceWorker" in navigator;
  #told = ""; // the subscription that this tab has given to the server

  constructor() {
    client.signedOut = () => this.#alone(() => this.#end());
  }

  // start brings the subscription up to date where it is wanted: browsers end and change some, a new login has none, and a
  // server may have a new key.
  start(): Promise<void> {
    return this.#alone(async () => {
      if (!preferences.pushWished()) {
        await this.#unsubscribe(); // what came too late for the switch
      } else if (this.supported && client.status.account && globalThis.Notification?.permission === "granted") {
        await this.#begin();
      }
    }).catch(() => undefined); // the settings show it
  }

  // turn throws when the browser gives no subscription or the server does not take it. Then nothing has changed.
  turn(on: boolean): Promise<void> {
    return this.#alone(async () => {
      if (on) {
        await this.#begin().catch(async (e: unknown) => {
          await this.#unsubscribe();
          throw e;
        });
      } else {
        await client.ask("subscribe", { subscription: null });
        await this.#unsubscribe();
      }
      preferences.setPush(on);
    });
  }

  // keepWords leaves the texts of the chosen language where the service worker finds them.
  keepWords(): Promise<void> {
    return this.#alone(async () => {
      if (!client.status.account) {
        return;
      }
      const waiting = words.raw("notify.waiting") as Plural;
      const told = Object.fromEntries(kinds.map((k) => [k, words.text(textOf(k))]));
      const cache = await caches.open("sotto.words");
      await cache.put("/words.json", Response.json({ language: words.language, waiting, kinds: told }));
    }).catch(() => undefined); // the worker speaks English
  }

  #alone(work: () => Promise<void>): Promise<void> {
    return navigator.locks.request("sotto.push", work);
  }

  async #begin(): Promise<void> {
    const stop = new AbortController();
    const timer = setTimeout(() => stop.abort(new DOMException("The browser gave no subscription.", "TimeoutError")), patience);
    try {
      const { key, subscribed } = await client.ask("pushState", {}, stop.signal);
      const sub = await until(stop.signal, this.#subscription(key));
      const subscription = { endpoint: sub.endpoint, p256dh: base64(sub.getKey("p256dh")), auth: base64(sub.getKey("auth")) };
      const telling = JSON.stringify(subscription);
      if (!subscribed || this.#told !== telling) { // the same again changes nothing
        await client.ask("subscribe", { subscription }, stop.signal);
        this.#told = telling;
      }
    } finally {
      clearTimeout(timer);
    }
  }

  // subscription is the browser's, made for the key that the server has now: push services take messages of no other.
  async #subscription(key: string): Promise<PushSubscription> {
    const { pushManager } = await navigator.serviceWorker.ready;
    const kept = await pushManager.getSubscription();
    if (kept && base64(kept.options.applicationServerKey) === key) {
      return kept;
    }
    await kept?.unsubscribe();
    return pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: bytesOf(key) });
  }

  async #unsubscribe(): Promise<void> {
    this.#told = "";
    const registration = await navigator.serviceWorker?.getRegistration();
    const sub = await registration?.pushManager?.getSubscription();
    await sub?.unsubscribe().catch(() => false); // the server has forgotten it all the same
  }

  // end is for a sign-out, after which the server has ended the subscription with the login.
  async #end(): Promise<void> {
    preferences.setPush(false);
    await this.#unsubscribe();
    await globalThis.caches?.delete("sotto.words");
    const registration = await navigator.serviceWorker?.getRegistration();
    (await registration?.getNotifications())?.forEach((n) => { n.close(); });
  }
}

export const push = new Push();
