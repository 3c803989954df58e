import { defineConfig } from "vite";

// The service worker: one classic script at the root of the site, because that is its scope.
export default defineConfig({
  publicDir: false,
  build: {
    outDir: "dist", emptyOutDir: false, target: "es2023", reportCompressedSize: false,
    lib: { entry: { sw: "app/sw.ts" }, formats: ["es"] },
  },
});
