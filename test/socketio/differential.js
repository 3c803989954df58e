// Random sessions against Node's Socket.IO server and against another one: what a client observes must be the same.
// Usage: node differential.js URL COUNT [SEED]. Session i is drawn from SEED + i alone, so a difference can be repeated
// with COUNT 1. Three of four sessions use the official client, one speaks raw packets, broken ones too.

import { isDeepStrictEqual, inspect } from "node:util";
import { io } from "socket.io-client";
import WebSocket from "ws";
import { listen } from "./reference.js";

const url = process.argv[2];
const count = Number(process.argv[3]);
const seed = Number(process.argv[4] ?? Date.now() % 1e9);
const atOnce = 48;
const patience = 20_000;

// random is a small generator (mulberry32): the same seed draws the same session.
function random(seed) {
  let a = seed >>> 0;
  const next = () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = a;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const below = (n) => Math.floor(next() * n);
  return { below, pick: (list) => list[below(list.length)] };
}

const texts = ["", "a", "hello", "é€😀", "\u001e", "\"\\/\b\n", "_placeholder", "x".repeat(500), "0", "b4", "\u2028"];

// value draws JSON; at most budget.left pieces of binary data go into one packet.
function value(r, depth, budget) {
  switch (r.below(depth > 0 ? 9 : 6)) {
    case 0: return null;
    case 1: return r.below(2) === 1;
    case 2: return r.below(2 ** 31) - 2 ** 30;
    case 3: return r.below(1e6) / 997;
    case 4:
    case 5: return r.pick(texts);
    case 6: return Array.from({ length: r.below(4) }, () => value(r, depth - 1, budget));
    case 7: {
      const o = {};
      for (let i = r.below(4); i > 0; i--) o[r.pick(["a", "b", "num", "", "é", "c d"])] = value(r, depth - 1, budget);
      return o;
    }
    default: return binary(r, budget);
  }
}

function binary(r, budget) {
  if (budget.left-- <= 0) return "no more";
  return Buffer.from(Array.from({ length: r.pick([0, 1, 3, 200]) }, () => r.below(256)));
}

const args = (r, depth, binaries) => {
  const budget = { left: binaries };
  return Array.from({ length: r.below(4) }, () => value(r, depth, budget));
};

// flat draws arguments with binary data on the top level only.
const flat = (r) => {
  const budget = { left: 5 };
  return Array.from({ length: r.below(4) }, () => (r.below(4) === 0 ? binary(r, budget) : value(r, 2, { left: 0 })));
};

function drawSession(r) {
  const steps = [];
  for (let i = 1 + r.below(6); i > 0; i--) {
    const kind = r.pick(["burst", "burst", "ack", "ask", "reconnect", "return"]);
    if (kind === "burst") {
      steps.push({ kind, events: Array.from({ length: 1 + r.below(5) }, () => ({ ack: r.below(3) === 0, args: flat(r), deep: args(r, 3, 8) })) });
    } else {
      steps.push({ kind, args: flat(r), reply: flat(r) });
    }
  }
  return {
    transport: r.pick(["websocket", "polling", "upgrade"]),
    auth: r.pick([{}, { token: "good" }, { token: "bad" }, { token: "é", list: [1, { a: null }] }]),
    steps,
    end: r.pick(["leave", "close", "cut"]),
  };
}

const once = (emitter, event) => new Promise((resolve) => emitter.once(event, (...all) => resolve(all)));

const options = {
  websocket: { transports: ["websocket"] },
  polling: { transports: ["polling"], upgrade: false },
  upgrade: { transports: ["polling", "websocket"] },
};

// play runs a session with the official client and returns everything the client saw, in order.
async function play(url, session) {
  const log = [];
  const socket = io(url, { forceNew: true, reconnectionDelay: 5, reconnectionDelayMax: 10, auth: session.auth, ...options[session.transport] });
  socket.on("connect_error", (err) => log.push(["connect_error", err.message, err.data]));
  socket.on("disconnect", (reason) => log.push(["disconnect", reason]));
  socket.onAny((name, ...all) => log.push([name, ...all.filter((a) => typeof a !== "function")]));
  try {
    const greeted = once(socket, "auth");
    if (session.auth.token === "bad") {
      await once(socket, "connect_error");
      return log;
    }
    await greeted;
    for (const step of session.steps) await playStep(socket, step, log);
    if (session.end === "leave") {
      socket.disconnect();
    } else if (session.end === "close") {
      const gone = once(socket, "disconnect");
      socket.emit("close");
      await gone;
    } else {
      const gone = once(socket, "disconnect");
      socket.io.reconnection(false);
      socket.io.engine.close();
      await gone;
    }
    return log;
  } finally {
    socket.disconnect();
  }
}

async function playStep(socket, step, log) {
  switch (step.kind) {
    case "burst": {
      const waits = step.events.map((e) => {
        if (!e.ack) {
          socket.emit("message", ...e.deep);
          return null;
        }
        return new Promise((resolve) => socket.emit("message-with-ack", ...e.args, (...reply) => {
          log.push(["ack", ...reply]);
          resolve();
        }));
      });
      await Promise.all(waits);
      // A last acknowledgement comes after all that was asked for before.
      await socket.emitWithAck("message-with-ack", "barrier");
      return;
    }
    case "ack":
      log.push(["ack", await socket.emitWithAck("message-with-ack", ...step.args)]);
      return;
    case "ask": {
      const answer = once(socket, "answer");
      socket.once("question", (...all) => all.pop()(...step.reply));
      socket.emit("ask", ...step.args);
      await answer;
      return;
    }
    case "reconnect": {
      const greeted = once(socket, "auth");
      socket.io.engine.close();
      await greeted;
      return;
    }
    case "return": {
      socket.disconnect();
      const greeted = once(socket, "auth");
      socket.connect();
      await greeted;
    }
  }
}

