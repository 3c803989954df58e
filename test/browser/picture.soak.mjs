import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Line, Person, Server, startBrowser } from "./harness.mjs";

let server, browser, url, line;
let reads = 0; // of assets, by whoever comes over the line
before(async () => {
  [server, browser] = await Promise.all([Server.start(), startBrowser()]);
  url = `http://127.0.0.1:${server.port}`;
  line = await Line.to(server);
  line.listener.on("connection", (near) => near.on("data", (b) => { reads += b.toString("latin1").split("GET /api/chat/assets/").length - 1; }));
});
after(async () => { line?.close(); await browser?.close(); await server?.stop(); });

// picture draws one in the browser.
const picture = (p, color) => p.page.evaluate((fill) => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [900, 400];
  const c = canvas.getContext("2d");
  c.fillStyle = fill;
  c.fillRect(0, 0, 900, 400);
  return canvas.toDataURL("image/png").split(",")[1];
}, color).then((base64) => ({ name: "me.png", mimeType: "image/png", buffer: Buffer.from(base64, "base64") }));

// shown waits until an avatar there is a picture of a colour, and gives back its size.
async function shown(where, [r, g, b]) {
  const img = where.locator(".avatar img").first();
  await img.waitFor();
  const got = await img.evaluate(async (i) => {
    await i.decode();
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 1;
    const c = canvas.getContext("2d");
    c.drawImage(i, 0, 0, 1, 1);
    return { width: i.naturalWidth, height: i.naturalHeight, pixel: [...c.getImageData(0, 0, 1, 1).data] };
  });
  [r, g, b].forEach((want, n) => assert.ok(Math.abs(got.pixel[n] - want) < 12, `shows ${got.pixel}`));
  return [got.width, got.height];
}

async function choose(p, file) {
  await p.page.locator("input[type=file]").setInputFiles(file);
}

test("a picture is chosen, seen by those who accept, also on a device that comes later, and removed", async () => {
  const [ada, ben] = await Promise.all([Person.arrive(browser, url), Person.arrive(browser, line.url)]);
  await Promise.all([ada.register("adapic"), ben.register("benpic")]);
  await ada.page.goto(`${url}/settings/profile`);
  await choose(ada, { name: "me.svg", mimeType: "image/svg+xml", buffer: Buffer.from("<svg xmlns='http://www.w3.org/2000/svg'/>") });
  await ada.page.getByText("This browser cannot open that file as a picture.").waitFor();
  await choose(ada, await picture(ada, "#208040"));
  await ada.page.getByRole("img", { name: "Your new picture" }).waitFor();
  await ada.page.getByRole("dialog").getByRole("button", { name: "Save" }).click();
  assert.deepEqual(await shown(ada.page.locator(".me"), [0x20, 0x80, 0x40]), [256, 256]);

  await ada.page.goto(url);
  await ada.page.getByRole("navigation", { name: "Conversations" }).waitFor();
  await ada.open("benpic");
  await ada.say("look at me");
  await ada.sent();
  const list = ben.page.getByRole("navigation", { name: "Conversations" });
  await list.getByRole("link", { name: /adapic/ }).click();
  await ada.page.waitForTimeout(3_000); // the profile is on its way; what is said after it comes after it
  await ada.say("do you see me?");
  await ben.reads("do you see me?");
  assert.equal(await ben.page.locator(".avatar:has(img)").count(), 0, "no picture of a stranger");
  assert.equal(await ben.page.locator("header .who .avatar").getAttribute("data-letters"), "AD");
  assert.equal(reads, 0, "nothing is fetched for a stranger");
  await ben.page.getByRole("button", { name: "Accept" }).click();
  await shown(ben.page.locator("header .who"), [0x20, 0x80, 0x40]);
  await shown(list.getByRole("link", { name: /adapic/ }), [0x20, 0x80, 0x40]);
  assert.equal(reads, 1, "it is fetched once");

  const later = await Person.arrive(browser, url);
  await later.signIn("benpic");
  await shown(later.page.getByRole("navigation", { name: "Conversations" }).getByRole("link", { name: /adapic/ }), [0x20, 0x80, 0x40]);

  await ada.page.goto(`${url}/settings/profile`);
  await ada.page.getByRole("button", { name: "Remove the picture" }).click();
  await list.getByRole("link", { name: /adapic/ }).locator(".avatar:not(:has(img))").waitFor();
  await Promise.all([ada.leave(), ben.leave(), later.leave()]);
});

test("name and status are shown beside the username to those who accept, and change also without a connection", async () => {
  const [ada, ben] = await Promise.all([Person.arrive(browser, line.url), Person.arrive(browser, url)]);
  await Promise.all([ada.register("adaname"), ben.register("benname")]);
  await ada.page.goto(`${line.url}/settings/profile`);
  const name = ada.page.getByLabel("Name"), status = ada.page.getByLabel("Status"), save = ada.page.getByRole("button", { name: "Save" });
  await name.fill("ä".repeat(65));
  await ada.page.getByText("130 of 128 bytes").waitFor();
  await save.click();
  await ada.page.locator("input[aria-invalid=true]:focus").waitFor();
  await name.fill("benname"); // as the other one is called
  await status.fill("<b>away</b>\u202e");
  await ada.page.getByText("7 of 128 bytes").waitFor();
  await save.click();
  await ada.page.getByText("Saved", { exact: true }).waitFor();
  await ada.page.reload();
  await ada.page.getByRole("heading", { name: "benname", level: 2 }).waitFor();
  assert.equal(await name.inputValue(), "benname");
  assert.equal(await status.inputValue(), "<b>away</b>\u202e");

  await ada.page.goto(line.url);
  await ada.page.getByRole("navigation", { name: "Conversations" }).waitFor();
  await ada.open("benname");
  await ada.say("it is me");
  await ada.sent();
  const row = ben.page.getByRole("navigation", { name: "Conversations" }).getByRole("link", { name: /adaname/ });
  await row.click();
  await ada.page.waitForTimeout(3_000); // the profile is on its way; what is said after it comes after it
  await ada.say("really");
  await ben.reads("really");
  const header = ben.page.getByRole("heading", { level: 1 });
  assert.equal(await header.innerText(), "adaname", "a stranger is called by the username alone");
  await ben.page.getByRole("button", { name: "Accept" }).click();
  await header.getByText("benname").waitFor();
  assert.deepEqual(await header.locator("bdi").allInnerTexts(), ["benname", "adaname"]);
  assert.deepEqual(await row.locator("bdi").allInnerTexts(), ["benname", "adaname"]);
  await ben.page.getByRole("button", { name: "Details" }).click();
  await ben.page.getByText("<b>away</b>", { exact: true }).waitFor();

  // Whoever looks for a username finds its owner first, and not who took it as a name.
  await ben.page.keyboard.press("Control+k");
  await ben.page.getByRole("combobox", { name: "Name or username" }).fill("benname");
  const found = ben.page.locator("#found li");
  await found.nth(1).waitFor();
  assert.deepEqual(await found.locator("bdi").allInnerTexts(), ["benname", "benname", "adaname"]);
  await ben.page.keyboard.press("Escape");

  await ada.go("/settings/profile");
  await name.waitFor();
  line.cut();
  await ada.page.getByText("No connection.").waitFor();
  await name.fill("");
  await status.fill("");
  await save.click();
  await ada.page.getByText("Saved here.").waitFor();
  line.mend();
  await header.getByText("benname").waitFor({ state: "detached" });
  assert.equal(await header.innerText(), "adaname");
  await Promise.all([ada.leave(), ben.leave()]);
});
