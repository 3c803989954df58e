// What the tests share: a server, a browser, and people who use the web client as people do: by what it shows.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

export const password = "four unrelated wörds, canary-password";
const patience = 75_000; // milliseconds for what takes well under a second on a machine that does nothing else
// sottod refuses SOTTO_ variables that mean nothing to it, and the tests have some of their own.
const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("SOTTO_")));
export const binaries = process.env.BINARIES ?? join(import.meta.dirname, "../../bin");

const freePort = () => new Promise((resolve) => {
  const s = net.createServer().listen(0, "127.0.0.1", () => {
    const { port } = s.address();
    s.close(() => resolve(port));
  });
});

// Server is one `sottod serve` on a folder of its own.
export class Server {
  static async start(settings = {}) {
    const s = new Server();
    s.env = { ...env, ...settings };
    s.dir = mkdtempSync(join(tmpdir(), "sotto-browser-"));
    s.port = await freePort();
    await s.up();
    return s;
  }

  async up() {
    const args = ["serve", `--data-dir=${join(this.dir, "data")}`, `--listen=127.0.0.1:${this.port}`];
    this.process = spawn(join(binaries, "sottod"), args, { env: this.env, stdio: ["ignore", "ignore", "pipe"] });
    this.log = "";
    this.process.stderr.on("data", (b) => { this.log += b; });
    const until = Date.now() + patience;
    for (;;) {
      const ready = await fetch(`http://127.0.0.1:${this.port}/readyz`).then((r) => r.ok, () => false);
      if (ready) {
        return;
      }
      assert.ok(Date.now() < until && this.process.exitCode === null, `the server does not start: ${this.log}`);
      await new Promise((again) => { setTimeout(again, 50); });
    }
  }

  // resetCode is what the operator gives to somebody who has lost everything.
  resetCode(name) {
    const out = execFileSync(join(binaries, "sottod"), ["admin", `--data-dir=${join(this.dir, "data")}`, "reset", name], { env, encoding: "utf8" });
    return out.match(/reset-[\w-]{22}/)[0];
  }

  async stop() {
    const ended = new Promise((resolve) => { this.process.once("exit", resolve); });
    this.process.kill("SIGKILL");
    await ended;
    rmSync(this.dir, { recursive: true, force: true });
  }
}

// Line is an address of its own in front of a server, and so an origin; it can be cut, which breaks what is open.
export class Line {
  #sockets = new Set();
  #cut = false;
  #held = false;
  #waiting = [];

  static async to(server) {
    const l = new Line();
    l.listener = net.createServer((near) => l.#join(near, server.port));
    await new Promise((resolve) => { l.listener.listen(0, "127.0.0.1", resolve); });
    l.listener.unref();
    l.url = `http://127.0.0.1:${l.listener.address().port}`;
    return l;
  }

  #join(near, port) {
    if (this.#cut) {
      near.destroy();
      return;
    }
    const far = net.connect(port, "127.0.0.1");
    for (const [from, to] of [[near, far], [far, near]]) {
      this.#sockets.add(from);
      from.on("data", (b) => {
        // What the server says may be held back, what the browser says arrives.
        if (from === far && this.#held) {
          this.#waiting.push(() => to.write(b));
        } else {
          to.write(b);
        }
      });
      from.on("close", () => { to.destroy(); this.#sockets.delete(from); });
      from.on("error", () => to.destroy());
    }
  }

  cut() {
    this.#cut = true;
    this.#sockets.forEach((s) => s.destroy());
  }

  mend() { this.#cut = false; }

  hold() { this.#held = true; }

  release() {
    this.#held = false;
    this.#waiting.splice(0).forEach((f) => f());
  }

  close() {
    this.cut();
    this.listener.close();
  }
}

export async function startBrowser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync",
    ],
  });
}

