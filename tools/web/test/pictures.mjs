// Takes the pictures of docs/images: TIDINGS_BIN=... npm run pictures
import { mkdirSync } from "node:fs";
import { begin, Browser, choose, input, message, open, say, Server } from "./server.mjs";

const into = new URL("../../../docs/images/", import.meta.url).pathname;
mkdirSync(into, { recursive: true });
const server = new Server();
const browser = new Browser();
await server.start();
await browser.start(server);
try {
  const [alice, bob, carol] = [await browser.signIn("Alice"), await browser.signIn("Bob"), await browser.signIn("Carol")];
  for (const [name, text] of [["Dave", "Are you coming on Friday?"], ["Erin", "Thank you!"], ["Frank", "I sent you the keys"]]) server.run("send", ["--user", name, "--to", "Alice", text]);
  server.run("send", ["--user", "Dave", "--to", "Alice", "And bring your guitar"]);
  await begin(alice, "Bob, Carol", "Sunday hike");
  await say(alice, "Who is in for Sunday? The weather looks good.");
  await open(bob, /Sunday hike/);
  await open(carol, /Sunday hike/);
  await say(bob, "Me!");
  await message(alice, "Me!").waitFor();
  await say(carol, "Me too, if we are back by six. Which way?");
  await message(alice, "Me too").waitFor();
  await say(alice, "The ridge, at nine: https://example.org/ridge");
  await message(bob, "The ridge").waitFor();
  await choose(bob, "The ridge", "🎉");
  await choose(carol, "The ridge", "🎉");
  await choose(carol, "The ridge", "Answer");
  await say(carol, "That is a steep one. I bring bread and cheese");
  await message(alice, "steep one").waitFor();
  await choose(alice, "steep one", "❤️");
  await open(alice, /Erin/);
  await message(alice, "Thank you!").waitFor();
  await open(alice, /Sunday hike/);
  const [{ conversation }] = server.run("conversations", ["--user", "Bob", "--json"]).trim().split("\n").map((line) => JSON.parse(line));
  const guide = server.spawn("stream", "--user", "Bob", "--group", conversation);
  guide.stdin.write("The bus leaves at 8:12 from the station. From the stop it is an hour up to the hut, then along the ridge: four hours, 700 m of");
  await message(alice, "four hours").waitFor();
  await alice.locator("article.own", { hasText: "The ridge" }).getByLabel("read").waitFor();
  await carol.bringToFront();
  const type = async () => {
    await input(carol).pressSequentially("ok");
    await alice.getByText("Carol is typing…").first().waitFor();
  };
  for (const page of [alice]) {
    await page.bringToFront();
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width: 1100, height: 720 });
      await type();
      await page.waitForTimeout(300);
      await page.screenshot({ path: `${into}desktop-${colorScheme}.png` });
      await page.setViewportSize({ width: 390, height: 760 });
      await page.waitForTimeout(300);
      await page.screenshot({ path: `${into}phone-${colorScheme}.png` });
      await page.getByRole("button", { name: "Back to the list" }).click();
      await page.waitForTimeout(300);
      await page.screenshot({ path: `${into}phone-list-${colorScheme}.png` });
      await open(page, /Sunday hike/);
    }
  }
  guide.stdin.end();
} finally {
  await browser.stop();
  await server.remove();
}
