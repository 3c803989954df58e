import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Line, Person, Server, startBrowser, Terminal } from "./harness.mjs";

let server, browser;
before(async () => { [server, browser] = await Promise.all([Server.start(), startBrowser()]); });
after(async () => { await browser?.close(); await server?.stop(); });

// notes registers somebody and opens the notes to oneself.
async function notes(line, name) {
  const p = await Person.arrive(browser, line.url);
  await p.register(name);
  await p.page.getByRole("button", { name: "Write a note to yourself" }).click();
  await p.page.getByRole("textbox", { name: /^Message to/ }).waitFor();
  return p;
}

test("offline: history is there, sends wait, and go out when the network is back", async () => {
  const line = await Line.to(server);
  const alice = await notes(line, "alice");
  await alice.say("before");
  await alice.sent();
  await alice.page.evaluate(() => navigator.serviceWorker.ready);
  await alice.page.waitForFunction(async () => (await caches.keys()).length > 0 && navigator.serviceWorker.controller !== null);

  line.cut();
  await alice.page.getByText("No connection.").waitFor();
  await alice.say("while away");
  await alice.page.locator("li.own .ticks.queued").waitFor();

  // The page opens without a network, from what the service worker kept.
  await alice.page.reload();
  await alice.reads("before");
  await alice.reads("while away");
  await alice.say("after a reload");
  await alice.page.getByText("No connection.").waitFor();
  assert.equal(await alice.page.locator(".ticks.queued").count() > 0, true);

  line.mend();
  await alice.sent();
  assert.deepEqual(await alice.texts(), ["before", "while away", "after a reload"]);
  await alice.page.getByText("No connection.").waitFor({ state: "hidden" });
  await alice.leave();
  line.close();
});

test("a reload in the middle of a send sends once", async () => {
  const line = await Line.to(server);
  const bob = await notes(line, "bob");
  await bob.say("first");
  await bob.sent();
  line.hold(); // the server gets the message, its answer does not arrive
  await bob.say("once");
  await bob.page.locator("li.own", { hasText: "once" }).locator(".ticks.queued").waitFor();
  await bob.page.evaluate(() => new Promise((on) => { setTimeout(on, 300); })); // the bytes are on their way
  const reloaded = bob.page.reload();
  line.release();
  await reloaded;
  await bob.reads("once");
  await bob.sent();
  await bob.say("twice");
  await bob.sent();
  await bob.page.reload();
  await bob.reads("twice");
  assert.deepEqual(await bob.texts(), ["first", "once", "twice"]);
  await bob.leave();
  line.close();
});

test("several tabs: one leads, all show the same, the next takes over", async () => {
  const line = await Line.to(server);
  const carol = await notes(line, "carol");
  const first = carol.page, second = await carol.tab(new URL(first.url()).pathname);
  await carol.say("from the first tab", first);
  await carol.reads("from the first tab", second);
  await carol.say("from the second tab", second);
  await carol.reads("from the second tab", first);
  await carol.sent(second);
  const third = await carol.tab(new URL(first.url()).pathname);
  // The first is busy and never hears of it: it is sent all the same, once.
  const crash = await carol.context.newCDPSession(first);
  first.evaluate(() => { for (const end = Date.now() + 60_000; Date.now() < end;); }).catch(() => undefined);
  await carol.say("the second leads", second);
  await second.waitForTimeout(200);
  crash.send("Page.crash").catch(() => undefined);
  await carol.reads("the second leads", third);
  await carol.sent(second);
  // What is being written in the tab that takes over stays where it is, and so does the page.
  await third.evaluate(() => {
    const field = document.querySelector("#composer");
    new MutationObserver(() => { globalThis.emptied ||= !field.isConnected; }).observe(document.body, { childList: true, subtree: true });
  });
  await second.close();
  await carol.say("the third leads", third);
  await carol.reads("the third leads", third);
  await carol.sent(third);
  assert.equal(await third.evaluate(() => globalThis.emptied), false);
  assert.deepEqual(await carol.texts(third), ["from the first tab", "from the second tab", "the second leads", "the third leads"]);
  carol.page = third;
  await carol.leave();
  line.close();
});

test("signing out wipes the browser, in every tab", async () => {
  const line = await Line.to(server);
  const dave = await notes(line, "dave");
  await dave.say("canary-message");
  await dave.sent();
  await dave.page.getByRole("textbox", { name: /^Message to/ }).fill("canary-draft");
  await dave.page.waitForTimeout(600); // drafts are written shortly after the last key
  const second = await dave.tab("/settings/account");
  await second.getByRole("button", { name: "Sign out" }).click();
  await second.getByText("Wiped here").waitFor();
  await second.getByRole("button", { name: "Sign out and wipe" }).click();
  for (const page of [dave.page, second]) {
    await page.getByRole("link", { name: "Create account" }).waitFor();
  }
  const left = await dave.page.evaluate(async () => {
    const names = (await indexedDB.databases()).map((d) => d.name);
    const found = [];
    for (const name of names) {
      const db = await new Promise((on) => { const r = indexedDB.open(name); r.onsuccess = () => on(r.result); });
      for (const store of db.objectStoreNames) {
        const items = await new Promise((on) => { const r = db.transaction(store).objectStore(store).count(); r.onsuccess = () => on(r.result); });
        found.push(`${name}/${store}: ${items}`);
      }
      db.close();
    }
    const kept = [...Object.entries(localStorage), ...Object.entries(sessionStorage)].map(([k]) => k);
    const cached = [];
    for (const key of await caches.keys()) {
      cached.push(...(await (await caches.open(key)).keys()).map((r) => new URL(r.url).pathname));
    }
    return { found, kept, cached, text: document.body.innerText, name: document.body.innerHTML.includes("dave") };
  });
  // The core opens a fresh, empty store for the next person: its key and its fencing number.
  assert.deepEqual(left.found.filter((f) => !/^sotto\/(kv: 0|meta: 2)$/.test(f)), []);
  assert.deepEqual(left.kept.filter((k) => !k.startsWith("sotto.")), []);
  assert.ok(left.cached.every((p) => p === "/" || /^\/(assets|core)\/|\.(svg|png|webmanifest)$/.test(p)), String(left.cached));
  assert.ok(!left.name && !left.text.includes("canary"));
  await dave.leave();
  line.close();
});

test("drafts survive a reload and show in the list", async () => {
  const line = await Line.to(server);
  const frank = new Terminal(server, "frank");
  const erin = await Person.arrive(browser, line.url);
  await Promise.all([erin.register("erin"), frank.register()]);
  await erin.open("frank");
  await erin.page.getByRole("textbox", { name: /^Message to/ }).fill("not finished");
  await erin.page.waitForTimeout(600);
  await erin.page.goto(line.url);
  await erin.page.getByText("Draft:").waitFor();
  await erin.page.getByRole("navigation", { name: "Conversations" }).getByRole("link", { name: "frank" }).click();
  assert.equal(await erin.page.getByRole("textbox", { name: /^Message to/ }).inputValue(), "not finished");
  await erin.leave();
  line.close();
});
