// The page in a real browser, at a real server that is killed now and then.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, beforeEach, test } from "node:test";
import { begin, Browser, choose, input, message, missing, open, say, Server } from "./server.mjs";

const server = new Server();
const browser = new Browser();
const options = { skip: missing, timeout: 200_000 };

before(async () => {
  if (missing) return;
  await server.start();
  await browser.start(server);
});

// A test that failed half way leaves others a server and a network.
beforeEach(async () => {
  if (missing) return;
  await browser.context.setOffline(false);
  if (!server.runs) await server.start();
});

after(async () => {
  if (missing) return;
  await browser.stop();
  await server.remove();
});

/** What the messages of the open conversation say, in their order. */
const texts = (page) => page.locator("article.message .words").allTextContents();

/** Runs accessibility rules over a page; what they find that is serious. */
async function faults(page) {
  await page.evaluate(readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8"));
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  return violations.filter(({ impact }) => ["serious", "critical"].includes(impact)).map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ").slice(0, 300)}`);
}

test("two tabs chat, the server is killed and comes back, and nothing is lost or there twice", options, async () => {
  const [alice, bob] = [await browser.signIn("alice"), await browser.signIn("bob")];
  await begin(alice, "bob");
  await say(alice, "one");
  await open(bob, /alice/);
  await message(bob, "one").waitFor();
  await say(bob, "two");
  await message(alice, "two").waitFor();
  await server.kill();
  await alice.getByText("Not connected").waitFor();
  await say(alice, "three");
  await say(alice, "four");
  await message(alice, "four").getByLabel("on its way").waitFor();
  // What waits survives a reload, also while there is no server that could give the page.
  await bob.getByText("Not connected").waitFor();
  await say(bob, "five");
  await server.start();
  for (const page of [alice, bob]) for (const text of ["three", "four", "five"]) await message(page, text).waitFor();
  await message(alice, "four").getByLabel("read").waitFor();
  assert.equal(await alice.getByLabel("on its way").count(), 0);
  const [ofAlice, ofBob] = [await texts(alice), await texts(bob)];
  assert.deepEqual(ofAlice, ofBob);
  assert.deepEqual([...ofAlice].sort(), ["five", "four", "one", "three", "two"]);
  assert.ok(ofAlice.indexOf("three") < ofAlice.indexOf("four"));
  await alice.reload();
  await open(alice, /bob/);
  await message(alice, "five").waitFor();
  assert.deepEqual(await texts(alice), ofAlice);
});

test("what was not sent goes out after a reload, once", options, async () => {
  const [alice, bob] = [await browser.signIn("alice"), await browser.signIn("dora")];
  await begin(alice, "dora");
  await say(alice, "before");
  await open(bob, /alice/);
  await message(bob, "before").waitFor();
  await server.kill();
  for (const page of [alice, bob]) await page.getByText("Not connected").waitFor();
  // Only now: a browser that is made to be offline stops reading at the next bytes that come, and would not hear that a connection ended.
  await browser.context.setOffline(true);
  await say(alice, "kept");
  await message(alice, "kept").getByLabel("on its way").waitFor();
  // The page is gone before the server is back, so that only the next one can send it.
  await alice.goto("about:blank");
  await server.start();
  await browser.context.setOffline(false);
  await alice.goto(server.url);
  await open(alice, /dora/);
  await message(alice, "kept").waitFor();
  await message(bob, "kept").waitFor();
  await message(alice, "kept").getByLabel(/sent|delivered|read/).waitFor();
  assert.deepEqual((await texts(bob)).filter((text) => text === "kept"), ["kept"]);
});

test("a group: ticks, typing, an answer, a reaction, an edit, a withdrawal, a message that grows", options, async () => {
  await browser.renew();
  const [alice, bob, carol] = [await browser.signIn("alice"), await browser.signIn("bob"), await browser.signIn("carol")];
  await begin(alice, "bob, carol", "Sunday hike");
  await say(alice, "Who is in?");
  await open(bob, /Sunday hike/);
  await message(bob, "Who is in?").waitFor();
  await message(alice, "Who is in?").getByText("1 of 2").waitFor();
  await open(carol, /Sunday hike/);
  await message(alice, "Who is in?").getByLabel("read").waitFor();
  await input(carol).pressSequentially("I th");
  await alice.getByRole("region").getByText("carol is typing…").waitFor();
  await input(carol).fill("");
  await say(bob, "The ridge, at nien");
  await choose(bob, "nien", "Edit");
  await bob.locator(".composer .about").waitFor();
  assert.equal(await input(bob).inputValue(), "The ridge, at nien");
  await say(bob, "The ridge, at nine");
  await message(alice, "The ridge, at nine").getByText("edited").waitFor();
  await choose(alice, "The ridge", "👍");
  await choose(carol, "The ridge", "👍");
  await message(bob, "The ridge").getByLabel("👍, by").getByText("2").waitFor();
  await message(carol, "The ridge").getByLabel("👍, by").click();
  await message(bob, "The ridge").getByLabel("👍, by alice").waitFor();
  await choose(alice, "The ridge", "Answer");
  await say(alice, "I bring bread");
  await message(bob, "I bring bread").locator(".quote", { hasText: "The ridge, at nine" }).waitFor();
  await say(alice, "wrong window");
  await message(bob, "wrong window").waitFor();
  await choose(alice, "wrong window", "Withdraw…");
  await alice.getByRole("button", { name: "Withdraw for everybody" }).click();
  await bob.getByText("This message was withdrawn").waitFor();
  await bob.getByText("wrong window").first().waitFor({ state: "detached" });
  const [{ conversation }] = server.run("conversations", ["--user", "carol", "--json"]).trim().split("\n").map((line) => JSON.parse(line));
  const stream = server.spawn("stream", "--user", "carol", "--group", conversation);
  stream.stdin.write("It grows");
  await message(alice, "It grows").getByLabel("being written").waitFor();
  stream.stdin.end(" and ends");
  await message(alice, "It grows and ends").waitFor();
  await alice.getByLabel("being written").waitFor({ state: "detached" });
  await choose(alice, "It grows and ends", "Remove for me");
  await alice.getByText("It grows and ends").last().waitFor({ state: "detached" });
  await message(bob, "It grows and ends").waitFor();
  await alice.getByRole("button", { name: /details/ }).click();
  await alice.getByLabel("Names to add").fill("erin");
  await alice.getByRole("button", { name: "Add", exact: true }).click();
  await alice.getByText("4 members").first().waitFor();
  await message(bob, "added erin").waitFor();
});

test("a copied tab is another device, and a reloaded one the same", options, async () => {
  const alice = await browser.signIn("frank");
  const devices = async (page) => {
    await page.bringToFront();
    await page.getByRole("button", { name: "Settings" }).click();
    await page.getByText("this tab", { exact: true }).waitFor();
    const count = await page.getByRole("dialog").getByRole("listitem").count();
    await page.keyboard.press("Escape");
    return count;
  };
  assert.equal(await devices(alice), 1);
  // What a browser does when somebody duplicates a tab: the new one begins with what the old one's session keeps.
  const kept = await alice.evaluate(() => JSON.stringify(sessionStorage));
  const copy = await browser.context.newPage();
  await copy.addInitScript((kept) => Object.entries(JSON.parse(kept)).forEach(([key, value]) => sessionStorage.getItem(key) ?? sessionStorage.setItem(key, value)), kept);
  await copy.goto(server.url);
  await copy.getByText("Connected", { exact: true }).waitFor();
  assert.equal(await devices(copy), 2);
  await alice.reload();
  await alice.getByText("Connected", { exact: true }).waitFor();
  assert.equal(await devices(alice), 2);
  assert.equal(await copy.getByText("opened in another place").count(), 0);
  await alice.getByRole("button", { name: "Settings" }).click();
  await alice.getByRole("button", { name: "Sign out of this tab" }).click();
  await alice.getByRole("button", { name: "Sign in" }).click();
  await alice.getByText("Connected", { exact: true }).waitFor();
  assert.equal(await devices(alice), 2, "a number that was given back is claimed again");
});

test("what others write is text, stays in its place, and costs no more than it should", options, async () => {
  const names = ["<img src=x onerror=alert(1)>", `evil\u202Eecila`, `Z${"\u0301".repeat(30)}`];
  const nasty = ["<script>document.title='harmed'</script>", "javascript:alert(1)", `a\u202Eb`, `Z${"\u0300".repeat(30_000)}`, "x".repeat(60_000), "\u{1F468}\u200D".repeat(4_000)];
  for (const name of names) for (const text of nasty) server.run("send", ["--user", name, "--to", "grace", "-"], text);
  const grace = await browser.signIn("grace");
  for (const name of ["<img src=x", "evilecila", "Z"]) {
    await open(grace, new RegExp(`^.?${name.slice(0, 6)}`));
    await grace.locator("article.message").first().waitFor();
    await grace.waitForFunction(() => document.querySelectorAll("article.message").length >= 5);
    const beyond = await grace.evaluate(() => {
      const box = document.querySelector(".messages").getBoundingClientRect();
      const places = [...document.querySelectorAll(".bubble")].map((bubble) => bubble.getBoundingClientRect());
      return places.filter(({ left, right }) => left < box.left || right > box.right).length;
    });
    assert.equal(beyond, 0, "all of it is inside of its column");
  }
  assert.ok(!(await grace.title()).includes("harmed"));
  assert.equal(await grace.locator("article img, article script").count(), 0);
});

test("a long conversation is scrolled to its beginning, and few of its messages are on the page", options, async () => {
  const count = Number(process.env.MESSAGES ?? 5_000);
  server.run("send", ["--user", "heidi", "--to", "ivan", "-"], Array.from({ length: count }, (_, at) => `message ${at + 1}${at % 7 === 0 ? ` is long ${"word ".repeat(40)}` : ""}`).join("\n"));
  const ivan = await browser.signIn("ivan");
  await open(ivan, /heidi/);
  await message(ivan, `message ${count}`).waitFor();
  const began = performance.now();
  await ivan.waitForFunction((first) => {
    document.querySelector(".messages").scrollTop = 0;
    return [...document.querySelectorAll("article.message .words")].some(({ textContent }) => textContent.startsWith(first));
  }, "message 1 is long", { timeout: 100_000, polling: 20 });
  const onPage = await ivan.locator("article.message").count();
  assert.ok(onPage < 100, `${onPage} messages are on the page`);
  console.log(`# ${count} messages, from the newest to the first in ${Math.round(performance.now() - began)} ms, ${onPage} of them on the page`);
  // What comes meanwhile does not move what is being read.
  const top = () => ivan.evaluate(() => document.querySelector("article.message").getBoundingClientRect().top);
  const was = await top();
  server.run("send", ["--user", "heidi", "--to", "ivan", "and one more"]);
  await ivan.getByRole("button", { name: "To the newest message" }).getByText("1").waitFor();
  assert.ok(Math.abs((await top()) - was) < 2);
  // What was not seen is not read, whatever the connection does.
  const unread = () => JSON.parse(server.run("conversations", ["--user", "ivan", "--json"]).trim()).unread;
  await server.kill();
  await ivan.getByText("Not connected").waitFor();
  await server.start();
  await ivan.getByText("Connected", { exact: true }).waitFor();
  assert.equal(unread(), 1);
  assert.ok(Math.abs((await top()) - was) < 2);
  await ivan.getByRole("button", { name: "To the newest message" }).click();
  await message(ivan, "and one more").waitFor();
});

test("who is removed from a group keeps what it had, and cannot write there any more", options, async () => {
  const [owner, member] = [await browser.signIn("olga"), await browser.signIn("pete")];
  await begin(owner, "pete", "Quiet");
  await open(member, /Quiet/);
  await say(member, "first");
  await message(owner, "first").waitFor();
  const [{ conversation }] = server.run("conversations", ["--user", "olga", "--json"]).trim().split("\n").map((line) => JSON.parse(line));
  server.run("group remove", ["--user", "olga", "--group", conversation, "pete"]);
  await message(owner, "removed pete").waitFor();
  await member.getByText("You cannot write here.").waitFor();
  assert.equal(await input(member).count(), 0);
  await message(member, "first").waitFor();
});

test("everything can be done with the keyboard", options, async () => {
  const judy = await browser.signIn("judy");
  await judy.keyboard.press("Control+k");
  await judy.getByLabel("With whom").waitFor();
  await judy.keyboard.type("kate");
  await judy.keyboard.press("Enter");
  await input(judy).waitFor();
  await judy.keyboard.type("hello kate");
  await judy.keyboard.press("Enter");
  await message(judy, "hello kate").getByLabel("sent").waitFor();
  await judy.keyboard.press("ArrowUp");
  await judy.keyboard.press("Enter");
  await judy.locator("dialog.menu[open]").waitFor();
  await judy.keyboard.press("Enter");
  await message(judy, "hello kate").getByLabel("👍, by you").waitFor();
  await judy.keyboard.press("Enter");
  await judy.locator("dialog.menu[open]").waitFor();
  await judy.keyboard.press("Escape");
  await judy.keyboard.press("Escape");
  await judy.keyboard.type("again");
  await judy.keyboard.press("Enter");
  await message(judy, "again").waitFor();
});

test("nothing serious is in the way of a screen reader, in light and dark, wide and narrow", options, async () => {
  const page = await browser.context.newPage();
  await page.goto(server.url);
  await page.getByLabel("Your name").waitFor();
  assert.deepEqual(await faults(page), [], "signing in");
  const bob = await browser.signIn("bob");
  for (const colorScheme of ["light", "dark"]) {
    await bob.emulateMedia({ colorScheme });
    await bob.setViewportSize({ width: 1180, height: 760 });
    assert.deepEqual(await faults(bob), [], `${colorScheme}, the list`);
    await open(bob, /Sunday hike/);
    await message(bob, "I bring bread").waitFor();
    assert.deepEqual(await faults(bob), [], `${colorScheme}, a group`);
    await bob.getByRole("button", { name: /details/ }).click();
    await bob.getByText("4 members").last().waitFor();
    assert.deepEqual(await faults(bob), [], `${colorScheme}, about a group`);
    await bob.keyboard.press("Escape");
    await bob.setViewportSize({ width: 390, height: 780 });
    assert.deepEqual(await faults(bob), [], `${colorScheme}, narrow`);
    await bob.getByRole("button", { name: "Back to the list" }).click();
    await open(bob, /alice/);
  }
});

test("no page asked anybody else, or broke a rule of its own", options, () => {
  assert.deepEqual(browser.wrong, []);
  assert.deepEqual([...browser.asked], [`127.0.0.1:${server.port}`]);
});
