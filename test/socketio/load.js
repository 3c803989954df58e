// The application of test/load/socket on Node's Socket.IO server. Usage: node --expose-gc load.js MEMBERS. It prints its
// address, and for each line on its input it collects garbage and prints a line. It ends with its input.

import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { Server } from "socket.io";

const members = Number(process.argv[2]);
const http = createServer();
const io = new Server(http, { serveClient: false, transports: ["websocket"], pingInterval: 60_000, perMessageDeflate: false });
const byName = new Map();

// What its documentation recommends to save memory.
io.engine.on("connection", (raw) => { raw.request = null; });

io.on("connection", (socket) => {
  const name = socket.handshake.auth.name;
  byName.set(name, socket);
  if (name < members) socket.join("room");
  socket.on("msg", (to, payload, ack) => {
    byName.get(to)?.emit("msg", payload);
    ack();
  });
  socket.on("room", (payload) => io.to("room").emit("room", payload));
  socket.on("disconnect", () => { if (byName.get(name) === socket) byName.delete(name); });
});

http.listen(0, "127.0.0.1", 4096, () => console.log(`127.0.0.1:${http.address().port}`));
createInterface({ input: process.stdin })
  .on("line", () => {
    global.gc();
    console.log("collected");
  })
  .on("close", () => process.exit(0));
