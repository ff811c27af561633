// What the page makes of messages, without a page.
import assert from "node:assert/strict";
import { test } from "node:test";
import { build } from "esbuild";

const entry = `export * from "./src/model/thread.js"; export * from "./src/model/tame.js"; export * from "./src/model/acts.js";
  export * from "./src/model/names.js"; export * from "./src/model/talk.js"; export { CONTROL, FLAG, userId, groupId } from "tidings";`;
const { outputFiles } = await build({ stdin: { contents: entry, resolveDir: ".", loader: "ts" }, bundle: true, format: "esm", write: false, logLevel: "error" });
const model = await import(`data:text/javascript;base64,${Buffer.from(outputFiles[0].text).toString("base64")}`);
const { Thread, Talk, Names, CONTROL, FLAG, tame, tameName, beginning, pieces, said, userId } = model;

const ALICE = userId("alice", "default");
const BOB = userId("bob", "default");

function message(seq, text, more = {}) {
  return {
    conversation: "c", seq: BigInt(seq), ts: 1_000_000n * BigInt(seq), sender: ALICE, senderName: "alice", senderDevice: 1, peer: BOB, clientMsgId: BigInt(seq), control: CONTROL.text,
    target: 0n, ordinal: BigInt(seq), flags: 0, expiresAt: 0n, payload: new Uint8Array(), body: new Uint8Array(), text, ...more,
  };
}

const about = (seq, control, target, text, more = {}) => message(seq, text, { control, target: BigInt(target), ...more });
const look = (thread, seq) => thread.look(thread.rows[thread.indexOf(seq)]);

test("what is said about a message stands at the message, in whatever order both are loaded", () => {
  const messages = [
    message(1, "first"), message(2, "secnd"), about(3, CONTROL.edit, 2, "second"), about(4, CONTROL.react, 1, "+", { sender: BOB }), about(5, CONTROL.react, 1, "-", { sender: BOB }),
    about(6, CONTROL.erase, 1, ""), about(7, CONTROL.edit, 2, "the second"), about(8, CONTROL.react, 2, "!", { sender: BOB }), about(9, CONTROL.react, 2, "?"), about(10, CONTROL.react, 2, ""),
  ];
  const check = (thread) => {
    assert.deepEqual(thread.rows.map(({ seq }) => seq), [1, 2]);
    assert.equal(look(thread, 1).kind, "gone");
    assert.equal(look(thread, 2).text, "the second");
    assert.ok(look(thread, 2).edited);
    assert.deepEqual([...look(thread, 2).reactions], [["!", [BOB]]]);
  };
  const once = new Thread();
  for (const one of messages) once.take([one]);
  check(once);
  const upward = new Thread();
  for (let at = messages.length; at > 0; at -= 3) upward.take(messages.slice(Math.max(0, at - 3), at));
  check(upward);
  upward.take(messages);
  check(upward);
  assert.deepEqual([upward.first, upward.last], [1, 10]);
});

test("an edit or a reaction that was withdrawn counts no more", () => {
  const thread = new Thread();
  thread.take([message(1, "one"), about(2, CONTROL.edit, 1, "two"), about(3, CONTROL.react, 1, "+", { sender: BOB })]);
  thread.take([about(4, CONTROL.erase, 2, ""), about(5, CONTROL.erase, 3, "")]);
  assert.equal(look(thread, 1).text, "one");
  assert.equal(look(thread, 1).reactions.size, 0);
});

test("a message grows until it ends, and then says what its end says", () => {
  const thread = new Thread();
  thread.take([message(1, "", { control: CONTROL.open })]);
  thread.grew(1, "it gr");
  assert.deepEqual([look(thread, 1).text, look(thread, 1).growing], ["it gr", true]);
  thread.take([about(2, CONTROL.end, 1, "it grew", { flags: FLAG.aborted })]);
  thread.grew(1, "late");
  assert.deepEqual([look(thread, 1).text, look(thread, 1).growing, look(thread, 1).brokenOff], ["it grew", false, true]);
  const later = new Thread();
  later.take([message(1, "it grew", { control: CONTROL.open, flags: FLAG.ended })]);
  assert.deepEqual([look(later, 1).text, look(later, 1).growing], ["it grew", false]);
});

