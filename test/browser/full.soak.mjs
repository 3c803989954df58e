import { after, before, test } from "node:test";
import { Line, Person, Server, startBrowser } from "./harness.mjs";

let server, browser, line;
before(async () => {
  [server, browser] = await Promise.all([Server.start(), startBrowser()]);
  line = await Line.to(server);
});
after(async () => { line?.close(); await browser?.close(); await server?.stop(); });

test("storage that is full", async () => {
  const p = await Person.arrive(browser, line.url);
  await p.register("olga");
  await p.page.getByRole("button", { name: "Write a note to yourself" }).click();
  await p.page.getByRole("textbox", { name: /^Message to/ }).waitFor();
  const session = await p.context.newCDPSession(p.page);
  await session.send("Storage.overrideQuotaForOrigin", { origin: line.url, quotaSize: 1 });
  const full = p.page.getByText("This device has no room left").first();
  for (let i = 0; i < 200 && !await full.isVisible(); i++) {
    await p.say("x".repeat(30_000));
  }
  await full.waitFor();
  await p.leave();
});