// Packets of a raw session. Left out is where internal/socketio differs on purpose, as its package comment says.
const good = ["3", "6", '42["message",1]', '427["message-with-ack",1,"x"]', '420["message-with-ack"]', '42["message","é"]',
  '4312["nobody asked"]', '42["message", [ 1 , 2 ] ]', '42/,["message",2]', "40/other,", '40/x?y=1,{"a":1}',
  ['451-["message",{"_placeholder":true,"num":0}]', Buffer.from([1, 2, 3])],
  ['462-99[{"_placeholder":true,"num":1}]', Buffer.from([1]), Buffer.alloc(0)],
  ['452-8["message-with-ack",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]', Buffer.from([4]), Buffer.from([5])],
  '42["nobody listens",{"a":1}]'];
const bad = ["", "abc", "7", "2", "4", "49", "4abc", "42{}", '42["message"', "42[]", '42["disconnect"]', '42["connect"]', "41{}",
  "43{}", "431{}", '451["x"]', '45-["x"]', '451-["message",{"_placeholder":true,"num":1}]', '42/other,["message"]',
  Buffer.from([9]), ['451-["message",{"_placeholder":true,"num":0}]', '42["message"]'], '4511["x"]'];

// drawRaw draws a CONNECT (or none), good packets and maybe a last bad one. A packet is a list of messages.
function drawRaw(r) {
  const packets = [r.pick(["40", '40{"token":"x"}', '40{"token":"bad"}', "40", '42["message"]'])];
  for (let i = r.below(6); i > 0; i--) packets.push(r.pick(good));
  if (r.below(2) === 0) packets.push(r.pick(bad));
  return packets.map((p) => [p].flat());
}

// spaceless splits a packet into its header and its decoded data, so that white space makes no difference.
function spaceless(text) {
  const at = text.indexOf("[");
  return at < 0 ? text : [text.slice(0, at), JSON.parse(text.slice(at))];
}

// playRaw sends packets one after another and returns what came back. Behind each but the first, which is answered by
// itself, it asks for an acknowledgement, because Node's server answers some packets later than others.
function playRaw(url, packets) {
  return new Promise((resolve, reject) => {
    const log = [];
    let sent = 0;
    let over = false;
    const ws = new WebSocket(`${url.replace("http", "ws")}/socket.io/?EIO=4&transport=websocket`);
    const end = (what) => {
      if (over) return;
      over = true;
      log.push(what);
      ws.terminate();
      resolve(log);
    };
    const send = () => {
      if (sent === packets.length) return end("alive");
      for (const message of packets[sent]) ws.send(message);
      if (sent++ > 0) ws.send('42999["message-with-ack","sent"]');
    };
    ws.on("message", (data, isBinary) => {
      const text = data.toString();
      if (isBinary) log.push(Buffer.from(data));
      else if (text.startsWith("0")) log.push("open");
      else if (text.startsWith("40{")) log.push("connected");
      else if (text.startsWith("44")) log.push(["refused", JSON.parse(text.slice(text.indexOf("{")))]);
      else if (text !== '43999["sent"]') log.push(spaceless(text));
      const first = sent === 1 && (text.startsWith('42["auth"') || text.startsWith("44{"));
      if (first || text.startsWith("0{") || text === '43999["sent"]') send();
    });
    ws.on("close", () => end("closed"));
    ws.on("error", reject);
  });
}

const within = (promise, what) => {
  let timer;
  const limit = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`${what} did not end`)), patience); });
  return Promise.race([promise, limit]).finally(() => clearTimeout(timer));
};

const reference = await listen();
let next = 0;
let failed = 0;
const kinds = {};

async function worker() {
  while (next < count && failed < 5) {
    const at = seed + next++;
    const r = random(at);
    const raw = r.below(4) === 0;
    const session = raw ? drawRaw(r) : drawSession(r);
    const run = raw ? playRaw : play;
    const kind = raw ? "raw" : session.transport;
    kinds[kind] = (kinds[kind] ?? 0) + 1;
    let want, got;
    // A session that Node's own server does not get through, on a machine that is too busy, is played again.
    for (let tries = 0; tries < 3 && want?.status !== "fulfilled"; tries++) {
      [want, got] = await Promise.allSettled([
        within(run(reference, session), "the session with Node's server"), within(run(url, session), "the session")]);
    }
    if (want.status === "fulfilled" && got.status === "fulfilled" && isDeepStrictEqual(want.value, got.value)) continue;
    failed++;
    const show = (x) => inspect(x.value ?? x.reason, { depth: 9, breakLength: 110 });
    console.error(`seed ${at}: ${inspect(session, { depth: 9 })}\nNode's server: ${show(want)}\nthis server: ${show(got)}\n`);
  }
}

await Promise.all(Array.from({ length: atOnce }, worker));
console.log(`${next} sessions from seed ${seed}: ${inspect(kinds)}, ${failed} differ`);
process.exit(failed === 0 ? 0 : 1);