// Person is one browser with a profile of its own. What goes wrong in its pages is collected and must stay empty.
export class Person {
  static async arrive(browser, url, options = {}) {
    const p = new Person();
    p.url = url;
    p.faults = [];
    p.context = await browser.newContext({ locale: "en-GB", ...options });
    p.context.setDefaultTimeout(patience);
    await p.context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: url });
    p.page = await p.tab();
    return p;
  }

  async tab(path = "/") {
    const page = await this.context.newPage();
    page.on("pageerror", (e) => this.faults.push(`error: ${e}`));
    page.on("console", (m) => {
      if (m.type() === "error" && !/net::ERR_|WebSocket connection|the server responded with a status/.test(m.text())) {
        this.faults.push(`console: ${m.text()}`);
      }
    });
    await page.addInitScript(() => {
      globalThis.violations = [];
      document.addEventListener("securitypolicyviolation", (e) => globalThis.violations.push(`${e.violatedDirective}: ${e.blockedURI} ${e.sample}`));
    });
    await page.goto(this.url + path);
    return page;
  }

  // go shows another place of the client, as Back and Forward do, without loading it anew.
  async go(path, page = this.page) {
    await page.evaluate((to) => { history.pushState(null, "", to); dispatchEvent(new PopStateEvent("popstate")); }, path);
  }

  // register makes an account and gives back the recovery code.
  async register(name, page = this.page) {
    this.name = name;
    await page.getByRole("link", { name: "Create account" }).click();
    await page.getByLabel("Username").fill(name);
    await page.getByLabel("Password", { exact: true }).fill(password);
    await page.getByRole("button", { name: "Create account" }).click();
    return this.keepCode(page);
  }

  async keepCode(page = this.page) {
    await page.getByRole("button", { name: "Copy" }).click();
    const code = await page.evaluate(() => navigator.clipboard.readText());
    await page.getByRole("button", { name: "I have kept it" }).click();
    const groups = code.split("-");
    for (const field of await page.getByRole("textbox").all()) {
      const label = await field.evaluate((f) => f.labels[0].textContent);
      await field.fill(groups[Number(label.match(/\d+/)[0]) - 1]);
    }
    await page.getByRole("button", { name: "Confirm" }).click();
    return code;
  }

  async signIn(name, secret = password, page = this.page) {
    this.name = name;
    await page.getByRole("link", { name: "Sign in" }).click();
    await page.getByLabel("Username").fill(name);
    await page.getByLabel("Password", { exact: true }).fill(secret);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("navigation", { name: "Conversations" }).waitFor();
  }

  async open(name, page = this.page) {
    await page.keyboard.press("Control+k");
    await page.getByRole("combobox", { name: "Name or username" }).fill(name);
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name, level: 1 }).waitFor();
  }

  async say(text, page = this.page) {
    const field = page.getByRole("textbox", { name: /^Message to/ });
    await field.fill(text);
    await field.press("Enter");
    this.said = text;
  }

  // reads waits until a text is in the open conversation.
  async reads(text, page = this.page) {
    await page.locator("li[data-id]", { hasText: text }).first().waitFor();
  }

  texts(page = this.page) {
    return page.locator("li[data-id] p").allTextContents();
  }

  // sent waits until what was said last shows and everything that was sent is on the server.
  async sent(page = this.page) {
    await page.locator("li.own", { hasText: this.said }).last().waitFor();
    await page.waitForFunction(() => document.querySelectorAll(".ticks.queued").length === 0);
  }

  async leave() {
    for (const page of this.context.pages()) {
      this.faults.push(...await page.evaluate(() => globalThis.violations ?? []).catch(() => []));
    }
    await this.context.close();
    assert.deepEqual(this.faults, [], `${this.name}'s browser complained`);
  }
}

// Terminal is somebody who uses `sotto` in a terminal.
export class Terminal {
  constructor(server, name) {
    this.name = name;
    this.args = ["--server", `http://127.0.0.1:${server.port}`, "--state", join(server.dir, `${name}.db`)];
  }

  // run gives back what a command prints.
  run(command, ...args) {
    const secret = ["register", "login", "reset"].includes(command) ? ["--password-stdin"] : [];
    return new Promise((resolve, reject) => {
      const p = spawn(join(binaries, "sotto"), [command, ...args, ...secret, ...this.args], { timeout: patience });
      let out = "", err = "";
      p.stdout.on("data", (b) => { out += b; });
      p.stderr.on("data", (b) => { err += b; });
      p.on("error", reject);
      p.on("close", (code) => (code === 0 ? resolve(out) : reject(new Error(`sotto ${command} of ${this.name} ended with ${code}: ${err}`))));
      p.stdin.end(command === "reset" ? `${this.code}\n${password}` : secret.length > 0 ? password : "");
    });
  }

  register() { return this.run("register", this.name); }

  say(to, text) { return this.run("send", to, text); }

  // reset begins anew on another disk, with a code of the operator.
  reset(code) {
    this.code = code;
    this.args = this.args.map((a) => a.replace(/\.db$/, ".new.db"));
    return this.run("reset");
  }
}
