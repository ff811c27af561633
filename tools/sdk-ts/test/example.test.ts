/** The program of docs/clients.md, as it stands there, in a directory of its own. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { createServer, connect, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { hasServer, Server, until } from "./server.js";

/** A way to the server on which what the server says arrives in lumps, several frames at once, as over a bad radio link. */
async function lumpy(port: number): Promise<{ host: string; close: () => void }> {
  const proxy = createServer((client) => {
    const server = connect(port, "127.0.0.1");
    client.pipe(server);
    let held: Buffer[] = [];
    const lump = setInterval(() => {
      if (held.length > 0) client.write(Buffer.concat(held));
      held = [];
    }, 100);
    server.on("data", (bytes: Buffer) => held.push(bytes));
    server.on("close", () => client.destroy());
    client.on("close", () => {
      clearInterval(lump);
      server.destroy();
    });
    for (const socket of [client, server]) socket.on("error", () => undefined);
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  return { host: `127.0.0.1:${(proxy.address() as AddressInfo).port}`, close: () => void proxy.close() };
}

test("the program of the document writes and reads", { skip: !hasServer, timeout: 60_000 }, async (t) => {
  const server = new Server();
  t.after(() => server.remove());
  await server.start();
  const sdk = fileURLToPath(new URL("../../", import.meta.url));
  const dir = mkdtempSync(join(tmpdir(), "tidings-example-"));
  t.after(() => rmSync(dir, { recursive: true }));
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
  /** What the program prints. Bob answers what it writes. */
  const run = async (host: string, answer: string): Promise<string[]> => {
    const environment = { ...process.env, SERVER: host, TOKEN: server.token("alice") };
    const program = spawn(process.execPath, ["first.mjs"], { cwd: dir, env: environment, stdio: ["ignore", "pipe", "inherit"] });
    t.after(() => program.kill("SIGKILL"));
    let said = "";
    program.stdout.on("data", (bytes: Buffer) => (said += bytes.toString()));
    const ended = new Promise((resolve) => program.once("exit", resolve));
    await until(() => heard.includes("hello from TypeScript"), "bob hears of it");
    heard.length = 0;
    await bob.send({ user: "alice" }, answer);
    // What he says elsewhere is no answer, and hides none.
    await bob.createGroup("elsewhere", ["alice"]);
    assert.equal(await ended, 0);
    return said.trim().split("\n").sort();
  };
  const direct = new URL(server.url);
  const way = await lumpy(Number(direct.port));
  t.after(way.close);
  // That its message is durable and what bob answers arrive at once.
  assert.deepEqual(await run(way.host, "hello alice"), ["bob: hello alice", "durable as number 1"]);
  await bob.send({ user: "alice" }, "said before, which is no answer");
  assert.deepEqual(await run(direct.host, "hello again"), ["bob: hello again", "durable as number 4"]);
});
