// Builds the page into the server's source, from which it is compiled into the binary; with --check it only says whether that is up to date.
import { build } from "esbuild";
import { readFileSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const target = new URL("../../src/server/web/", import.meta.url);
const shared = { bundle: true, minify: true, write: false, target: "es2022", charset: "utf8", legalComments: "none", logLevel: "warning" };
const [script, style] = await Promise.all([
  build({ ...shared, entryPoints: ["src/main.tsx"], format: "esm", jsx: "automatic", jsxImportSource: "preact" }),
  build({ ...shared, entryPoints: ["page/app.css"] }),
]);
const files = {
  "app.js": script.outputFiles[0].text,
  "app.css": style.outputFiles[0].text,
  "index.html": readFileSync("page/index.html", "utf8"),
  "icon.svg": readFileSync("page/icon.svg", "utf8"),
};
let stale = 0;
let compressed = 0;
for (const [name, text] of Object.entries(files)) {
  const path = new URL(name, target);
  compressed += gzipSync(text, { level: 9 }).length;
  if (!process.argv.includes("--check")) writeFileSync(path, text);
  else if (readFileSync(path, "utf8") !== text) {
    console.error(`src/server/web/${name} is not what tools/web builds: run npm run build there`);
    stale += 1;
  }
}
console.log(`page: ${compressed} bytes compressed`);
process.exitCode = stale === 0 && compressed <= 60_000 ? 0 : 1;
if (compressed > 60_000) console.error("the page is larger than 60,000 bytes");
