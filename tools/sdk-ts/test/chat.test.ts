/** The client against a real server, which is killed while people write. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { CONTROL, MemoryStore, type Event, type Message } from "../src/index.js";
import { hasServer, listen, Server, until } from "./server.js";

const server = new Server();
const options = { skip: hasServer ? false : "TIDINGS_BIN names no server", timeout: 90_000 };
before(async () => {
  if (hasServer) await server.start();
});
after(() => server.remove());

const messages = (events: readonly Event[]): Message[] => events.flatMap((event) => (event.type === "message" ? [event.message] : []));
const texts = (events: readonly Event[]): string[] => messages(events).map(({ text }) => text);

test("two people chat, the server is killed twice, and nothing is lost or told twice", options, async () => {
  const [alice, bob] = [server.client("alice"), server.client("bob")];
  const [atAlice, atBob] = [listen(alice), listen(bob)];
  await Promise.all([alice.start(), bob.start()]);
  const sent: Promise<{ seq: bigint }>[] = [];
  const wanted: string[] = [];
  for (let round = 0; round < 3; round++) {
    for (let at = 0; at < 100; at++) {
      const text = `${round}/${at}`;
      wanted.push(text);
      sent.push(alice.send({ user: "bob" }, text));
    }
    await until(() => texts(atBob).length > round * 100 + 10, "bob got some");
    if (round < 2) {
      await server.kill();
      sent.push(alice.send({ user: "bob" }, `down ${round}`));
      wanted.push(`down ${round}`);
      await server.start();
    }
  }
  const seqs = (await Promise.all(sent)).map(({ seq }) => seq);
  assert.deepEqual(seqs, wanted.map((_, at) => BigInt(at + 1)));
  await until(() => texts(atBob).length >= wanted.length, "bob got all");
  assert.deepEqual(texts(atBob), wanted);
  assert.equal(alice.unsent, 0);
  // Ticks: how far the other one is.
  const bobs = bob.me;
  await until(() => atAlice.some((event) => event.type === "receipt" && event.member === bobs && event.delivered === BigInt(wanted.length)), "alice knows that bob has all");
  const last = messages(atBob).at(-1)!;
  bob.read(last.conversation, last.seq, last.ordinal);
  await until(() => atAlice.some((event) => event.type === "receipt" && event.member === bobs && event.read === last.seq), "alice knows that bob has read all");
  await Promise.all([alice.close(), bob.close()]);
});

test("what is unsent survives the end of the application, and what was told is not told again", options, async () => {
  const [store, atBob] = [new MemoryStore(), new MemoryStore()];
  const carol = server.client("carol", 1, { store });
  const dave = server.client("dave", 1, { store: atBob });
  const first = listen(dave);
  await Promise.all([carol.start(), dave.start()]);
  await carol.send({ user: "dave" }, "before");
  await until(() => texts(first).length === 1, "dave got the first");
  await dave.close();
  await server.kill();
  const unsent = carol.send({ user: "dave" }, "from the store");
  unsent.catch(() => undefined);
  await until(() => carol.unsent === 1, "it waits");
  await carol.close();
  await server.start();
  const [again, later] = [server.client("carol", 1, { store }), server.client("dave", 1, { store: atBob })];
  const second = listen(later);
  await Promise.all([again.start(), later.start()]);
  await until(() => texts(second).length === 1 && second.some(({ type }) => type === "synced"), "dave got the second");
  assert.deepEqual(texts(second), ["from the store"]);
  assert.deepEqual(await store.outbox(), []);
  await Promise.all([again.close(), later.close()]);
});

test("a message is acknowledged once the application has kept it, and one that it could not keep comes again", options, async () => {
  const store = new MemoryStore();
  const [sven, tina] = [server.client("sven"), server.client("tina", 1, { store })];
  const atSven = listen(sven);
  await sven.start();
  let keeps: (() => void) | undefined;
  tina.on((event) => (event.type === "message" ? new Promise<void>((resolve) => (keeps = resolve)) : undefined));
  const told = listen(tina);
  await tina.start();
  await sven.send({ user: "tina" }, "keep this");
  await until(() => texts(told).length === 1, "it is told");
  const isTold = (): boolean => atSven.some((event) => event.type === "receipt" && event.member === tina.me && event.delivered === 1n);
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.equal(isTold(), false, "it is not kept yet");
  keeps!();
  await until(isTold, "it is acknowledged");
  await tina.close();
  const fails = server.client("tina", 1, { store });
  const before = listen(fails);
  fails.on((event) => {
    if (event.type === "message") throw new Error("this is a test: the application fails");
  });
  await fails.start();
  await sven.send({ user: "tina" }, "once more");
  await until(() => texts(before).length === 1, "it is told");
  await fails.close();
  const again = server.client("tina", 1, { store });
  const after = listen(again);
  await again.start();
  await until(() => texts(after).length === 1, "it is told again");
  assert.deepEqual(texts(after), ["once more"]);
  await assert.rejects(fails.send({ user: "sven" }, "too late"), /closed/);
  await Promise.all([sven.close(), again.close()]);
});

test("groups, edits, withdrawals, reactions, typing, a message that grows, history", options, async () => {
  const [erin, frank] = [server.client("erin"), server.client("frank")];
  const atFrank = listen(frank);
  await Promise.all([erin.start(), frank.start()]);
  const group = await erin.createGroup("friends", ["frank"]);
  const { seq } = await erin.send({ conversation: group }, "helo");
  await erin.edit(group, seq, "hello");
  await until(() => texts(atFrank).includes("hello"), "frank got the edit");
  await frank.react(group, seq, "+1");
  const wrong = await erin.send({ conversation: group }, "wrong room");
  await erin.erase(group, wrong.seq);
  await assert.rejects(frank.edit(group, seq, "not mine"), { name: "Refused", code: "NOT_ALLOWED" });
  erin.typing(group);
  await until(() => atFrank.some((event) => event.type === "typing" && event.user === erin.me && event.doing === 1), "frank sees that erin types");
  const stream = erin.openStream({ conversation: group });
  await stream.opened;
  for (const word of ["it ", "grows ", "while ", "it ", "is ", "written"]) {
    stream.write(word);
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
  await until(() => atFrank.some((event) => event.type === "grew" && event.text === "it grows while it is written"), "frank sees it grow");
  await stream.end();
  await until(() => messages(atFrank).some(({ control }) => control === CONTROL.end), "frank has its end");
  const controls = messages(atFrank).map(({ control }) => control);
  assert.deepEqual(controls, [1, 0, 10, 12, 0, 11, 14, 15].filter((control) => control !== CONTROL.react));
  const page = await frank.history(group, 0n, 3);
  assert.deepEqual(page.messages.map(({ control }) => control), [CONTROL.erase, CONTROL.open, CONTROL.end]);
  assert.equal(page.messages[1]!.text, "it grows while it is written", "what has ended says what it says");
  const { title, members } = await frank.describe(group);
  assert.deepEqual([title, members.map(({ user }) => user).sort()], ["friends", [erin.me, frank.me].sort()]);
  await erin.rename(group, "best friends");
  await erin.addMembers(group, ["gina"]);
  await until(() => messages(atFrank).some(({ control, text }) => control === CONTROL.add && text === "gina"), "frank reads whom erin added");
  const { title: renamed, current, settings, isLarge } = await frank.describe(group);
  assert.deepEqual([renamed, current, settings.add, isLarge], ["best friends", 3, 2, false]);
  await frank.forget(group, seq, seq);
  await until(() => atFrank.some((event) => event.type === "forgotten" && event.ranges[0]?.[0] === seq), "frank is told what it forgot");
  await erin.deleteGroup(group);
  await until(() => messages(atFrank).some(({ control }) => control === CONTROL.delete), "the group is gone");
  assert.deepEqual((await erin.devices()).map(({ device }) => device), [1]);
  await Promise.all([erin.close(), frank.close()]);
});

test("an administrator lists and revokes somebody's devices, and nobody else does", options, async () => {
  const [ops, hank, ida] = [server.client("ops", 1, { token: server.token("ops", 3600, "--admin") }), server.client("hank"), server.client("ida")];
  const [atOps, atHank, atIda] = [ops, hank, ida].map(listen) as [Event[], Event[], Event[]];
  await Promise.all([ops.start(), hank.start(), ida.start()]);
  await until(() => [atOps, atHank, atIda].every((events) => events.some((event) => event.type === "connected")), "all are there");
  assert.deepEqual((await ops.devices("hank")).map(({ device }) => device), [1]);
  await assert.rejects(ida.revoke("all", "hank"), { name: "Refused", code: "NOT_ALLOWED" });
  assert.deepEqual(await ops.revoke("all", "hank"), []);
  await until(() => atHank.some((event) => event.type === "rejected" && event.error.code === "DEVICE_REVOKED"), "hank is out");
  await Promise.all([ops.close(), ida.close()]);
});

test("a token is renewed before it ends, and a wrong one is refused for good", options, async () => {
  let asked = 0;
  const gina = server.client("gina", 1, {
    token: () => {
      asked += 1;
      return server.token("gina", 3);
    },
  });
  const events = listen(gina);
  await gina.start();
  await until(() => asked >= 3, "it asked for new tokens");
  await gina.send({ user: "alice" }, "still here");
  assert.equal(events.filter(({ type }) => type === "connected").length, 1, "on one connection");
  await gina.close();
  const mallory = server.client("mallory", 1, { token: "nonsense" });
  const told = listen(mallory);
  await mallory.start();
  await until(() => told.some((event) => event.type === "rejected" && event.error.code === "TOKEN_INVALID"), "it is told why");
  await mallory.close();
});

test("a device that comes late is given the last messages alone, and the rest when it asks", options, async () => {
  const [hugo, iris] = [server.client("hugo"), server.client("iris", 7, { history: 5 })];
  await hugo.start();
  const sent = await Promise.all(Array.from({ length: 200 }, (_, at) => hugo.send({ user: "iris" }, String(at))));
  const events = listen(iris);
  await iris.start();
  await until(() => events.some(({ type }) => type === "synced"), "it is synced");
  assert.deepEqual(texts(events), ["195", "196", "197", "198", "199"]);
  const page = await iris.history(iris.conversationOf({ user: "hugo" }), sent.at(-6)!.seq, 50);
  assert.deepEqual(page.messages.map(({ text }) => text), Array.from({ length: 50 }, (_, at) => String(145 + at)));
  await Promise.all([hugo.close(), iris.close()]);
});
