import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Line, Person, Server, startBrowser } from "./harness.mjs";

let server, browser, line;
before(async () => {
  [server, browser] = await Promise.all([Server.start(), startBrowser()]);
  line = await Line.to(server);
});
after(async () => { line?.close(); await browser?.close(); await server?.stop(); });

// injections are 300 texts that would run something if any part of the client made HTML, an address or a style of them.
function injections() {
  const run = ["globalThis.ran=1", "fetch('/ran')", "import('/ran')"];
  const forms = [
    (x) => `<script>${x}</script>`, (x) => `<img src=x onerror="${x}">`, (x) => `<svg/onload=${x}>`, (x) => `"><script>${x}</script>`,
    (x) => `'><img src=x onerror=${x}>`, (x) => `<iframe srcdoc="<script>${x}</script>">`, (x) => `<body onload=${x}>`, (x) => `javascript:${x}`,
    (x) => `[x](javascript:${x})`, (x) => `<a href="javascript:${x}">x</a>`, (x) => `https://example.org/"onmouseover="${x}`,
    (x) => `https://example.org/<script>${x}</script>`, (x) => `data:text/html,<script>${x}</script>`, (x) => `<style>*{background:url('javascript:${x}')}</style>`,
    (x) => `<details open ontoggle=${x}>`, (x) => `<input autofocus onfocus=${x}>`, (x) => `<math><mtext></p><img src onerror=${x}>`,
    (x) => `<template><script>${x}</script></template>`, (x) => `\${${x}}`, (x) => `{{${x}}}`, (x) => `{@html "${x}"}`, (x) => `</li></ol><script>${x}</script>`,
    (x) => `<!--><script>${x}</script>`, (x) => `<meta http-equiv=refresh content="0;url=javascript:${x}">`, (x) => `<base href="javascript:${x}//">`,
    (x) => `<object data="javascript:${x}">`, (x) => `<form action="javascript:${x}"><button>x`, (x) => `<link rel=import href="data:,${x}">`,
    (x) => `<video><source onerror="${x}">`, (x) => `\u202e<script>${x}</script>`, (x) => `<scr\u0000ipt>${x}</scr\u0000ipt>`, (x) => `&lt;script&gt;${x}&lt;/script&gt;`,
    (x) => `%3Cscript%3E${x}%3C/script%3E`, (x) => `\\u003cscript\\u003e${x}`,
  ];
  const all = [];
  for (let i = 0; all.length < 300; i++) {
    const x = run[i % run.length], f = forms[i % forms.length];
    all.push(i < forms.length * run.length ? forms[Math.floor(i / run.length)](x) : `${f(x)} ${i} ${forms[(i * 7) % forms.length](x)}`);
  }
  return all;
}

