import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Line, Person, Server, startBrowser } from "./harness.mjs";

let server, browser, line;
before(async () => {
  [server, browser] = await Promise.all([Server.start(), startBrowser()]);
  line = await Line.to(server);
});
after(async () => { line?.close(); await browser?.close(); await server?.stop(); });

// menu opens what can be done with the message of that text.
async function menu(person, text, action) {
  const message = person.page.locator("li.message", { hasText: text });
  await message.hover();
  await message.getByRole("button", { name: "What to do with this message" }).click();
  await person.page.getByRole("group", { name: "What to do with this message" }).getByRole("button", { name: action, exact: true }).click();
}

test("ticks, presence, typing, reactions, edits and deletions reach the other side", async () => {
  const [alice, bob] = await Promise.all([Person.arrive(browser, line.url), Person.arrive(browser, line.url)]);
  await Promise.all([alice.register("alice"), bob.register("bob")]);
  await alice.open("bob");
  await alice.say("frist message");
  await alice.say("second message");
  await bob.page.getByRole("link", { name: "alice" }).click();
  await bob.reads("second message");
  await bob.page.waitForTimeout(1_000); // what is read before it is accepted counts, too
  await bob.page.getByRole("button", { name: "Accept" }).click();
  const second = alice.page.locator("li.message", { hasText: "second message" });
  await second.getByRole("img", { name: "Read" }).waitFor();
  const header = alice.page.getByRole("main").getByRole("banner").or(alice.page.locator("header"));
  await header.getByText("online").first().waitFor();
  await bob.page.getByRole("textbox", { name: /^Message to/ }).fill("w");
  await header.getByText("is typing …").first().waitFor();
  await bob.page.getByRole("textbox", { name: /^Message to/ }).fill("");
  await header.getByText("online").first().waitFor();

  await menu(bob, "second message", "React with 👍");
  await alice.page.getByRole("button", { name: "👍, 1 person" }).waitFor();
  await alice.page.getByRole("button", { name: "👍, 1 person" }).click();
  await bob.page.getByRole("button", { name: "👍, 2 people" }).waitFor();

  await menu(alice, "frist message", "Edit");
  const field = alice.page.getByRole("textbox", { name: /^Message to/ });
  assert.equal(await field.inputValue(), "frist message");
  await field.fill("first message");
  await field.press("Enter");
  await bob.reads("first message");
  await bob.page.getByText("edited", { exact: true }).waitFor();

  await menu(alice, "second message", "Delete for everyone");
  await bob.page.locator("li.message", { hasText: "second message" }).waitFor({ state: "detached" });
  await alice.page.locator("li.message", { hasText: "second message" }).waitFor({ state: "detached" });
  assert.deepEqual(await bob.texts(), ["first message"]);
  await bob.page.reload();
  await bob.reads("first message");
  assert.deepEqual(await bob.texts(), ["first message"]);
  await Promise.all([alice.leave(), bob.leave()]);
});
