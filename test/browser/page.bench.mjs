// How long the web client takes from navigation to a list of conversations that can be used, with a warm cache, and to the
// start page of somebody who is not signed in: `make bench ROW=page`. The aim for the list is 1.5 s on a developer's
// machine; the ratio of the two is what can be compared between machines.
import { Line, Person, Server, startBrowser, Terminal } from "./harness.mjs";

const times = 15, aim = 1500; // milliseconds
const server = await Server.start(), browser = await startBrowser(), line = await Line.to(server);

// opened is the time from navigation until an element is there, in milliseconds, of several reloads after the first.
async function opened(person, selector) {
  await person.page.addInitScript((wanted) => {
    new MutationObserver((_, watch) => {
      if (document.querySelector(wanted)) {
        globalThis.usable = performance.now();
        watch.disconnect();
      }
    }).observe(document, { childList: true, subtree: true });
  }, selector);
  const all = [];
  for (let i = 0; i <= times; i++) {
    await person.page.goto(line.url);
    await person.page.waitForFunction(() => globalThis.usable !== undefined);
    all.push(await person.page.evaluate(() => globalThis.usable));
  }
  return all.slice(1).sort((a, b) => a - b);
}

const show = (what, all) => {
  const median = all[Math.floor(all.length / 2)];
  console.log(`${what}: median ${median.toFixed(0)} ms, slowest of ${all.length} ${all.at(-1).toFixed(0)} ms`);
  return median;
};

const alice = await Person.arrive(browser, line.url);
await alice.register("alice");
for (const name of ["bob", "carol", "dave"]) {
  const terminal = new Terminal(server, name);
  await terminal.register();
  await terminal.say("alice", `hello from ${name}`);
  await alice.page.locator("#rows").getByRole("link", { name }).waitFor();
}
const nobody = await Person.arrive(browser, line.url);
const start = show("start page", await opened(nobody, 'a[href="/register"]'));
const list = show("list of conversations", await opened(alice, '#rows a[href^="/c/"]'));
console.log(`ratio ${(list / start).toFixed(2)}; the aim for the list is ${aim} ms`);
await browser.close();
await server.stop();
