import { defineConfig } from "vite";

// The SDK as one module for pages of others, with its search worker next to it.
export default defineConfig({
  publicDir: false,
  build: {
    outDir: "dist/sdk", emptyOutDir: true, target: "es2023", reportCompressedSize: false,
    lib: { entry: { sotto: "sdk/index.ts", search: "sdk/search-worker.ts" }, formats: ["es"] },
  },
});
