// Drives Chromium for wasm_test.go: one JSON command a line on standard input, one answer a line on standard output.
// Standard output belongs to the answers; what pages write to their consoles goes to standard error.
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const browser = await chromium.launch({
  executablePath: process.argv[2],
  args: [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
  ],
});
const context = await browser.newContext();
const pages = new Map();

const commands = {
  async open({ page, url }) {
    const tab = await context.newPage();
    tab.on("console", (m) => console.error(`page ${page}: ${m.text()}`));
    tab.on("pageerror", (e) => console.error(`page ${page}: ${e}`));
    pages.set(page, tab);
    await tab.goto(url);
  },
  call: ({ page, name, args }) => pages.get(page).evaluate(([f, a]) => globalThis[f](...a), [name, args]),
  reload: ({ page }) => pages.get(page).reload(),
  async close({ page }) {
    await pages.get(page).close();
    pages.delete(page);
  },
  // quota limits what the page's origin may store, in bytes.
  async quota({ page, bytes }) {
    const session = await context.newCDPSession(pages.get(page));
    const origin = new URL(pages.get(page).url()).origin;
    await session.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: bytes });
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  commands[command.do](command).then(
    (value) => console.log(JSON.stringify({ id: command.id, value })),
    (error) => console.log(JSON.stringify({ id: command.id, error: String(error) })),
  );
}
await browser.close();
