import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Line, Person, Server, startBrowser, Terminal } from "./harness.mjs";

let server, browser, line;
before(async () => {
  [server, browser] = await Promise.all([Server.start(), startBrowser()]);
  line = await Line.to(server);
});
after(async () => { line?.close(); await browser?.close(); await server?.stop(); });

test("two browsers and a terminal register, find each other and chat", async () => {
  const carol = new Terminal(server, "carol");
  const [alice, bob] = await Promise.all([Person.arrive(browser, line.url), Person.arrive(browser, line.url), carol.register()]);
  const [code] = await Promise.all([alice.register("alice"), bob.register("bob")]);
  assert.match(code, /^([0-9A-Z]{4}-){7}[0-9A-Z]{4}$/);
  await alice.open("bob");
  await alice.say("hello from alice");
  await alice.reads("hello from alice");

  await bob.page.getByRole("link", { name: "alice" }).click();
  await bob.page.getByRole("button", { name: "Accept" }).click();
  await bob.reads("hello from alice");
  await bob.say("hello from bob\nin two lines");
  await alice.reads("in two lines");
  await alice.sent();
  const said = ["hello from alice", "hello from bob\nin two lines"];
  assert.deepEqual(await alice.texts(), said);
  assert.deepEqual(await bob.texts(), said);

  // The terminal writes first: a request, counted only after it was accepted.
  await carol.say("alice", "hello from a terminal");
  const list = alice.page.getByRole("navigation", { name: "Conversations" });
  await list.getByRole("link", { name: "carol" }).click();
  await alice.reads("hello from a terminal");
  await alice.page.getByRole("heading", { name: /carol.* wants to write to you/ }).waitFor();
  assert.equal(await alice.page.getByRole("textbox", { name: /^Message to/ }).count(), 0);
  await alice.page.getByRole("button", { name: "Accept" }).click();
  await alice.say("hello, terminal");
  await alice.sent();

  // Back with the first: unread while away, then read; the title counts.
  await carol.say("alice", "one more");
  await alice.reads("one more");
  await list.getByRole("link", { name: /bob/ }).click();
  await carol.say("alice", "and another");
  await list.getByText("1 unread message").waitFor();
  assert.equal(await alice.page.title(), "(1) Sotto");
  await list.getByRole("link", { name: /carol/ }).click();
  await alice.page.getByText("Unread", { exact: true }).waitFor();
  await alice.page.waitForFunction(() => document.title === "Sotto");

  await alice.page.reload();
  await alice.reads("and another");
  await list.getByText("unread message").waitFor({ state: "hidden" });
  await Promise.all([alice.leave(), bob.leave()]);
});

test("search finds any part of a word in any script and jumps to the message", async () => {
  const dora = await Person.arrive(browser, line.url);
  await dora.register("dora");
  await dora.page.getByRole("button", { name: "Write a note to yourself" }).click();
  for (const text of ["Die Straße nach Köln", "今天天气很好", "отличный день", "nothing special"]) {
    await dora.say(text);
  }
  await dora.sent();
  const field = dora.page.getByRole("searchbox");
  for (const [query, text] of [["STRASSE koln", "Die Straße nach Köln"], ["天气", "今天天气很好"], ["личн", "отличный день"]]) {
    await field.fill(query);
    await dora.page.locator("#rows").getByRole("link", { name: text }).waitFor();
  }
  await dora.page.locator("#rows").getByRole("link", { name: "отличный день" }).click();
  await dora.page.locator("li.lit", { hasText: "отличный день" }).waitFor();
  await field.fill("zzz");
  await dora.page.getByText("Nothing found on this device.").waitFor();
  await dora.leave();
});

test("a safety number is compared, and the mark shows; another identity takes it away and stops what is sent", async () => {
  const frank = new Terminal(server, "frank");
  const erin = await Person.arrive(browser, line.url);
  await frank.register();
  await erin.register("erin");
  await erin.open("frank");
  await erin.say("hi frank");
  await erin.sent();
  await erin.page.getByRole("button", { name: "Details" }).click();
  await erin.page.getByRole("button", { name: /Safety number/ }).click();
  const compared = async () => {
    const digits = (await erin.page.getByLabel("Safety number, 60 digits").textContent()).replaceAll(/\D/g, "");
    const theirs = (await frank.run("safety", "erin")).replaceAll(/[^\d]/g, "");
    assert.equal(digits.length, 60);
    assert.ok(theirs.includes(digits), `${theirs} does not hold ${digits}`);
    await erin.page.getByRole("button", { name: "They are the same" }).click();
    await erin.page.getByRole("img", { name: "Verified" }).waitFor();
    return digits;
  };
  const before = await compared();
  await erin.page.reload();
  await erin.page.getByRole("img", { name: "Verified" }).waitFor();

  await frank.reset(server.resetCode("frank"));
  const warning = erin.page.getByRole("alert").filter({ hasText: /frank.*, whom you had verified, have changed. Nothing is sent until you decide/ });
  await warning.waitFor();
  await erin.page.getByRole("img", { name: "Verified" }).waitFor({ state: "detached" });
  await erin.page.getByText(/The keys of .*frank.* changed \(/).waitFor();
  await erin.say("is it still you?");
  await erin.page.getByRole("alert").filter({ hasText: "Compare the safety number before" }).waitFor();
  assert.equal(await erin.page.getByRole("textbox", { name: /^Message to/ }).inputValue(), "is it still you?");
  assert.deepEqual(await erin.texts(), ["hi frank"]);
  await warning.getByRole("button", { name: "Compare" }).click();
  assert.notEqual(await compared(), before);
  await warning.waitFor({ state: "detached" });
  await erin.say("it is you");
  await erin.sent();
  await erin.leave();
});
