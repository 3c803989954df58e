import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { Line, password, Person, Server, startBrowser, Terminal } from "./harness.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

let server, browser, line;
before(async () => {
  [server, browser] = await Promise.all([Server.start(), startBrowser()]);
  line = await Line.to(server);
});
after(async () => { line?.close(); await browser?.close(); await server?.stop(); });

// audit looks for serious and critical violations of what is shown, in both themes.
async function audit(page, place) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    const violations = await page.evaluate(async () => {
      const { violations } = await globalThis.axe.run(document, { resultTypes: ["violations"] });
      return violations.filter((v) => v.impact === "serious" || v.impact === "critical")
        .map((v) => `${v.id}: ${v.nodes.map((n) => `${n.target} ${n.any.map((a) => a.message)}`).slice(0, 3).join("; ")}`);
    });
    assert.deepEqual(violations, [], `${place}, ${colorScheme}`);
  }
}

test("no serious or critical violation on any screen, light and dark", async () => {
  const [bob, clara] = [new Terminal(server, "bob"), new Terminal(server, "clara")];
  // The tool is injected before the page: the policy would rightly stop it later.
  const alice = await Person.arrive(browser, line.url);
  await alice.context.addInitScript(axe);
  const { page } = alice;
  await page.goto(line.url);
  const shows = async (path, what) => {
    await alice.go(path);
    await what().first().waitFor();
    await audit(page, path);
  };
  await Promise.all([bob.register(), clara.register()]);
  await shows("/", () => page.getByRole("link", { name: "Create account" }));
  await shows("/sign-in", () => page.getByRole("heading", { name: "Sign in" }));
  await shows("/restore", () => page.getByRole("heading", { name: "Use your recovery code" }));
  await shows("/no/such/place", () => page.getByRole("heading", { name: "There is nothing here" }));
  await shows("/register", () => page.getByRole("heading", { name: "Create your account" }));
  await page.getByRole("button", { name: "Create account" }).click();
  await audit(page, "register with mistakes");
  await page.getByLabel("Username").fill("alice");
  await page.getByLabel("Password", { exact: true }).fill(password);
  await page.getByRole("button", { name: "Create account" }).click();
  await page.getByRole("button", { name: "I have kept it" }).waitFor();
  await audit(page, "recovery code");
  await alice.keepCode();
  await page.getByRole("button", { name: "Write a note to yourself" }).waitFor();
  await audit(page, "empty list");

  await Promise.all([bob.say("alice", "hello https://example.org"), clara.say("alice", "a request")]);
  const list = page.getByRole("navigation", { name: "Conversations" });
  await list.getByRole("link", { name: "bob" }).click();
  await page.getByRole("heading", { name: /bob.* wants to write to you/ }).waitFor();
  await audit(page, "request");
  await page.getByRole("button", { name: "Accept" }).click();
  await alice.say("hello");
  await alice.say("👋");
  await alice.sent();
  await audit(page, "conversation");
  await page.getByRole("button", { name: "Details" }).click();
  await audit(page, "details");
  await page.getByRole("button", { name: /Safety number/ }).click();
  await page.getByLabel("Safety number, 60 digits").waitFor();
  await audit(page, "safety number");
  await page.keyboard.press("Escape");
  await page.getByRole("searchbox").fill("hello");
  await page.locator("#rows mark").first().waitFor();
  await audit(page, "search");
  await page.getByRole("searchbox").fill("");
  await page.keyboard.press("Control+k");
  await page.getByRole("combobox", { name: "Name or username" }).fill("somebody-new");
  await audit(page, "find");
  await page.keyboard.press("Escape");
  await shows("/settings", () => page.getByRole("heading", { name: "Settings" }));
  for (const [section, name] of [["profile", "Profile"], ["account", "Account"], ["devices", "Devices"], ["notices", "What happened"], ["notifications", "Notifications"], ["privacy", "Privacy"], ["appearance", "Appearance and language"]]) {
    await shows(`/settings/${section}`, () => page.getByRole("heading", { name, level: 1 }));
  }
  await alice.go("/settings/account");
  await page.getByRole("button", { name: "Sign out" }).click();
  await audit(page, "sign out");
  await page.keyboard.press("Escape");

  // On a phone, and from right to left.
  await page.setViewportSize({ width: 390, height: 844 });
  await page.evaluate(() => localStorage.setItem("sotto.language", "ar"));
  await page.goto(line.url);
  await page.locator("#rows a", { hasText: "bob" }).waitFor();
  assert.equal(await page.evaluate(() => document.documentElement.dir), "rtl");
  await audit(page, "list, Arabic, phone");
  await page.locator("#rows a", { hasText: "bob" }).click();
  await page.locator("li[data-id]").first().waitFor();
  await audit(page, "conversation, Arabic, phone");
  await alice.go("/settings/profile");
  await page.locator("textarea").fill("x".repeat(513));
  await audit(page, "profile, Arabic, phone");
  for (const width of [320, 390, 768, 1100, 1440]) {
    await page.setViewportSize({ width, height: 700 });
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, `nothing sticks out at ${width} px`);
  }
  await alice.leave();
});

