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

// subscribing replaces what needs a vendor's push service: what it gives leads to the test's. The browser's half of the
// subscription is in localStorage, for every page.
function subscribing({ endpoint, p256dh, auth }) {
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
  const kept = () => JSON.parse(localStorage.getItem("test.subscription"));
  const sub = () => kept() && {
    endpoint: kept().endpoint, getKey: (name) => bytes(name === "auth" ? auth : p256dh), options: { applicationServerKey: bytes(kept().key) },
    unsubscribe: async () => { localStorage.removeItem("test.subscription"); return true; },
  };
  PushManager.prototype.subscribe = async function subscribe(options) {
    if (globalThis.unable) {
      throw new DOMException("no push service", "AbortError");
    }
    localStorage.setItem("test.subscription", JSON.stringify({ endpoint, key: btoa(String.fromCharCode(...new Uint8Array(options.applicationServerKey))) }));
    return sub();
  };
  PushManager.prototype.getSubscription = async () => sub();
}

const subscribed = (page) => page.evaluate(() => JSON.parse(localStorage.getItem("test.subscription"))?.key);
const wake = (page) => page.getByRole("checkbox", { name: /^Also while Sotto is closed/ });
const told = (page, method, status) => page.waitForResponse((r) =>
  r.url().endsWith("/api/notifications/push") && r.request().method() === method && r.status() === status);

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

  // A browser without a push service says what to do, and nothing has changed.
  await alice.page.evaluate(() => { globalThis.unable = true; });
  await wake(alice.page).click();
  await alice.page.getByRole("alert").filter({ hasText: "Try again, or look whether it allows push messages" }).waitFor();
  await alice.page.waitForFunction(() => ![...document.querySelectorAll("input[type=checkbox]")][1].checked);
  await alice.page.evaluate(() => { globalThis.unable = false; });
  const first = told(alice.page, "PUT", 200);
  await wake(alice.page).check();
  await first;
  assert.equal(atob(await subscribed(alice.page)).length, 65); // the server's key, a point of P-256
  await alice.page.waitForFunction(() => localStorage.getItem("sotto.push") === "yes");

  // An endpoint that the browser has changed, and a subscription for another key: the page makes it right when it opens.
  for (const change of [{ endpoint: `${service.endpoint}/moved` }, { key: btoa("another key") }]) {
    await alice.page.evaluate((c) => {
      const was = JSON.parse(localStorage.getItem("test.subscription"));
      localStorage.setItem("test.subscription", JSON.stringify({ ...was, ...c }));
    }, change);
    const [again] = await Promise.all([told(alice.page, "PUT", 200), alice.page.reload()]);
    assert.equal(JSON.parse(again.request().postData() ?? "{}").endpoint, change.endpoint ?? service.endpoint);
  }
  assert.equal(atob(await subscribed(alice.page)).length, 65);

  // The service worker knows the language of the page.
  const spoken = () => alice.page.evaluate(async () => (await (await caches.match("/words.json"))?.json())?.kinds.welcome);
  await alice.page.goto(`${line.url}/settings/appearance`);
  await alice.page.getByRole("radio", { name: "Deutsch" }).check();
  await alice.page.waitForFunction(() => document.documentElement.lang === "de");
  await eventually(async () => await spoken() === "Dein Konto wurde angelegt", "the texts are not German");
  await alice.page.getByRole("radio", { name: "English" }).check();
  await eventually(async () => await spoken() === "Your account was made", "the texts are not English");

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

  // Whatever cannot be read is told all the same; a conversation is told once.
  const deliver = await deliverer(other, line.url);
  for (const odd of ["null", "not json", JSON.stringify({ kind: "messages", conversation_id: "../settings/account" })]) {
    assert.deepEqual(await push(alice.context, odd), [{ title: "Sotto", body: "New messages", tag: "messages", path: "/" }], odd);
  }
  await deliver(pushed.text);
  await deliver(JSON.stringify({ ...payload, count: 3 }));
  const one = { title: "Sotto", body: "3 new messages", tag: conversation, path: `/c/${conversation}` };
  await eventually(async () => (await shown(alice.context)).some((n) => n.body === one.body), "messages are not told");
  assert.deepEqual((await shown(alice.context)).filter((n) => n.tag === conversation), [one]);

  // A click opens the conversation: in a new window, or in one that is there.
  assert.equal(await click(alice.context, conversation), `/c/${conversation}`);
  alice.page = await alice.tab(`/c/${conversation}`);
  await alice.page.getByRole("heading", { name: bob.name, level: 1 }).waitFor();
  await alice.reads("canary-text two");

  // In front of somebody who reads it, nothing is shown.
  assert.deepEqual(await push(alice.context, pushed.text), []);
  await (await workerOf(alice.context)).evaluate(
    ([tag, path]) => self.registration.showNotification("Sotto", { tag, data: { path } }), [conversation, `/c/${conversation}`]);
  await alice.page.goto(`${line.url}/settings/notifications`);
  await alice.page.getByRole("heading", { name: "Notifications", level: 1 }).waitFor();
  await click(alice.context, conversation);
  await alice.page.getByRole("heading", { name: bob.name, level: 1 }).waitFor();

  // Quiet hours are kept by the server; what it refuses is said, and the page shows what holds.
  await alice.page.goto(`${line.url}/settings/notifications`);
  await alice.page.getByLabel("From").fill("22:00");
  await alice.page.getByText("Saved").waitFor();
  await alice.page.reload();
  await alice.page.waitForFunction(() => document.querySelector("input[type=time]")?.value === "22:00");
  const mail = alice.page.getByRole("checkbox", { name: /^By e-mail/ });
  line.cut();
  await mail.click();
  await alice.page.getByRole("alert").waitFor();
  await alice.page.waitForFunction(() => [...document.querySelectorAll("input[type=checkbox]")][2].checked);
  line.mend();
  await alice.page.getByText("No connection.").waitFor({ state: "detached" });

  // Switched off, neither the server nor the browser keeps the subscription.
  const [, gone] = await Promise.all([wake(alice.page).uncheck(), told(alice.page, "DELETE", 204)]);
  assert.ok(gone);
  await alice.page.waitForFunction(() => localStorage.getItem("sotto.push") === "no");
  assert.equal(await subscribed(alice.page), undefined);

  // Nor after a sign-out: what waits goes nowhere.
  const [anew] = await Promise.all([told(alice.page, "PUT", 200), wake(alice.page).check()]);
  const authorization = await anew.request().headerValue("authorization");
  const state = () => fetch(`${line.url}/api/notifications/push`, { headers: { authorization } }).then((r) => r.status);
  assert.equal(await state(), 200);
  await alice.page.goto(`${line.url}/settings/account`);
  await alice.page.getByRole("button", { name: "Sign out", exact: true }).click();
  await alice.page.getByRole("button", { name: "Sign out and wipe" }).click();
  await alice.page.getByRole("link", { name: "Sign in" }).waitFor();
  await eventually(async () => await subscribed(alice.page) === undefined, "the browser has kept the subscription");
  assert.equal(await state(), 401);
  assert.equal(await alice.page.evaluate(() => caches.match("/words.json").then((kept) => kept === undefined)), true);
  assert.deepEqual(await shown(alice.context), []);
  await other.close();
  await alice.leave();
});

