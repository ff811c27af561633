// A real server in a process of its own, and a browser: the binary that TIDINGS_BIN names, and Chromium.
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const BINARY = process.env.TIDINGS_BIN;
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";

/** Why nothing can be tried here, if that is so. */
export const missing = !BINARY ? "TIDINGS_BIN names no server" : !existsSync(CHROMIUM) ? `there is no ${CHROMIUM}` : false;

// Whatever becomes of the tests, short of SIGKILL, no server is left behind: a file that takes too long is ended by a signal.
const started = [];
process.on("exit", () => started.forEach((child) => child.kill("SIGKILL")));
for (const signal of ["SIGTERM", "SIGINT"]) process.once(signal, () => process.exit(1));

/** A server in development mode. */
export class Server {
  dir = mkdtempSync(join(tmpdir(), "tidings-web-"));
  port = 0;

  constructor() {
    // Tests write faster than people.
    writeFileSync(join(this.dir, "config.toml"), "[limits]\nuser_per_second = 1000000\nuser_burst = 1000000\n");
  }

  get url() {
    return `http://127.0.0.1:${this.port}/`;
  }

  /** Starts it, on the port that it had before. */
  async start() {
    const arguments_ = ["serve", "--development", "--config", join(this.dir, "config.toml"), "--data", join(this.dir, "data"), "--listen", `127.0.0.1:${this.port}`, "--cores", "0,1"];
    const child = spawn(BINARY, arguments_, { stdio: ["ignore", "pipe", "ignore"] });
    this.process = child;
    started.push(child);
    const late = setTimeout(() => child.kill("SIGKILL"), 30_000);
    try {
      for await (const line of createInterface({ input: child.stdout })) {
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

  get runs() {
    return this.process.exitCode === null && this.process.signalCode === null;
  }

  /** Kills it, as a crash would. */
  async kill() {
    if (!this.runs) return;
    const ended = new Promise((resolve) => this.process.once("exit", resolve));
    this.process.kill("SIGKILL");
    await ended;
  }

  /** Kills it, and removes its data. */
  async remove() {
    await this.kill();
    rmSync(this.dir, { recursive: true });
  }

  /** A command for this server. */
  command(name, ...more) {
    return [BINARY, [...name.split(" "), "--data", join(this.dir, "data"), "--server", `127.0.0.1:${this.port}`, ...more]];
  }

  /** Runs a command; what it prints. */
  run(name, more, input = "") {
    return execFileSync(...this.command(name, ...more), { input, encoding: "utf8" });
  }

  /** Starts a command. */
  spawn(name, ...more) {
    return spawn(...this.command(name, ...more), { stdio: ["pipe", "ignore", "ignore"] });
  }
}

/** A browser, which writes down what goes wrong in its pages and whom they ask. */
export class Browser {
  wrong = [];
  asked = new Set();

  async start(server) {
    this.server = server;
    this.browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
    await this.renew();
  }

  /** A browser that knows nothing. */
  async renew(options = {}) {
    await this.context?.close();
    this.context = await this.browser.newContext({ viewport: { width: 1180, height: 760 }, locale: "en-GB", ...options });
    this.context.setDefaultTimeout(30_000);
    this.context.on("request", (request) => this.asked.add(new URL(request.url()).host));
    this.context.on("page", (page) => {
      page.on("pageerror", (error) => this.wrong.push(error.stack));
      // Without a server nothing can be fetched, and the browser says so.
      page.on("console", (told) => ["error", "warning"].includes(told.type()) && !/ERR_CONNECTION|ERR_INTERNET|WebSocket connection to/.test(told.text()) && this.wrong.push(told.text()));
    });
  }

  /** A tab in which somebody has signed in. */
  async signIn(name) {
    const page = await this.context.newPage();
    await page.goto(this.server.url);
    await page.getByLabel("Your name").fill(name);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByText("Connected", { exact: true }).waitFor();
    return page;
  }

  async stop() {
    await this.browser.close();
  }
}

/** Where messages are written. */
export const input = (page) => page.getByLabel("Message", { exact: true });

/** Writes a message. */
export async function say(page, text) {
  await page.bringToFront();
  await input(page).fill(text);
  await input(page).press("Enter");
}

/** Begins a conversation with somebody, or a group. */
export async function begin(page, names, title) {
  await page.bringToFront();
  await page.getByRole("button", { name: "New conversation" }).click();
  await page.getByLabel("With whom").fill(names);
  if (title) await page.getByLabel("The group is called").fill(title);
  await page.getByRole("button", { name: title ? "Make the group" : "Write", exact: true }).click();
}

/** Opens a conversation of the list. */
export async function open(page, title) {
  await page.bringToFront();
  await page.getByRole("navigation").getByRole("button", { name: title }).first().click();
}

/** The newest message with some text. */
export const message = (page, text) => page.locator("article.message", { hasText: text }).last();

/** Chooses something of a message's menu. */
export async function choose(page, text, item) {
  await page.bringToFront(); // a page behind another one draws once a second
  await message(page, text).hover();
  await message(page, text).getByRole("button", { name: "Answer, react and more" }).click();
  await page.locator("dialog.menu").getByRole("button", { name: item }).click();
}
