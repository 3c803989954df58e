// Node's own Socket.IO server with the application that the tests use: what it does, internal/socketio has to do.

import { createServer } from "node:http";
import { Server } from "socket.io";

// listen starts the server on a free port of the loopback interface and resolves to its URL.
export function listen(options = {}) {
  const http = createServer();
  const io = new Server(http, { serveClient: false, maxHttpBufferSize: 1 << 20, ...options });
  io.use((socket, next) => {
    if (socket.handshake.auth.token !== "bad") return next();
    const err = new Error("sign in first");
    err.data = { code: "unauthenticated", message: "sign in first" };
    next(err);
  });
  io.on("connection", (socket) => {
    socket.emit("auth", socket.handshake.auth);
    socket.on("message", (...args) => socket.emit("message-back", ...args));
    socket.on("message-with-ack", (...args) => args.pop()(...args));
    socket.on("ask", (...args) => socket.emit("question", ...args, (...reply) => socket.emit("answer", ...reply)));
    socket.on("close", () => socket.disconnect(true));
    socket.on("drop", () => socket.conn.close());
  });
  return new Promise((resolve) => {
    http.listen(0, "127.0.0.1", () => resolve(`http://127.0.0.1:${http.address().port}`));
  });
}
