import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { binaries, Line, Person, Server, startBrowser } from "./harness.mjs";

const examples = join(import.meta.dirname, "../../examples");
const mostLines = 60;

let server, browser, line, bot;
before(async () => {
  [server, browser] = await Promise.all([Server.start(), startBrowser()]);
  line = await Line.to(server);
});
after(async () => { bot?.kill("SIGKILL"); line?.close(); await browser?.close(); await server?.stop(); });

test("examples are short", () => {
  const lines = (...names) => names.reduce((n, name) => n + readFileSync(join(examples, name), "utf8").trimEnd().split("\n").length, 0);
  assert.ok(lines("page/index.html", "page/page.js") <= mostLines);
  assert.ok(lines("echobot/main.go") <= mostLines);
});

test("the page on the SDK writes to the echo bot, and gets its text back", async () => {
  bot = spawn(join(binaries, "echobot"), [`http://127.0.0.1:${server.port}`, join(server.dir, "echo.db"), "echobot", "the password of a bot that echoes"]);
  let said = "";
  bot.stdout.on("data", (b) => { said += b; });
  bot.stderr.on("data", (b) => { said += b; });
  const until = Date.now() + 60_000;
  while (!said.includes("recovery code:")) {
    assert.ok(Date.now() < until && bot.exitCode === null, `the bot says ${said}`);
    await new Promise((on) => { setTimeout(on, 50); });
  }
  const p = await Person.arrive(browser, line.url);
  p.name = "the example";
  // The page stands beside the server's own files, under the policy that the SDK's page names.
  await p.context.route("**/example/*", (route) => {
    const name = new URL(route.request().url()).pathname.split("/").at(-1);
    return route.fulfill({
      body: readFileSync(join(examples, "page", name)), contentType: name.endsWith(".js") ? "text/javascript" : "text/html",
      headers: { "content-security-policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; require-trusted-types-for 'script'; trusted-types sotto" },
    });
  });
  await p.page.evaluate(async () => { for (const r of await navigator.serviceWorker.getRegistrations()) await r.unregister(); });
  await p.page.goto(`${line.url}/example/index.html?name=example`);
  await p.page.getByText("example, online").waitFor();
  await p.page.getByLabel("To").fill("echobot");
  await p.page.getByLabel("Text").fill("is there an echo?");
  await p.page.getByRole("button", { name: "Send" }).click();
  await p.page.locator("#messages li", { hasText: "is there an echo?" }).waitFor();
  await p.leave();
});
