/** A real server in a process of its own: the binary that TIDINGS_BIN names. */

import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

import WebSocket from "ws";

import { Client, type ClientOptions, type Event, type Socket } from "../src/index.js";

const BINARY = process.env["TIDINGS_BIN"];

/** False where there is no server to talk to. */
export const hasServer = BINARY !== undefined;

// Whatever becomes of the tests, short of SIGKILL, no server is left behind: a file that takes too long is ended by a signal.
const started: ChildProcess[] = [];
process.on("exit", () => started.forEach((child) => child.kill("SIGKILL")));
for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => process.exit(1));

/** A server. */
export class Server {
  private readonly dir = mkdtempSync(join(tmpdir(), "tidings-ts-"));
  private readonly clients: Client[] = [];
  private process: ChildProcess | undefined;
  private port = 0;

  private get data(): string {
    return join(this.dir, "data");
  }

  get url(): string {
    return `ws://127.0.0.1:${this.port}/v1`;
  }

  /** Starts it, on the port that it had before. */
  async start(): Promise<void> {
    const listen = `127.0.0.1:${this.port}`;
    const child = spawn(BINARY!, ["serve", "--data", this.data, "--listen", listen, "--cores", "0,1"], { stdio: ["ignore", "pipe", "pipe"] });
    this.process = child;
    started.push(child);
    // Not the tests' own: whoever reads that would wait for the server to end.
    child.stderr!.on("data", (said: Buffer) => process.stderr.write(said));
    const late = setTimeout(() => child.kill("SIGKILL"), 30_000);
    try {
      for await (const line of createInterface({ input: child.stdout! })) {
        const ready = /^ready listen=127\.0\.0\.1:(\d+) /.exec(line);
        if (!ready) continue;
        this.port = Number(ready[1]);
        return;
      }
    } finally {
      clearTimeout(late);
    }
    throw new Error("the server did not start");
  }

  /** Kills it, as a crash would. */
  async kill(): Promise<void> {
    const child = this.process;
    if (!child) return;
    this.process = undefined;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await ended;
  }

  /** Closes its clients, kills it, and removes its data: nothing is left that keeps the tests from ending, even after one that failed. */
  async remove(): Promise<void> {
    // One whose application never kept what it was told closes only then.
    const patience = new Promise((resolve) => setTimeout(resolve, 3_000).unref());
    await Promise.race([Promise.allSettled(this.clients.map((client) => client.close())), patience]);
    await this.kill();
    rmSync(this.dir, { recursive: true });
  }

  token(user: string, ttl = 3600, ...more: string[]): string {
    return execFileSync(BINARY!, ["token", "--data", this.data, "--user", user, "--ttl", `${ttl}s`, ...more], { encoding: "utf8" }).trim();
  }

  client(user: string, device = 1, more: Partial<ClientOptions> = {}): Client {
    const webSocket = (url: string, protocol: string): Socket => new WebSocket(url, protocol) as unknown as Socket;
    const client = new Client({ url: this.url, user, device, token: this.token(user), webSocket, ...more });
    this.clients.push(client);
    return client;
  }
}

/** Waits until something is so; fails with `what` after half a minute. */
export async function until(is: () => boolean, what: string): Promise<void> {
  const end = performance.now() + 30_000;
  while (!is()) {
    if (performance.now() > end) throw new Error(`it did not come about that ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Everything that a client is told. */
export function listen(client: Client): Event[] {
  const events: Event[] = [];
  client.on((event) => void events.push(event));
  return events;
}
