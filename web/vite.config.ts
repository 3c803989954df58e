import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

// fragments "tree": Svelte makes elements one by one and never sets innerHTML, so that Trusted Types need no exception.
export default defineConfig({
  root: "app",
  publicDir: "public",
  plugins: [svelte({ compilerOptions: { fragments: "tree" } })],
  build: {
    outDir: "../dist", emptyOutDir: false, target: "es2023", modulePreload: { polyfill: false }, assetsInlineLimit: 0,
    reportCompressedSize: false,
  },
  worker: { format: "es" },
});
