// Runs a Go test program in this worker, next to the shim, and reports its output and exit code.
import "./wasm_exec.js";
import "./shim.js";

self.onmessage = async ({ data }) => {
  const decoder = new TextDecoder();
  let output = "";
  globalThis.fs.writeSync = (_, bytes) => {
    output += decoder.decode(bytes, { stream: true });
    return bytes.length;
  };
  const go = new globalThis.Go();
  go.argv = ["test", ...data.args];
  go.exit = (code) => self.postMessage({ code, output });
  const { instance } = await WebAssembly.instantiateStreaming(fetch(data.url), go.importObject);
  await go.run(instance);
};
