import { defineConfig } from "vitest/config";

// A running `camera-operator run` stands behind `npm run dev`; CAMERA_OPERATOR names another one.
const backend = process.env["CAMERA_OPERATOR"] ?? "http://127.0.0.1:8080";

export default defineConfig({
  build: {
    target: "es2022",
    // The server's content security policy allows no inline scripts, and its files are few.
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    // hls.js is one chunk that is loaded when a camera is opened.
    chunkSizeWarningLimit: 700,
  },
  server: {
    proxy: Object.fromEntries(["/api", "/live", "/recordings", "/docs", "/openapi.json"].map((path) => [path, backend])),
  },
  test: { environment: "node", include: ["test/**/*.test.ts"] },
});
