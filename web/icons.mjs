// Draws icon-192.png and icon-512.png from icon.svg with Chromium: `node icons.mjs` after the icon has changed.
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "../test/wasm/node_modules/playwright-core/index.mjs";

const folder = join(dirname(fileURLToPath(import.meta.url)), "app/public");
const svg = readFileSync(join(folder, "icon.svg"), "utf8").replace('rx="112"', ""); // systems cut the corners themselves
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-background-networking"] });
for (const size of [192, 512]) {
  const page = await browser.newPage({ viewport: { width: size, height: size } });
  await page.setContent(`<style>*{margin:0}svg{display:block;width:${size}px;height:${size}px}</style>${svg}`);
  await page.screenshot({ path: join(folder, `icon-${size}.png`) });
}
await browser.close();