test("with the keyboard alone from signing up to sending", async () => {
  const dora = await Person.arrive(browser, line.url);
  dora.name = "dora";
  const { page } = dora;
  const { keyboard } = page;
  // tabTo walks with Tab until the focus is on something with that name, which must be seen to have it.
  const tabTo = async (name) => {
    for (let i = 0; i < 40; i++) {
      await keyboard.press("Tab");
      const at = await page.evaluate(() => {
        const e = document.activeElement;
        const ring = getComputedStyle(e);
        return { name: e.ariaLabel || e.labels?.[0]?.textContent || e.textContent.trim(), seen: ring.outlineStyle !== "none" && parseFloat(ring.outlineWidth) >= 2 };
      });
      if (at.name === name) {
        assert.ok(at.seen, `${name} shows that it has the focus`);
        return;
      }
    }
    assert.fail(`Tab does not reach ${name}`);
  };
  await page.getByRole("link", { name: "Create account" }).waitFor();
  await tabTo("Create account");
  await keyboard.press("Enter");
  await page.getByRole("heading", { name: "Create your account" }).waitFor();
  await tabTo("Username");
  await keyboard.type("dora");
  await tabTo("Password");
  await keyboard.type("four unrelated words of dora");
  await keyboard.press("Enter");
  await page.getByRole("button", { name: "I have kept it" }).waitFor();
  const code = (await page.locator("ol.code li").evaluateAll((all) => all.map((li) => li.lastChild.textContent.trim())));
  await tabTo("I have kept it");
  await keyboard.press("Enter");
  await page.getByRole("button", { name: "Confirm" }).waitFor();
  for (const field of await page.getByRole("textbox").all()) {
    const label = await field.evaluate((f) => f.labels[0].textContent);
    if (!await field.evaluate((f) => f === document.activeElement)) {
      await tabTo(label);
    }
    await keyboard.type(code[Number(label.match(/\d+/)[0]) - 1]);
  }
  await keyboard.press("Enter");
  await page.getByRole("navigation", { name: "Conversations" }).waitFor();

  await keyboard.press("Control+k");
  await page.getByRole("combobox", { name: "Name or username" }).waitFor();
  await keyboard.type("dora");
  await keyboard.press("Enter");
  const field = page.getByRole("textbox", { name: /^Message to/ });
  await field.waitFor();
  await page.waitForFunction(() => document.activeElement?.tagName === "TEXTAREA");
  await keyboard.type("first line");
  await keyboard.press("Shift+Enter");
  await keyboard.type("second line");
  await keyboard.press("Enter");
  await dora.reads("second line");
  assert.deepEqual(await dora.texts(), ["first line\nsecond line"]);

  // What a screen reader hears of it, and the other keys.
  const bob = new Terminal(server, "bertha");
  await bob.register();
  await bob.say("dora", "are you there?");
  await page.locator("#rows").getByText("are you there?").waitFor();
  await page.locator(".box").focus();
  await keyboard.press("Alt+ArrowUp");
  await page.getByRole("heading", { name: /bertha.* wants to write to you/ }).waitFor();
  await page.getByRole("button", { name: "Accept" }).focus();
  await keyboard.press("Enter");
  await field.waitFor();
  await keyboard.press("Alt+ArrowDown");
  await page.getByRole("heading", { name: "Notes to self", level: 1 }).waitFor();
  await bob.say("dora", "said aloud");
  await page.locator("[aria-live=polite]", { hasText: "bertha: said aloud" }).waitFor({ state: "attached" });
  await page.locator(".box").focus();
  await keyboard.press("/");
  assert.equal(await page.evaluate(() => document.activeElement.id), "search");
  await keyboard.type("aloud");
  await page.locator("#rows mark").first().waitFor();
  await keyboard.press("ArrowDown");
  await keyboard.press("Enter");
  await page.locator("li.lit", { hasText: "said aloud" }).waitFor();
  await page.locator(".box").focus();
  await keyboard.press("?");
  await page.getByRole("dialog", { name: "Keyboard shortcuts" }).waitFor();
  await keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "hidden" });
  await dora.leave();
});