test("what happened is told at once, and can be read, marked and taken away", async () => {
  const carol = await Person.arrive(browser, line.url);
  await carol.context.addInitScript(() => {
    Object.defineProperty(Notification, "permission", { get: () => "denied" });
    delete globalThis.PushManager;
  });
  await carol.page.reload();
  await carol.register("carol");
  const bell = (n) => carol.page.getByRole("link", { name: `${n} unread notification${n === 1 ? "" : "s"}`, exact: true });
  await bell(1).click(); // the welcome
  const list = carol.page.getByRole("region", { name: "What happened" }), items = list.getByRole("listitem");
  await items.filter({ hasText: "Your account was made" }).waitFor();
  const terminal = new Terminal(server, "carol"); // another device of hers
  await terminal.run("login", "carol");
  await items.filter({ hasText: "Somebody signed in" }).waitFor();
  await items.filter({ hasText: "A device was added" }).waitFor();
  await bell(3).waitFor();
  await items.filter({ hasText: "A device was added" }).getByRole("button", { name: "Mark as read" }).click();
  await bell(2).waitFor();
  await items.filter({ hasText: "Your account was made" }).getByRole("button", { name: "Delete" }).click();
  await list.getByText("Your account was made").waitFor({ state: "detached" });
  await bell(1).waitFor();
  await carol.page.reload();
  await bell(1).waitFor();
  await list.getByRole("button", { name: "Mark all as read" }).click();
  await carol.page.getByRole("link", { name: "What happened", exact: true }).first().waitFor();
  assert.equal(await items.count(), 2);

  // A browser that cannot, and one that may not, say what to do.
  await carol.page.goto(`${line.url}/settings/notifications`);
  await carol.page.getByText("Allow them in the browser’s settings for this site.").waitFor();
  await carol.page.getByText("elsewhere use another browser").waitFor();
  assert.ok(await wake(carol.page).isDisabled());
  await carol.leave();
});

// eventually asks again until it is so.
async function eventually(holds, otherwise) {
  for (const until = Date.now() + 60_000; !await holds();) {
    assert.ok(Date.now() < until, otherwise);
    await new Promise((again) => { setTimeout(again, 50); });
  }
}

// deliverer hands messages to the service worker, as the browser does when they come from its push service.
async function deliverer(page, origin) {
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
  return (data) => cdp.send("ServiceWorker.deliverPushMessage", { origin, registrationId, data });
}

// push lets the service worker work on one message, and gives back what is shown then, which it takes away.
async function push(context, data) {
  const worker = await workerOf(context);
  await worker.evaluate(async (text) => {
    (await self.registration.getNotifications()).forEach((n) => n.close());
    const ended = [];
    const event = new PushEvent("push", { data: text });
    event.waitUntil = (work) => { ended.push(work); };
    self.dispatchEvent(event);
    await Promise.all(ended);
  }, data);
  const all = await shown(context);
  await worker.evaluate(async () => (await self.registration.getNotifications()).forEach((n) => n.close()));
  return all;
}

// shown are the notifications that stand there now.
async function shown(context) {
  return (await workerOf(context)).evaluate(async () => (await self.registration.getNotifications())
    .map((n) => ({ title: n.title, body: n.body, tag: n.tag, path: n.data.path })));
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
