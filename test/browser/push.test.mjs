// What wakes a browser whose windows are closed: the real server encrypts, a push service of the test receives and
// decrypts (RFC 8291), and the browser's own service worker gets what a push service would hand it.
import assert from "node:assert/strict";
import { createDecipheriv, createECDH, hkdfSync, randomBytes } from "node:crypto";
import http from "node:http";
import { after, before, test } from "node:test";
import { Line, Person, Server, startBrowser, Terminal } from "./harness.mjs";

// PushService keeps what is pushed to the one subscription that it has.
class PushService {
  static async start() {
    const s = new PushService();
    s.keys = createECDH("prime256v1");
    s.keys.generateKeys();
    s.auth = randomBytes(16);
    s.messages = [];
    s.waiting = [];
    s.server = http.createServer((req, res) => {
      const parts = [];
      req.on("data", (b) => parts.push(b));
      req.on("end", () => {
        s.messages.push({ headers: req.headers, text: s.decrypt(Buffer.concat(parts)) });
        res.writeHead(201).end();
        s.waiting.splice(0).forEach((f) => f());
      });
    });
    await new Promise((ready) => { s.server.listen(0, "127.0.0.1", ready); });
    s.endpoint = `http://127.0.0.1:${s.server.address().port}/push/1`;
    return s;
  }

  // decrypt opens one aes128gcm record: salt, record size, key id (the sender's key), ciphertext.
  decrypt(body) {
    const salt = body.subarray(0, 16), idSize = body[20], sender = body.subarray(21, 21 + idSize), sealed = body.subarray(21 + idSize);
    const secret = this.keys.computeSecret(sender);
    const info = Buffer.concat([Buffer.from("WebPush: info\0"), this.keys.getPublicKey(), sender]);
    const ikm = Buffer.from(hkdfSync("sha256", secret, this.auth, info, 32));
    const key = Buffer.from(hkdfSync("sha256", ikm, salt, "Content-Encoding: aes128gcm\0", 16));
    const nonce = Buffer.from(hkdfSync("sha256", ikm, salt, "Content-Encoding: nonce\0", 12));
    const d = createDecipheriv("aes-128-gcm", key, nonce).setAuthTag(sealed.subarray(-16));
    const plain = Buffer.concat([d.update(sealed.subarray(0, -16)), d.final()]);
    return plain.subarray(0, plain.lastIndexOf(2)).toString(); // what follows the 2 is padding
  }

  // next waits until there are so many messages.
  async until(n) {
    const timeout = setTimeout(() => assert.fail(`${this.messages.length} of ${n} messages were pushed`), 75_000);
    while (this.messages.length < n) {
      await new Promise((again) => { this.waiting.push(again); });
    }
    clearTimeout(timeout);
    return this.messages[n - 1];
  }
}

let server, browser, line, service;
before(async () => {
  [server, browser, service] = await Promise.all([Server.start({ SOTTO_PUSH_LOCAL: "true" }), startBrowser(), PushService.start()]);
  line = await Line.to(server);
});
after(async () => { line?.close(); await browser?.close(); await server?.stop(); service?.server.close(); });

// subscribing replaces the one call that needs a vendor's push service: what it gives leads to the test's.
function subscribing({ endpoint, p256dh, auth }) {
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
  const sub = { endpoint, getKey: (name) => bytes(name === "auth" ? auth : p256dh), unsubscribe: async () => { delete globalThis.subscribed; return true; } };
  PushManager.prototype.subscribe = async function subscribe(options) {
    globalThis.subscribed = new Uint8Array(options.applicationServerKey).length;
    return sub;
  };
  PushManager.prototype.getSubscription = async () => (globalThis.subscribed ? sub : null);
}

