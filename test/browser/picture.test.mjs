import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Person, Server, startBrowser } from "./harness.mjs";

let server, browser, url;
before(async () => {
  [server, browser] = await Promise.all([Server.start(), startBrowser()]);
  url = `http://127.0.0.1:${server.port}`;
});
after(async () => { await browser?.close(); await server?.stop(); });

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

test("a picture is chosen, seen by the others, also on a device that comes later, and removed", async () => {
  const [ada, ben] = await Promise.all([Person.arrive(browser, url), Person.arrive(browser, url)]);
  await Promise.all([ada.register("adapic"), ben.register("benpic")]);
  await ada.page.goto(`${url}/settings/account`);
  await choose(ada, { name: "me.svg", mimeType: "image/svg+xml", buffer: Buffer.from("<svg xmlns='http://www.w3.org/2000/svg'/>") });
  await ada.page.getByText("This browser cannot open that file as a picture.").waitFor();
  await choose(ada, await picture(ada, "#208040"));
  await ada.page.getByRole("img", { name: "Your new picture" }).waitFor();
  await ada.page.getByRole("button", { name: "Save" }).click();
  assert.deepEqual(await shown(ada.page.locator(".me"), [0x20, 0x80, 0x40]), [256, 256]);

  await ada.page.goto(url);
  await ada.page.getByRole("navigation", { name: "Conversations" }).waitFor();
  await ada.open("benpic");
  await ada.say("look at me");
  await ada.sent();
  const list = ben.page.getByRole("navigation", { name: "Conversations" });
  await shown(list.getByRole("link", { name: /adapic/ }), [0x20, 0x80, 0x40]);
  await list.getByRole("link", { name: /adapic/ }).click();
  await shown(ben.page.locator("header .who"), [0x20, 0x80, 0x40]);
  await ben.page.getByRole("button", { name: "Accept" }).click();

  const later = await Person.arrive(browser, url);
  await later.signIn("benpic");
  await shown(later.page.getByRole("navigation", { name: "Conversations" }).getByRole("link", { name: /adapic/ }), [0x20, 0x80, 0x40]);

  await ada.page.goto(`${url}/settings/account`);
  await ada.page.getByRole("button", { name: "Remove the picture" }).click();
  await list.getByRole("link", { name: /adapic/ }).locator(".avatar:not(:has(img))").waitFor();
  await Promise.all([ada.leave(), ben.leave(), later.leave()]);
});
