// Starts the browser core in a dedicated Web Worker (type "module"). The files next to it: wasm_exec.js from the Go
// distribution that built sotto.wasm, shim.js, sotto.wasm. What the core says and hears is in api.md.
import "./wasm_exec.js";
import "./shim.js";

const go = new globalThis.Go();
go.env.GOTRACEBACK = "system"; // stack traces with addresses, for the program has no names
const started = WebAssembly.instantiateStreaming(fetch(new URL("./sotto.wasm", import.meta.url)), go.importObject)
  .then(({ instance }) => {
    go.run(instance).then(() => failed("The program ended.")); // it never does, unless it crashed
  });

// Messages that arrive before the core is there wait for it.
self.onmessage = ({ data }) => started.then(() => globalThis.sottoReceive(data));
started.catch((e) => failed(String(e)));

function failed(message) {
  const text = JSON.stringify({ failed: { code: "core", message } });
  self.postMessage(new TextEncoder().encode(text));
}
