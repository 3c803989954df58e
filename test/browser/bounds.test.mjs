import assert from "node:assert/strict";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Line, Person, Server, startBrowser } from "./harness.mjs";

const shellLimit = 120_000; // bytes of brotli of everything but the core, the first load
const dist = join(import.meta.dirname, "../../web/dist");

test("the shell stays small", () => {
  const files = readdirSync(dist, { recursive: true }).filter((f) => f.endsWith(".br") && !/^(core|sdk)\//.test(f));
  const size = files.reduce((n, f) => n + statSync(join(dist, f)).size, 0);
  console.log(`the shell has ${size} bytes of brotli, the limit is ${shellLimit}`);
  assert.ok(files.some((f) => f.startsWith("assets/index-")));
  assert.ok(size <= shellLimit, `${size} bytes: ${files}`);
});

let server, browser, line;
before(async () => {
  [server, browser] = await Promise.all([Server.start(), startBrowser()]);
  line = await Line.to(server);
});
after(async () => { line?.close(); await browser?.close(); await server?.stop(); });

// many is a core with one long conversation in the place of the real one: what is tested is the page. make soak has 10,000.
const total = Number(process.env.MESSAGES ?? 2_000);
const many = `
const me = { id: "00000000-0000-4000-8000-000000000001", username: "alice", device: "d", wire_device: 1 };
const peer = "00000000-0000-4000-8000-000000000002", conversation = "00000000-0000-4000-8000-000000000003";
const say = (v) => { const b = new TextEncoder().encode(JSON.stringify(v)); postMessage(b, [b.buffer]); };
const start = Date.UTC(2026, 0, 1);
const message = (seq) => ({
  conversation, id: "m" + seq, position: { epoch: 1, seq }, sender: seq % 3 ? peer : me.id, sender_device: 1, own: seq % 3 === 0,
  sent_at: start + seq * 600_000, server_time: start + seq * 600_000, state: "stored", showable: true,
  text: "message " + seq + " " + "with words ".repeat(seq % 17), body: { kind: 16, bytes: "" },
});
let sequence = ${total}, event;
const operations = {
  open: () => ({ account: me }), account: () => ({ account: me }), notices: () => ({ notices: [] }),
  notifications: () => ({ notifications: [], unread: 0 }), profile: () => ({ profile: { display_name: "" } }),
  history: () => ({ done: 0, of: 0, complete: true }), recoveryState: () => ({ state: "confirmed" }), presence: () => ({ presence: [] }),
  conversations: () => ({ conversations: [{ id: conversation, kind: "direct", state: "accepted", peer, username: "bob", verified: false,
    changed: false, stopped: false, read: { epoch: 1, seq: ${total} }, settings: {} }] }),
  messages: ({ before, limit }) => {
    const to = before ? before.seq - 1 : sequence, from = Math.max(1, to - limit + 1), all = [];
    for (let s = from; s <= to; s++) all.push(message(s));
    return { messages: all };
  },
  safety: () => ({ account: peer, username: "bob", digits: "0".repeat(60), scannable: "", verified: false, stopped: false, changes: null }),
};
onmessage = ({ data }) => {
  const r = JSON.parse(new TextDecoder().decode(data));
  if (r.do === "events") { event = (e) => say({ id: r.id, ok: { events: [e] } }); return; }
  if (r.do === "run") { return; }
  say({ id: r.id, ok: operations[r.do]?.(r.args) ?? {} });
};
setInterval(() => { if (globalThis.arriving && event) { const e = event; event = undefined; e({ type: "message", conversation, message: message(++sequence) }); } }, 20);
onmessageerror = () => {};
new BroadcastChannel("arrive").onmessage = ({ data }) => { globalThis.arriving = data; };
say({ ready: { api: 1, protocol: 1 } });
`;

test(`${total} messages: few rows in the page, nothing jumps, both ends are reached`, async () => {
  const alice = await Person.arrive(browser, line.url);
  alice.name = "alice";
  await alice.context.route("**/core/*/worker.js", (route) => route.fulfill({ contentType: "text/javascript", headers: { "content-security-policy": "default-src 'none'" }, body: many }));
  const { page } = alice;
  await page.evaluate(async () => { for (const r of await navigator.serviceWorker.getRegistrations()) await r.unregister(); });
  await page.goto(line.url);
  await page.locator("#rows a").click();
  await alice.reads(`message ${total} `);
  // Walks to the beginning in steps, as a hand does, watching a row at the same time: it has to move as far as the hand.
  const result = await page.evaluate(async () => {
    const box = document.querySelector(".box");
    const frame = () => new Promise((on) => { requestAnimationFrame(on); });
    const gaps = [];
    let most = 0, jumps = 0, last = performance.now();
    for (let i = 0; i < 6_000 && !(document.querySelector("[data-id=m1]") && box.scrollTop === 0); i++) {
      const top = box.getBoundingClientRect().top;
      const row = [...box.querySelectorAll("[data-id]")].find((r) => r.getBoundingClientRect().bottom > top);
      const at = row.getBoundingClientRect().top, was = box.scrollTop;
      box.scrollTop -= 700;
      const moved = was - box.scrollTop;
      await frame();
      await frame();
      if (row.isConnected && Math.abs(row.getBoundingClientRect().top - at - moved) > 2) {
        jumps++;
      }
      most = Math.max(most, box.querySelectorAll("[data-id]").length);
      gaps.push(performance.now() - last);
      last = performance.now();
    }
    gaps.sort((a, b) => a - b);
    return { most, jumps, steps: gaps.length, median: gaps[gaps.length >> 1] / 2, p95: gaps[Math.floor(gaps.length * 0.95)] / 2 };
  });
  console.log(`frames while scrolling: median ${result.median.toFixed(1)} ms, 95th percentile ${result.p95.toFixed(1)} ms, ${result.steps} steps`);
  await page.locator("[data-id=m1]").waitFor();
  await page.getByText("This is the beginning of the conversation.").waitFor();
  assert.ok(result.most <= 200, `${result.most} rows in the page`);
  assert.ok(result.jumps <= result.steps / 100, `${result.jumps} jumps in ${result.steps} steps`);

  // While somebody reads at the top, what arrives below moves nothing and is counted.
  const before = await page.locator("[data-id=m1]").boundingBox();
  await page.evaluate(() => { new BroadcastChannel("arrive").postMessage(true); });
  await page.getByRole("button", { name: /Jump to \d+ new messages/ }).waitFor();
  await page.evaluate(() => { new BroadcastChannel("arrive").postMessage(false); });
  const after = await page.locator("[data-id=m1]").boundingBox();
  assert.ok(Math.abs(after.y - before.y) <= 1, `the page moved from ${before.y} to ${after.y}`);
  await page.getByRole("button", { name: /Jump to \d+ new messages/ }).click();
  await alice.reads(`message ${total + 1} `);
  const end = await page.locator(".box").evaluate((b) => b.scrollHeight - b.scrollTop - b.clientHeight);
  assert.ok(end <= 2, `the end is ${end} px away`);
  await alice.leave();
});
