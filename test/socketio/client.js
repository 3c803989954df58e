// The official client against one server: every transport, both directions, every way to come and go.
// Usage: node client.js URL. Exits with 0 when everything held; partner_test.go runs it.

import assert from "node:assert/strict";
import { io, Manager } from "socket.io-client";

const url = process.argv[2];
const path = "/socket.io/";
const transports = {
  websocket: { transports: ["websocket"] },
  polling: { transports: ["polling"], upgrade: false },
  upgrade: { transports: ["polling", "websocket"] },
};

const once = (emitter, event) => new Promise((resolve) => emitter.once(event, (...args) => resolve(args)));

function open(options, auth = {}) {
  return io(url, { path, forceNew: true, reconnectionDelay: 20, reconnectionDelayMax: 50, auth, ...options });
}

async function connected(options, auth) {
  const socket = open(options, auth);
  const greeting = once(socket, "auth");
  await once(socket, "connect");
  return { socket, greeting: (await greeting)[0] };
}

async function upgraded(socket) {
  if (socket.io.engine.transport.name !== "websocket") {
    await once(socket.io.engine, "upgrade");
  }
  assert.equal(socket.io.engine.transport.name, "websocket");
}

const cases = {
  async "connects with its auth payload"(options, name) {
    const { socket, greeting } = await connected(options, { token: "good", more: ["é", { n: 1 }] });
    assert.deepEqual(greeting, { token: "good", more: ["é", { n: 1 }] });
    assert.ok(socket.id.length >= 20 && socket.id !== socket.io.engine.id);
    if (name === "upgrade") await upgraded(socket);
    else assert.equal(socket.io.engine.transport.name, name);
    socket.disconnect();
  },

  async "is refused with code and message"(options) {
    const socket = open(options, { token: "bad" });
    const [err] = await once(socket, "connect_error");
    assert.equal(err.message, "sign in first");
    assert.deepEqual(err.data, { code: "unauthenticated", message: "sign in first" });
    // The same connection may try again.
    socket.auth = { token: "good" };
    const again = once(socket, "connect");
    socket.connect();
    await again;
    socket.disconnect();
  },

  async "is refused another namespace"(options) {
    const manager = new Manager(url, { path, ...options });
    const socket = manager.socket("/other");
    const [err] = await once(socket, "connect_error");
    assert.equal(err.message, "Invalid namespace");
    socket.disconnect();
  },

  async "sends and receives 500 events in order"(options) {
    const { socket } = await connected(options);
    const got = [];
    const all = new Promise((resolve) => socket.on("message-back", (i, text) => {
      assert.equal(text, "x".repeat(i));
      if (got.push(i) === 500) resolve();
    }));
    for (let i = 0; i < 500; i++) socket.emit("message", i, "x".repeat(i));
    await all;
    assert.deepEqual(got, Array.from({ length: 500 }, (_, i) => i));
    socket.disconnect();
  },

  async "gets acknowledgements"(options) {
    const { socket } = await connected(options);
    const replies = await Promise.all(
      Array.from({ length: 100 }, (_, i) => socket.timeout(10_000).emitWithAck("message-with-ack", { i })));
    assert.deepEqual(replies, Array.from({ length: 100 }, (_, i) => ({ i })));
    socket.disconnect();
  },

  async "gives acknowledgements"(options) {
    const { socket } = await connected(options);
    socket.on("question", (...args) => args.pop()("answer to", ...args, Buffer.from([1, 2])));
    const answer = once(socket, "answer");
    socket.emit("ask", "how", 2);
    assert.deepEqual(await answer, ["answer to", "how", 2, Buffer.from([1, 2])]);
    socket.disconnect();
  },

  async "carries binary"(options) {
    const { socket } = await connected(options);
    const deep = { list: [Buffer.from([0, 255, 30, 98]), { empty: Buffer.alloc(0) }], text: "\u001e€" };
    const large = Buffer.alloc(300_000, 7);
    const back = once(socket, "message-back");
    socket.emit("message", deep, large);
    assert.deepEqual(await back, [deep, large]);
    assert.deepEqual(await socket.emitWithAck("message-with-ack", large), large);
    socket.disconnect();
  },

  async "carries a large text"(options) {
    const { socket } = await connected(options);
    const text = "é".repeat(200_000);
    const back = once(socket, "message-back");
    socket.emit("message", text);
    assert.deepEqual(await back, [text]);
    socket.disconnect();
  },

  async "stays away after the server's disconnect"(options) {
    const { socket } = await connected(options);
    const gone = once(socket, "disconnect");
    socket.emit("close");
    assert.equal((await gone)[0], "io server disconnect");
    assert.equal(socket.active, false);
  },

  async "comes back after its connection broke"(options, name) {
    const { socket } = await connected(options);
    if (name === "upgrade") await upgraded(socket);
    for (let i = 0; i < 3; i++) {
      const id = socket.id;
      const gone = once(socket, "disconnect");
      const back = once(socket, "connect");
      socket.io.engine.close();
      await gone;
      // Sent while away: buffered by the client and delivered after the reconnection.
      const reply = socket.emitWithAck("message-with-ack", i);
      await back;
      assert.notEqual(socket.id, id);
      assert.equal(await reply, i);
    }
    socket.disconnect();
  },

  async "comes back by itself when the server drops the connection"(options) {
    const { socket } = await connected(options);
    const gone = once(socket, "disconnect");
    const back = once(socket, "connect");
    socket.emit("drop");
    assert.match((await gone)[0], /^transport (close|error)$/);
    await back;
    socket.disconnect();
  },

  async "lives through heartbeats"(options) {
    const { socket } = await connected(options);
    let pings = 0;
    await new Promise((resolve) => socket.io.on("ping", () => ++pings === 3 && resolve()));
    assert.equal(socket.connected, true);
    assert.equal(await socket.emitWithAck("message-with-ack", "alive"), "alive");
    socket.disconnect();
  },

  async "leaves and returns"(options) {
    const { socket } = await connected(options);
    for (let i = 0; i < 3; i++) {
      socket.disconnect();
      const back = once(socket, "connect");
      socket.connect();
      await back;
    }
    socket.disconnect();
  },
};

const limit = setTimeout(() => {
  console.error("a case did not end within a minute");
  process.exit(2);
}, 60_000);
let count = 0;
await Promise.all(Object.entries(transports).map(async ([name, options]) => {
  for (const [title, run] of Object.entries(cases)) {
    try {
      await run(options, name);
      count++;
    } catch (err) {
      console.error(`${name}: ${title}: ${err.stack}`);
      process.exit(1);
    }
  }
}));
clearTimeout(limit);
console.log(`${count} cases passed`);
process.exit(0);
