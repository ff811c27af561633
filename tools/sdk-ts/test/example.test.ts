/** The program of docs/clients.md, as it stands there, in a directory of its own. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { hasServer, Server, until } from "./server.js";

test("the program of the document writes and reads", { skip: !hasServer, timeout: 60_000 }, async () => {
  const server = new Server();
  await server.start();
  const sdk = fileURLToPath(new URL("../../", import.meta.url));
  const dir = mkdtempSync(join(tmpdir(), "tidings-example-"));
  mkdirSync(join(dir, "node_modules"));
  symlinkSync(sdk, join(dir, "node_modules", "tidings"));
  symlinkSync(join(sdk, "node_modules", "ws"), join(dir, "node_modules", "ws"));
  copyFileSync(join(sdk, "../../examples/first.mjs"), join(dir, "first.mjs"));
  const bob = server.client("bob");
  const heard: string[] = [];
  bob.on((event) => {
    if (event.type === "message") heard.push(event.message.text);
  });
  await bob.start();
  await bob.send({ user: "alice" }, "said before, which is no answer");
  const environment = { ...process.env, SERVER: new URL(server.url).host, TOKEN: server.token("alice") };
  const program = spawn(process.execPath, ["first.mjs"], { cwd: dir, env: environment, stdio: ["ignore", "pipe", "inherit"] });
  let said = "";
  program.stdout.on("data", (bytes: Buffer) => (said += bytes.toString()));
  const ended = new Promise((resolve) => program.once("exit", resolve));
  await until(() => heard.includes("hello from TypeScript"), "bob hears of it");
  await bob.send({ user: "alice" }, "hello alice");
  assert.equal(await ended, 0);
  assert.deepEqual(said.trim().split("\n").sort(), ["bob: hello alice", "durable as number 2"]);
  await bob.close();
  await server.remove();
  rmSync(dir, { recursive: true });
});
