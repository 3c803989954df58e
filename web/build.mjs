// Builds the web client into dist: the core from bin/wasm (`make wasm`), the pages and the SDK by Vite, the service worker
// with the list of what it keeps. Every file is written compressed, once with brotli and once with gzip: sottod embeds
// these. Names in assets/ and core/ change with the content.
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { build } from "vite";

const here = dirname(fileURLToPath(import.meta.url));
const dist = join(here, "dist"), wasm = join(here, "../bin/wasm"), kept = join(here, "../bin/compressed");
const placeholder = "placeholder.txt";
const coreFiles = ["worker.js", "shim.js", "wasm_exec.js", "sotto.wasm"];

function filesBelow(dir) {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((e) => e.isFile()).map((e) => relative(dir, join(e.parentPath, e.name))).sort();
}

const hash = (...parts) => parts.reduce((h, p) => h.update(p), createHash("sha256")).digest("hex").slice(0, 16);

// compressed keeps its results by content: the core takes ten seconds and changes seldom.
function compressed(content, name, f) {
  const file = join(kept, `${hash(content)}.${name}`);
  if (!existsSync(file)) {
    writeFileSync(file, f(content));
  }
  return readFileSync(file);
}

const brotli = (b) => brotliCompressSync(b, {
  params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: b.length },
});

readdirSync(dist).filter((name) => name !== placeholder).forEach((name) => rmSync(join(dist, name), { recursive: true }));

const core = `core/${hash(...coreFiles.map((f) => readFileSync(join(wasm, f))))}`;
mkdirSync(join(dist, core), { recursive: true });
coreFiles.forEach((f) => cpSync(join(wasm, f), join(dist, core, f)));

await build({ configFile: join(here, "vite.config.ts"), define: { __CORE__: JSON.stringify(`/${core}/worker.js`) } });
await build({ configFile: join(here, "vite.sdk.config.ts") });
writeFileSync(join(dist, "sdk/core.json"), JSON.stringify({ core: `/${core}/worker.js` }));

// The service worker keeps what the pages need offline. Its own content changes with the list, so browsers see a new one.
const shell = filesBelow(dist).filter((f) => f !== placeholder && !f.startsWith("sdk/")).map((f) => (f === "index.html" ? "/" : `/${f}`));
const version = hash(...filesBelow(dist).map((f) => readFileSync(join(dist, f))));
await build({
  configFile: join(here, "vite.sw.config.ts"),
  define: { __VERSION__: JSON.stringify(version), __SHELL__: JSON.stringify(shell) },
});

mkdirSync(kept, { recursive: true });
for (const name of filesBelow(dist).filter((f) => f !== placeholder)) {
  const path = join(dist, name), content = readFileSync(path);
  writeFileSync(`${path}.br`, compressed(content, "br", brotli));
  writeFileSync(`${path}.gz`, compressed(content, "gz", (b) => gzipSync(b, { level: 9 })));
  rmSync(path);
}