test("with every window closed a message is told by the service worker, once a conversation, and names nobody", async () => {
  const alice = await Person.arrive(browser, line.url), bob = new Terminal(server, "canary-bob");
  await alice.context.grantPermissions(["notifications", "clipboard-read", "clipboard-write"], { origin: line.url });
  await Promise.all([alice.register("alice"), bob.register()]);
  await bob.say("alice", "hello");
  await alice.page.getByRole("link", { name: bob.name }).click();
  await alice.page.getByRole("button", { name: "Accept" }).click();
  await alice.page.getByRole("textbox", { name: /^Message to/ }).waitFor();
  const conversation = new URL(alice.page.url()).pathname.split("/").at(-1);
  const keys = { endpoint: service.endpoint, p256dh: service.keys.getPublicKey("base64"), auth: service.auth.toString("base64") };
  await alice.context.addInitScript(subscribing, keys);
  await alice.page.goto(`${line.url}/settings/notifications`);
  const wake = alice.page.getByRole("checkbox", { name: /^Also while Sotto is closed/ });
  await wake.check();
  await alice.page.waitForFunction(() => globalThis.subscribed === 65); // the server's key, a point of P-256
  await alice.page.waitForFunction(async () => (await caches.open("sotto.words")).match("/words.json"));
  await alice.page.waitForFunction(() => localStorage.getItem("sotto.push") === "yes");

  // The window is closed; another one of the browser stays, at a page that is not ours.
  const other = await alice.context.newPage();
  await alice.page.close();
  await bob.say("alice", "canary-text one");
  await bob.say("alice", "canary-text two");
  const pushed = await service.until(1);
  const payload = JSON.parse(pushed.text);
  assert.equal(payload.kind, "messages");
  assert.equal(payload.conversation_id, conversation);
  assert.doesNotMatch(JSON.stringify(pushed), /canary/);

  const shown = await deliver(other, line.url, [pushed.text, JSON.stringify({ ...payload, count: 3 })]);
  assert.deepEqual(shown, [{ title: "Sotto", body: "3 new messages", tag: conversation, path: `/c/${conversation}` }]);

  // A click opens the conversation: in a new window, or in one that is there.
  assert.equal(await click(alice.context, conversation), `/c/${conversation}`);
  alice.page = await alice.tab(`/c/${conversation}`);
  await alice.page.getByRole("heading", { name: bob.name, level: 1 }).waitFor();
  await alice.reads("canary-text two");
  await alice.page.goto(`${line.url}/settings/notifications`);
  await alice.page.getByRole("listitem").filter({ hasText: /New messages.*canary-bob/ }).waitFor();
  await (await workerOf(alice.context)).evaluate( // a push with a window in front shows none
    ([tag, path]) => self.registration.showNotification("Sotto", { tag, data: { path } }), [conversation, `/c/${conversation}`]);
  await click(alice.context, conversation);
  await alice.page.getByRole("heading", { name: bob.name, level: 1 }).waitFor();

  // What happened can be read, marked and taken away.
  await alice.page.goto(`${line.url}/settings/notifications`);
  const list = alice.page.getByRole("region", { name: "What happened" });
  await list.getByText("Your account was made").waitFor();
  await list.getByRole("button", { name: "Mark all as read" }).click();
  await list.getByRole("button", { name: "Mark all as read" }).waitFor({ state: "detached" });
  await list.getByRole("listitem").filter({ hasText: "Your account was made" }).getByRole("button", { name: "Delete" }).click();
  await list.getByText("Your account was made").waitFor({ state: "detached" });

  // Quiet hours are kept by the server.
  await alice.page.getByLabel("From").fill("22:00");
  await alice.page.getByText("Saved").waitFor();
  await alice.page.reload();
  await alice.page.waitForFunction(() => document.querySelector("input[type=time]")?.value === "22:00");

  // Switched off, the server forgets the subscription.
  await alice.page.evaluate(() => { globalThis.subscribed = 65; });
  const dropped = alice.page.waitForResponse((r) => r.url().endsWith("/api/notifications/push") && r.request().method() === "DELETE");
  await alice.page.getByRole("checkbox", { name: /^Also while Sotto is closed/ }).uncheck();
  assert.equal((await dropped).status(), 204);
  await alice.page.waitForFunction(() => localStorage.getItem("sotto.push") === "no" && !globalThis.subscribed);
  await other.close();
  await alice.leave();
});

// deliver hands messages to the service worker, as the browser does when they come from its push service, and gives back
// which notifications are shown then.
async function deliver(page, origin, messages) {
  const cdp = await page.context().newCDPSession(page);
  const registered = new Promise((resolve) => {
    cdp.on("ServiceWorker.workerRegistrationUpdated", ({ registrations }) => {
      const ours = registrations.find((r) => r.scopeURL.startsWith(origin) && !r.isDeleted);
      if (ours) {
        resolve(ours.registrationId);
      }
    });
  });
  await cdp.send("ServiceWorker.enable");
  const registrationId = await registered;
  for (const data of messages) {
    await cdp.send("ServiceWorker.deliverPushMessage", { origin, registrationId, data });
  }
  const worker = await workerOf(page.context());
  for (const until = Date.now() + 60_000; ;) {
    const shown = await worker.evaluate(async () => (await self.registration.getNotifications()).map((n) => ({ title: n.title, body: n.body, tag: n.tag, path: n.data.path })));
    if (shown.length > 0 && shown[0].body.startsWith("3")) {
      return shown;
    }
    assert.ok(Date.now() < until, `shown: ${JSON.stringify(shown)}`);
    await new Promise((again) => { setTimeout(again, 100); });
  }
}

async function workerOf(context) {
  return context.serviceWorkers()[0] ?? context.waitForEvent("serviceworker");
}

// click is what a person does with the notification of a conversation.
async function click(context, tag) {
  const worker = await workerOf(context);
  return worker.evaluate(async (wanted) => {
    // Only a person's own click may open a window.
    self.clients.openWindow = async (path) => { self.opened = path; };
    const [notification] = await self.registration.getNotifications({ tag: wanted });
    const ended = [];
    const event = new NotificationEvent("notificationclick", { notification });
    event.waitUntil = (work) => { ended.push(work); };
    self.dispatchEvent(event);
    await Promise.all(ended);
    return self.opened;
  }, tag);
}
