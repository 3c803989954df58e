import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Line, password, Person, Server, startBrowser, Terminal } from "./harness.mjs";

let server, browser, line;
before(async () => {
  [server, browser] = await Promise.all([Server.start(), startBrowser()]);
  line = await Line.to(server);
});
after(async () => { line?.close(); await browser?.close(); await server?.stop(); });

test("a second browser with the password gets the history; it is removed from the first", async () => {
  const bob = new Terminal(server, "bob");
  const [first, second] = await Promise.all([Person.arrive(browser, line.url), Person.arrive(browser, line.url), bob.register()]);
  await first.register("alice");
  await first.open("bob");
  await first.say("before the second device");
  await first.sent();
  await bob.say("alice", "an answer");
  await first.reads("an answer");

  await second.signIn("alice");
  await second.page.locator("#rows").getByRole("link", { name: "bob" }).click();
  await second.reads("before the second device");
  await second.reads("an answer");
  await second.say("from the second");
  await second.sent();
  await first.reads("from the second");

  const list = first.page.locator("main li");
  await first.go("/settings/devices");
  await list.filter({ hasText: "This browser" }).waitFor();
  await first.page.getByRole("button", { name: /^Rename/ }).first().click();
  await first.page.getByLabel("Name", { exact: true }).fill("kitchen");
  await first.page.getByRole("button", { name: "Save" }).click();
  await list.getByText("kitchen").waitFor();
  await first.page.getByRole("button", { name: /^Remove/ }).click();
  await first.page.getByLabel("Password", { exact: true }).fill(password);
  await first.page.getByRole("button", { name: "Remove", exact: true }).click();
  await second.page.getByText("This browser was removed from your account.").waitFor();
  await first.page.waitForFunction(() => document.querySelectorAll("main .section li").length === 1);

  // The one that was removed becomes a new device with the password, and keeps what it had.
  await second.page.getByRole("link", { name: "Open account" }).click();
  await second.page.getByLabel("Password", { exact: true }).fill(password);
  const signIn = second.page.getByRole("main").getByRole("button", { name: "Sign in" });
  await signIn.click();
  await signIn.waitFor({ state: "hidden" });
  await second.page.locator("#rows").getByRole("link", { name: "bob" }).click();
  await second.reads("from the second");
  await second.say("back again");
  await second.sent();
  await Promise.all([first.leave(), second.leave()]);
});

test("everything is lost but the recovery code", async () => {
  const lost = await Person.arrive(browser, line.url);
  const code = await lost.register("carol");
  await lost.page.getByRole("button", { name: "Write a note to yourself" }).click();
  await lost.say("worth keeping");
  await lost.sent();
  await lost.leave();

  const again = await Person.arrive(browser, line.url);
  await again.page.getByRole("link", { name: "Sign in" }).click();
  await again.page.getByRole("link", { name: "I have lost my password" }).click();
  const fresh = "five entirely different words, canary-password";
  const fill = async (typed) => {
    await again.page.getByLabel("Username").fill("carol");
    await again.page.getByLabel("Recovery code").fill(typed);
    await again.page.getByLabel("New password").fill(fresh);
    await again.page.getByRole("button", { name: "Continue" }).click();
    return again.keepCode();
  };
  // A letter that is mistyped is told before anything changes.
  const wrong = (code[0] === "A" ? "B" : "A") + code.slice(1);
  await fill(wrong);
  await again.page.getByText("There is a typing error in the recovery code.").waitFor();
  const next = await fill(code.toLowerCase().replaceAll("-", " "));
  assert.notEqual(next, code);
  await again.page.locator("#rows").getByRole("link", { name: "Notes to self" }).click();
  await again.reads("worth keeping");

  // The old password is void, the new one works.
  const third = await Person.arrive(browser, line.url);
  await third.page.getByRole("link", { name: "Sign in" }).click();
  await third.page.getByLabel("Username").fill("carol");
  await third.page.getByLabel("Password", { exact: true }).fill(password);
  await third.page.getByRole("button", { name: "Sign in" }).click();
  await third.page.getByText("The username or the password is wrong.").waitFor();
  await third.page.getByLabel("Password", { exact: true }).fill(fresh);
  await third.page.getByRole("button", { name: "Sign in" }).click();
  await third.page.locator("#rows").getByRole("link", { name: "Notes to self" }).waitFor();
  await Promise.all([again.leave(), third.leave()]);
});

test("the password is changed", async () => {
  const dave = await Person.arrive(browser, line.url);
  await dave.register("dave");
  await dave.go("/settings/account");
  await dave.page.getByRole("button", { name: "Change password" }).click();
  const dialog = dave.page.getByRole("dialog");
  await dialog.getByLabel("Current password").fill("not the password at all");
  await dialog.getByLabel("New password").fill("five entirely different words, canary-password");
  await dialog.getByRole("button", { name: "Change password" }).click();
  await dialog.getByRole("alert").waitFor();
  await dialog.getByLabel("Current password").fill(password);
  await dialog.getByRole("button", { name: "Change password" }).click();
  await dialog.waitFor({ state: "hidden" });
  await dave.leave();
});