test("what is unwanted, withheld or over is not shown", () => {
  const thread = new Thread();
  const soon = BigInt(Date.now() + 60_000) * 1000n;
  thread.take([message(1, "a"), message(2, "b", { flags: FLAG.withheld }), message(3, "c"), message(4, "d", { expiresAt: soon }), message(5, "e", { expiresAt: 1n }), message(6, "f")]);
  assert.deepEqual(thread.rows.map(({ seq }) => seq), [1, 3, 4, 6]);
  thread.forget([[3, 3]]);
  thread.clear(1);
  assert.deepEqual(thread.rows.map(({ seq }) => seq), [4, 6]);
  assert.ok(!thread.expire(Date.now()));
  assert.ok(thread.expire(Date.now() + 61_000));
  assert.deepEqual(thread.rows.map(({ seq }) => seq), [6]);
});

test("an own message has the ticks of all who were there when it was written", () => {
  const group = userId("x", "default").slice(0, -1) + "2";
  const talk = new Talk(group, undefined, ALICE);
  const member = (name, joined, role = 1) => ({ user: userId(name, "default"), role, joined: BigInt(joined), left: 0n, delivered: 0n, read: 0n });
  talk.described({ title: "t", members: [member("alice", 1, 3), member("bob", 1), member("carol", 5), member("dave", 1, 0)], current: 3, isLarge: false, hasLink: false, timer: 0, settings: { write: 1, add: 2, edit: 2, history: 0 }, deleted: 0n });
  assert.equal(talk.tick(4), "sent");
  talk.mark(BOB, 4, 0);
  assert.equal(talk.tick(4), "delivered");
  talk.mark(BOB, 0, 6);
  assert.equal(talk.tick(4), "read");
  assert.equal(talk.tick(6), "sent");
  assert.deepEqual(talk.readers(6), [1, 2]);
});

test("text of others cannot reverse, cover or fill the page", () => {
  assert.equal(tame("a\u202Eb\u0007c\r\nd\u2066"), "abc\nd");
  assert.equal(tame(`Z${"\u0300".repeat(1_000_000)}`).length, 9);
  assert.equal(tame("\u05E9\u05C1\u05B8\u05DC\u05D5\u05B9\u05DD").length, 7, "the points of real words stay");
  assert.equal(tameName("  a\n\u202Eb  "), "a b");
  assert.equal([...tameName("x".repeat(200))].length, 65);
  assert.equal(beginning("one\ntwo three", 7), "one two…");
  const started = performance.now();
  beginning("x".repeat(65_536), 80);
  tame(`${"\u0300".repeat(65_536)}`);
  pieces("http://".repeat(10_000));
  assert.ok(performance.now() - started < 1_000, "whatever it is, it takes no time");
});

test("links are links, and nothing else is", () => {
  assert.deepEqual(pieces("see https://a.example/b?c=d, or (http://e.example)."), [
    { text: "see " }, { text: "https://a.example/b?c=d", href: "https://a.example/b?c=d" }, { text: ", or (" }, { text: "http://e.example", href: "http://e.example/" }, { text: ")." },
  ]);
  for (const text of ["javascript:alert(1)", "data:text/html,x", "https://", "<a href=x>"]) assert.ok(pieces(text).every(({ href }) => href === undefined), text);
});

test("names are believed if the ids follow from them", () => {
  const names = new Names("default");
  names.hear("bob\nmallory", [BOB, ALICE]);
  names.hear("alice", []);
  assert.equal(names.of(BOB), "bob");
  assert.equal(names.of(ALICE), `user ${ALICE.slice(0, 8)}`);
  names.learn(ALICE, "al\u202Eice");
  assert.equal(names.of(ALICE), "alice");
});

test("acts are told in words", () => {
  const ids = (users) => Buffer.concat([Buffer.from([users.length, 0]), ...users.map((user) => Buffer.from(user, "hex"))]);
  const call = (user) => (user === BOB ? "bob" : "somebody");
  assert.equal(said(message(1, "", { control: CONTROL.add, body: new Uint8Array(ids([BOB])) }), call), "added bob");
  const seven = new Uint8Array(ids(Array(7).fill(BOB)));
  assert.equal(said(message(1, "", { control: CONTROL.remove, body: seven }), call), "removed bob, bob, bob, bob, bob and 2 more");
  assert.equal(said(message(1, "", { control: CONTROL.timer, body: Uint8Array.of(16, 14, 0, 0) }), call), "lets messages disappear after 1 hour");
  assert.equal(said(message(1, "", { control: CONTROL.add, body: Uint8Array.of(255) }), call), "added ", "nonsense harms nobody");
});