test("300 injections as messages, drafts, searches, names and addresses run nothing", async () => {
  const texts = injections();
  const mallory = await Person.arrive(browser, line.url);
  let asked = 0;
  await mallory.context.route("**/ran*", (route) => { asked++; return route.abort(); });
  await mallory.register("mallory");
  await mallory.page.getByRole("button", { name: "Write a note to yourself" }).click();
  const field = mallory.page.getByRole("textbox", { name: /^Message to/ });
  await field.waitFor();
  const perMessage = 6; // each in a line of its own
  const messages = Array.from({ length: texts.length / perMessage }, (_, i) => texts.slice(i * perMessage, (i + 1) * perMessage).join("\n"));
  for (const text of messages) {
    await field.fill(text);
    await field.press("Enter");
  }
  await mallory.reads(texts.at(-1).slice(0, 20));
  // All of them are shown as what they are: walk to the top, collecting.
  const seen = new Set();
  for (let i = 0; i < 60 && seen.size < messages.length; i++) {
    (await mallory.texts()).forEach((t) => seen.add(t));
    await mallory.page.locator(".box").evaluate((b) => { b.scrollTop = 0; });
    await mallory.page.waitForTimeout(60);
  }
  const missing = messages.filter((t) => !seen.has(t.trim()));
  assert.deepEqual(missing, []);
  const links = await mallory.page.locator("li[data-id] a").evaluateAll((all) => all.map((a) => [new URL(a.href).protocol, a.rel, a.target]));
  assert.ok(links.length > 0 && links.every(([p, rel, target]) => p === "https:" && rel === "noopener noreferrer" && target === "_blank"), JSON.stringify(links));

  // The same in every other field, and in the address.
  for (const text of texts.slice(0, 34)) {
    await mallory.page.getByRole("searchbox").fill(text);
  }
  await mallory.page.getByRole("searchbox").fill("script globalThis");
  await mallory.page.locator("#rows mark").first().waitFor();
  for (const path of ["/u/%3Cscript%3EglobalThis.ran=1%3C%2Fscript%3E", "/c/%3Cimg%20src=x%20onerror=globalThis.ran=1%3E", "/settings/constructor", "/settings/__proto__"]) {
    await mallory.page.goto(line.url + path);
    await mallory.page.locator("#rows a").first().waitFor();
  }
  await mallory.go("/settings/devices");
  await mallory.page.getByRole("button", { name: /^Rename/ }).click();
  await mallory.page.getByLabel("Name", { exact: true }).fill("<img src=x onerror=globalThis.ran=1>");
  await mallory.page.getByRole("button", { name: "Save" }).click();
  await mallory.page.getByText("<img src=x onerror=globalThis.ran=1>", { exact: true }).waitFor();

  assert.equal(await mallory.page.evaluate(() => globalThis.ran), undefined);
  assert.equal(asked, 0);
  assert.deepEqual(await mallory.page.evaluate(() => globalThis.violations), []);
  await mallory.leave();
});

test("the policy stops what would get past the framework", async () => {
  const p = await Person.arrive(browser, line.url);
  const stopped = await p.page.evaluate(async (origin) => {
    const out = {};
    const fails = async (name, f) => { try { await f(); out[name] = "allowed"; } catch { out[name] = "stopped"; } };
    await fails("innerHTML", () => { document.createElement("div").innerHTML = "<b>x</b>"; });
    // Later: what the test's own tool calls is exempt while it is called.
    const later = (f) => new Promise((on, no) => { setTimeout(() => { try { on(f()); } catch (e) { no(e); } }, 50); });
    await fails("eval", () => later(() => (0, eval)("1")));
    await fails("Function", () => later(() => new Function("return 1")));
    await fails("worker", () => new Worker("/sw.js"));
    await fails("policy", () => trustedTypes.createPolicy("other", { createHTML: (s) => s }));
    await fails("fetch", () => fetch("https://example.org/"));
    out.frame = await new Promise((on) => {
      const f = document.createElement("iframe");
      f.src = `${origin}/icon.svg`;
      f.onload = () => on(f.contentDocument?.querySelector("svg") ? "allowed" : "stopped");
      document.body.append(f);
      setTimeout(() => on("stopped"), 2_000);
    });
    return out;
  }, line.url);
  assert.deepEqual(new Set(Object.values(stopped)), new Set(["stopped"]), JSON.stringify(stopped));
  const headers = (await fetch(line.url)).headers;
  for (const [name, want] of [
    ["content-security-policy", /^default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; .*frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types sotto$/],
    ["x-content-type-options", /^nosniff$/], ["referrer-policy", /^no-referrer$/], ["cross-origin-opener-policy", /^same-origin$/],
  ]) {
    assert.match(headers.get(name) ?? "", want, name);
  }
  await p.context.close(); // it reported, as it should
});

// Pages for when nothing works: each says what is wrong and what to do.
const failures = {
  "storage denied": { title: "The browser stores nothing for this page", script: () => { IDBFactory.prototype.open = () => { throw new DOMException("no", "SecurityError"); }; } },
  "wasm blocked": { title: "The encryption program did not start", script: () => { WebAssembly.instantiateStreaming = () => Promise.reject(new WebAssembly.CompileError("blocked by policy")); } },
};

for (const [name, { title, script }] of Object.entries(failures)) {
  test(name, async () => {
    const p = await Person.arrive(browser, line.url);
    // The core runs in a worker: its first script gets the fault, as the browser's setting would give it.
    await p.context.route("**/core/*/worker.js", async (route) => {
      const answer = await route.fetch();
      await route.fulfill({ response: answer, body: `import "./fault.js";\n${await answer.text()}` });
    });
    await p.context.route("**/core/*/fault.js", (route) => route.fulfill({ contentType: "text/javascript", body: `(${script})();` }));
    await p.page.evaluate(async () => { for (const r of await navigator.serviceWorker.getRegistrations()) await r.unregister(); });
    await p.page.reload();
    await p.page.getByRole("heading", { name: title }).waitFor();
    await p.page.getByRole("button", { name: "Reload" }).waitFor();
    await p.leave();
  });
}

test("a page that was not opened safely", async () => {
  const p = await Person.arrive(browser, line.url);
  await p.context.addInitScript(() => { delete Navigator.prototype.locks; });
  await p.page.reload();
  await p.page.getByRole("heading", { name: "This page was opened in a way that cannot be made safe" }).waitFor();
  await p.leave();
});

test("a half-written database: what is wrong, and a way on", async () => {
  const p = await Person.arrive(browser, line.url);
  await p.register("nell");
  await p.page.getByRole("button", { name: "Write a note to yourself" }).waitFor();
  await p.page.evaluate(() => new Promise((on) => {
    const r = indexedDB.open("sotto");
    r.onsuccess = () => {
      const tx = r.result.transaction("meta", "readwrite");
      tx.objectStore("meta").delete("key");
      tx.oncomplete = () => { r.result.close(); on(); };
    };
  }));
  await p.page.reload();
  await p.page.getByRole("heading", { name: "The data of this page is damaged" }).waitFor();
  await p.page.getByRole("button", { name: "Delete this page’s data" }).click();
  await p.signIn("nell");
  await p.leave();
});

test("the server is unreachable at the first visit and while signing in", async () => {
  const own = await Line.to(server);
  const p = await Person.arrive(browser, own.url);
  await p.page.getByRole("link", { name: "Sign in" }).click();
  await p.page.getByLabel("Username").fill("nobody");
  await p.page.getByLabel("Password", { exact: true }).fill("some password that is long");
  own.cut();
  await p.page.getByRole("button", { name: "Sign in" }).click();
  await p.page.getByText("The server could not be reached.").waitFor();
  own.mend();
  await p.page.getByRole("button", { name: "Sign in" }).click();
  await p.page.getByText("The username or the password is wrong.").waitFor();
  await p.leave();
  own.close();
});

test("a clock that is wrong by hours", async () => {
  const p = await Person.arrive(browser, line.url);
  const shift = () => {
    const real = Date;
    globalThis.Date = class extends real {
      constructor(...a) { if (a.length > 0) super(...a); else super(Date.now()); }
      static now() { return real.now() + 7 * 3_600_000; }
    };
  };
  await p.context.addInitScript(shift);
  await p.page.reload();
  await p.page.getByRole("link", { name: "Create account" }).waitFor();
  // The core runs in a worker, which reads the clock of its own global. A worker whose script the test replaces would
  // lose its sockets.
  const [core] = p.page.workers();
  await core.evaluate(shift);
  await p.register("paul");
  await p.page.getByRole("button", { name: "Write a note to yourself" }).click();
  await p.say("what time is it?");
  await p.sent();
  await p.page.getByText("The clock of this device").waitFor();
  const [told] = await p.page.locator("li.own time").evaluateAll((all) => all.map((x) => new Date(x.dateTime).getTime()));
  assert.ok(Math.abs(told - Date.now()) < 600_000, "the time of a message is the server's");
  await p.leave();
});
