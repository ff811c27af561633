/** The session against a server that is played: order, gaps, repeats, refusals, receipts. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Backoff } from "../src/backoff.js";
import { concat, fromHex, utf8 } from "../src/bytes.js";
import { crc32c } from "../src/crc32c.js";
import { decode, encode, wholeFrame, type Fixed, type Frame, type FrameOf, type KindName } from "../src/frames.js";
import { directConversation, NONE, userId } from "../src/ids.js";
import { Order } from "../src/order.js";
import type { Event } from "../src/events.js";
import { Session } from "../src/session.js";

const [alice, bob] = [userId("alice"), userId("bob")];
const chat = directConversation(alice, bob);
const LINEAGE = "03".repeat(16);

/** A session, and the server that it talks to. */
class Played {
  readonly session: Session;
  now = 1000;

  constructor(options: { history?: number } = {}) {
    this.session = new Session({ user: alice, device: 1, ...options });
  }

  /** What the session says. */
  said(): Frame[] {
    const frames: Frame[] = [];
    let bytes = this.session.takeOutput() ?? new Uint8Array();
    for (let length = wholeFrame(bytes); length; length = wholeFrame(bytes)) {
      frames.push(decode(bytes.subarray(0, length))!);
      bytes = bytes.subarray(length);
    }
    return frames;
  }

  saidOf<K extends KindName>(kind: K): FrameOf<K>[] {
    return this.said().filter((frame) => frame.kind === kind) as FrameOf<K>[];
  }

  tell<K extends KindName>(kind: K, requestId: bigint, values: Fixed<K>): void {
    this.session.received(encode(kind, requestId, values), this.now);
  }

  events(): Event[] {
    return this.session.takeEvents();
  }

  /** Connects: HELLO, WELCOME, RESUME, and an empty list. What was said besides. */
  connect(uv = 5n): Frame[] {
    this.session.connected("token", 7n, this.now);
    const [hello] = this.said();
    assert.ok(hello?.kind === "hello" && hello.user === alice);
    this.welcome();
    const said = this.said();
    const resume = said.find((frame) => frame.kind === "resume");
    assert.ok(resume);
    this.tell("changed", resume.requestId, { status: 0, lineage: LINEAGE, uv, next: 0n, count: 0, entryLen: 128, entries: new Uint8Array(), settings: 0, names: new Uint8Array() });
    return said;
  }

  welcome(window = 64): void {
    this.tell("welcome", 1n, {
      version: 1, idleTimeoutS: 90, frameMax: 73_728, payloadMax: 65_536, window, user: alice, device: 1, lineage: LINEAGE, session: 1n, serverTime: 1n,
      redirect: new Uint8Array(), tokenUntil: 0n, capabilities: 2n,
    });
  }

  push(seq: bigint, text: string, requestId = 0n): void {
    const [payload, senderName] = [utf8(text), utf8("bob")];
    this.tell("message", requestId, {
      conversation: chat, seq, ts: seq, sender: bob, peer: alice, senderDevice: 1, flags: 0, clientMsgId: seq, expiresAt: 0n, trace: NONE, payloadCrc: crc32c(payload),
      senderName, payload, control: 0, target: 0n, ordinal: seq, body: new Uint8Array(), clearCrc: crc32c(senderName),
    });
  }

  texts(): string[] {
    return this.events().flatMap((event) => (event.type === "message" ? [event.message.text] : []));
  }

  post(text: string): bigint {
    const message = this.session.message({ conversation: chat, peer: bob }, { payload: utf8(text) }, 0n);
    this.session.post(message, this.now);
    return message.clientMsgId;
  }
}

test("an order releases each number once, and in order", () => {
  const order = new Order<{ seq: bigint }>();
  assert.deepEqual(order.put({ seq: 3n }), []);
  assert.deepEqual(order.gap(), { first: 1n, last: 2n });
  assert.deepEqual(order.put({ seq: 1n }).map(({ seq }) => seq), [1n]);
  assert.deepEqual(order.put({ seq: 1n }), []);
  assert.deepEqual(order.put({ seq: 2n }).map(({ seq }) => seq), [2n, 3n]);
  assert.equal(order.gap(), undefined);
  order.put({ seq: 7n });
  assert.deepEqual(order.skipTo(6n).map(({ seq }) => seq), [7n]);
});

test("messages are released once and in order, and what is missing is fetched", () => {
  const played = new Played();
  played.connect();
  assert.deepEqual(played.events().map(({ type }) => type), ["connected", "preferences", "synced"]);
  played.push(1n, "one");
  played.push(1n, "one");
  played.push(4n, "four");
  assert.deepEqual(played.texts(), ["one"]);
  const [fetch] = played.saidOf("fetch");
  assert.ok(fetch);
  assert.deepEqual([fetch.from, fetch.upto], [2n, 3n]);
  played.push(2n, "two", fetch.requestId);
  played.push(3n, "three", fetch.requestId);
  played.tell("fetched", fetch.requestId, { conversation: chat, first: 2n, last: 3n, head: 4n, oldest: 1n, from: 2n, upto: 3n, damaged: 0n });
  assert.deepEqual(played.texts(), ["two", "three", "four"]);
});

test("what cannot be had any more is told, and what is after it comes", () => {
  const played = new Played();
  played.connect();
  played.push(5n, "five");
  const [fetch] = played.saidOf("fetch");
  played.push(3n, "three", fetch!.requestId);
  played.tell("fetched", fetch!.requestId, { conversation: chat, first: 3n, last: 3n, head: 5n, oldest: 3n, from: 1n, upto: 4n, damaged: 0n });
  const told = played.events().filter(({ type }) => type === "lost" || type === "message");
  assert.deepEqual(told.map((event) => (event.type === "lost" ? [event.first, event.last] : event.type === "message" ? event.message.text : "")), [[1n, 2n], "three", [4n, 4n], "five"]);
});

test("a device that begins to know a conversation may want the last messages alone", () => {
  const played = new Played({ history: 2 });
  played.connect();
  played.push(100n, "hundred");
  assert.deepEqual(played.saidOf("fetch").map(({ from, upto }) => [from, upto]), [[98n, 99n]]);
});

test("unsent messages are repeated after a reconnect, oldest first, and once", () => {
  const played = new Played();
  const ids = ["one", "two", "three"].map((text) => played.post(text));
  const sends = played.connect().filter((frame) => frame.kind === "send");
  assert.deepEqual(sends.map(({ clientMsgId, prev }) => [clientMsgId, prev]), [[ids[0], 0n], [ids[1], ids[0]], [ids[2], ids[1]]]);
  played.tell("sent", sends[0]!.requestId, { conversation: chat, clientMsgId: ids[0]!, seq: 1n, ts: 1n, ordinal: 1n });
  played.session.disconnected();
  const again = played.connect().filter((frame) => frame.kind === "send");
  assert.deepEqual(again.map(({ clientMsgId, prev }) => [clientMsgId, prev]), [[ids[1], 0n], [ids[2], ids[1]]]);
  assert.equal(again[0]!.payloadCrc, crc32c(utf8("two")));
});

test("after a refusal all is sent again in order once what is in flight was answered, and after the time that was said", () => {
  const played = new Played();
  played.connect();
  played.said();
  const ids = ["one", "two"].map((text) => played.post(text));
  const [first, second] = played.saidOf("send");
  const refuse = (requestId: bigint, code: number, highest: bigint): void =>
    played.tell("error", requestId, { code, retry: 1, ofKind: 3, retryAfterMs: 50, conversation: chat, clientMsgId: 0n, highest, text: new Uint8Array() });
  refuse(first!.requestId, 60, 0n);
  played.now += 60;
  played.session.tick(played.now);
  assert.deepEqual(played.saidOf("send"), [], "the other one is still in flight");
  refuse(second!.requestId, 44, 0n);
  assert.ok(played.session.nextTick() <= played.now + 50);
  played.now += 50;
  played.session.tick(played.now);
  // One at first, and more with each that is taken.
  const [again] = played.saidOf("send");
  assert.deepEqual([again!.clientMsgId, again!.prev], [ids[0], 0n]);
  played.tell("sent", again!.requestId, { conversation: chat, clientMsgId: ids[0]!, seq: 1n, ts: 1n, ordinal: 1n });
  assert.deepEqual(played.saidOf("send").map(({ clientMsgId, prev }) => [clientMsgId, prev]), [[ids[1], ids[0]]]);
});

test("what cannot be sent is refused before it stands in the way", () => {
  const played = new Played();
  played.connect();
  played.said();
  const post = (payload: Uint8Array, more: object = {}): void => played.session.post(played.session.message({ conversation: chat, peer: bob, ...more }, { payload }, 0n), played.now);
  assert.throws(() => post(new Uint8Array(65_537)), { code: "PAYLOAD_TOO_LARGE" });
  assert.throws(() => post(utf8("x"), { conversation: "not an id" }), RangeError);
  post(new Uint8Array(65_536));
  assert.equal(played.saidOf("send").length, 1);
});

test("a list that was refused for now is asked for again, and whether somebody looks is said on every connection", () => {
  const played = new Played();
  played.session.connected("token", 7n, played.now);
  played.said();
  played.welcome();
  const [resume] = played.saidOf("resume");
  const refuse = (requestId: bigint, ofKind: number): void =>
    played.tell("error", requestId, { code: 61, retry: 1, ofKind, retryAfterMs: 500, conversation: NONE, clientMsgId: 0n, highest: 0n, text: new Uint8Array() });
  refuse(resume!.requestId, 10);
  assert.deepEqual(played.saidOf("resume"), []);
  assert.ok(played.session.nextTick() <= played.now + 500);
  played.now += 500;
  played.session.tick(played.now);
  assert.equal(played.saidOf("resume").length, 1);
  played.session.setActive(false);
  assert.deepEqual(played.saidOf("activity").map(({ activity }) => activity), [0]);
  played.session.disconnected();
  const said = played.connect();
  assert.equal(said.filter(({ kind }) => kind === "activity").length, 1);
});

test("what another device acknowledged this one says, too", () => {
  const played = new Played();
  played.connect();
  played.push(1n, "one");
  played.tell("receiptOk", 0n, { conversation: chat, delivered: 1n, read: 0n, uv: 6n, seen: 0n });
  played.said();
  played.session.stored(played.session.saved(), played.now);
  assert.deepEqual(played.saidOf("delivered").map(({ upto }) => upto), [1n], "the server waits for each device");
  played.session.disconnected();
  const said = played.connect();
  assert.deepEqual(said.filter(({ kind }) => kind === "delivered"), [], "what is known for good is not said again");
});

test("another history begins anew", () => {
  const played = new Played();
  played.session.restore({ lineage: "07".repeat(16), uv: 50n, lastMsgId: 1n, conversations: new Map([[chat, { last: 500n, acknowledged: 500n, read: 0n, readOrdinal: 0n, readKnown: 0n }]]) }, []);
  const said = played.connect();
  assert.deepEqual(said.flatMap((frame) => (frame.kind === "resume" ? [frame.uv] : [])), [0n]);
  played.push(1n, "one");
  assert.deepEqual(played.texts(), ["one"]);
});

test("names of messages rise above what the server knows", () => {
  const played = new Played();
  played.connect();
  played.said();
  const id = played.post("behind");
  const [send] = played.saidOf("send");
  played.tell("error", send!.requestId, { code: 45, retry: 0, ofKind: 3, retryAfterMs: 0, conversation: chat, clientMsgId: id, highest: 1_000_000n, text: new Uint8Array() });
  assert.ok(played.post("ahead") > 1_000_000n);
});

test("a long queue to one holds up nobody else", () => {
  const played = new Played();
  played.connect();
  played.said();
  const other = directConversation(alice, userId("carol"));
  for (let at = 0; at < 20_000; at++) played.session.outbox.push(played.session.message({ conversation: chat }, { payload: utf8("x") }, 0n));
  played.session.post(played.session.message({ conversation: other }, { payload: utf8("to carol") }, 0n), played.now);
  const sends = played.saidOf("send");
  assert.equal(sends.length, 64);
  assert.equal(sends.filter(({ conversation }) => conversation === other).length, 1);
});

test("a message that is refused for good is given up, and those behind it go on", () => {
  const played = new Played();
  played.connect();
  played.said();
  const ids = ["one", "two"].map((text) => played.post(text));
  const [first, second] = played.saidOf("send");
  played.tell("error", first!.requestId, { code: 41, retry: 0, ofKind: 3, retryAfterMs: 0, conversation: chat, clientMsgId: ids[0]!, highest: 0n, text: utf8("no") });
  played.tell("error", second!.requestId, { code: 44, retry: 1, ofKind: 3, retryAfterMs: 0, conversation: chat, clientMsgId: ids[1]!, highest: 0n, text: new Uint8Array() });
  const failed = played.events().filter(({ type }) => type === "sendFailed");
  assert.deepEqual(failed.map((event) => event.type === "sendFailed" && [event.message.clientMsgId, event.error.code]), [[ids[0], "BAD_PEER"]]);
  played.now += 1000;
  played.session.tick(played.now);
  assert.deepEqual(played.saidOf("send").map(({ clientMsgId, prev }) => [clientMsgId, prev]), [[ids[1], 0n]]);
});

test("no more is in flight than the window", () => {
  const played = new Played();
  played.session.connected("token", 7n, played.now);
  played.said();
  played.welcome(10);
  for (let at = 0; at < 100; at++) played.post(String(at));
  const sends = played.saidOf("send");
  assert.equal(sends.length, 10, "the server's");
  played.tell("sent", sends[0]!.requestId, { conversation: chat, clientMsgId: sends[0]!.clientMsgId, seq: 1n, ts: 1n, ordinal: 1n });
  assert.equal(played.saidOf("send").length, 1);
  played.session.disconnected();
  played.session.connected("token", 7n, played.now);
  played.said();
  played.welcome(512);
  assert.equal(played.saidOf("send").length, 64, "and a conversation's");
});

test("what was stored is acknowledged, until that is durable", () => {
  const played = new Played();
  played.connect();
  played.push(1n, "one");
  played.push(2n, "two");
  assert.deepEqual(played.saidOf("delivered"), [], "nothing was stored");
  assert.ok(played.session.takeDirty());
  played.session.stored(played.session.saved(), played.now);
  assert.deepEqual(played.saidOf("delivered").map(({ upto }) => upto), [2n]);
  played.now += 5000;
  played.session.tick(played.now);
  assert.deepEqual(played.saidOf("delivered").map(({ upto }) => upto), [2n], "said again");
  played.tell("receiptOk", 0n, { conversation: chat, delivered: 2n, read: 0n, uv: 9n, seen: 0n });
  played.session.read(chat, 2n, 2n, played.now);
  played.now += 20_000;
  played.session.tick(played.now);
  const said = played.said();
  assert.deepEqual(said.filter(({ kind }) => kind === "delivered"), []);
  assert.ok(said.some((frame) => frame.kind === "read" && frame.upto === 2n && frame.ordinal === 2n));
});

test("a cursor is kept once there are no gaps, and state comes back after a restart", () => {
  const played = new Played();
  played.connect(8n);
  assert.equal(played.session.saved().uv, 8n);
  played.push(2n, "two");
  played.tell("pong", 9n, { opaque: 0n, uv: 12n, serverTime: 0n });
  assert.equal(played.session.saved().uv, 8n, "message 1 is missing");
  const later = new Played();
  later.session.restore({ ...played.session.saved(), conversations: new Map([[chat, { last: 2n, acknowledged: 2n, read: 1n, readOrdinal: 1n, readKnown: 1n }]]) }, []);
  later.connect(8n);
  later.push(2n, "two");
  later.push(3n, "three");
  assert.deepEqual(later.texts(), ["three"]);
});

test("a piece of a message that was lost is asked for", () => {
  const played = new Played();
  played.connect();
  played.said();
  const piece = (offset: number, text: string): void => played.tell("fragment", 0n, { conversation: chat, seq: 1n, offset, crc: crc32c(utf8(text)), bytes: utf8(text) });
  piece(0, "one ");
  piece(8, "three");
  assert.deepEqual(played.saidOf("more").map(({ offset }) => offset), [4]);
  piece(4, "two three");
  const grew = played.events().flatMap((event) => (event.type === "grew" ? [event.text] : []));
  assert.deepEqual(grew, ["one ", "one two three"]);
});

/** One entry of a list: a conversation with bob. */
function entry(head: bigint, ordinal: bigint, seen: bigint, forgotten = 0): Uint8Array {
  const bytes = new Uint8Array(128);
  const view = new DataView(bytes.buffer);
  bytes.set(fromHex(chat), 0);
  bytes.set(fromHex(bob), 16);
  [32, 72, 80].forEach((at, index) => view.setBigUint64(at, [head, ordinal, seen][index]!, true));
  view.setUint32(124, forgotten, true);
  return bytes;
}

const list = (entries: Uint8Array, next: bigint): Fixed<"changed"> =>
  ({ status: 0, lineage: LINEAGE, uv: 5n, next, count: entries.length / 128, entryLen: 128, entries, settings: 1 + 2 * 2, names: new Uint8Array() });

test("unread falls by reading and by writing, here and on other devices", () => {
  const played = new Played();
  played.connect();
  const unread = (): number | undefined => played.events().filter((event) => event.type === "unread").at(-1)?.count;
  for (const seq of [1n, 2n, 3n]) played.push(seq, "text");
  assert.equal(unread(), 3);
  played.session.read(chat, 2n, 2n, played.now);
  assert.equal(unread(), 1);
  assert.deepEqual(played.saidOf("read").map(({ ordinal }) => ordinal), [2n]);
  const id = played.post("mine");
  const { requestId } = played.saidOf("send")[0]!;
  // It answers a repeat, and does not say which message of those with content it is: the fourth, since three came before it.
  played.tell("sent", requestId, { conversation: chat, clientMsgId: id, seq: 4n, ts: 0n, ordinal: 0n });
  assert.equal(unread(), 0);
  played.push(5n, "more");
  played.push(6n, "more");
  assert.equal(unread(), 2);
  played.tell("receiptOk", 0n, { conversation: chat, delivered: 6n, read: 5n, uv: 0n, seen: 5n });
  assert.equal(unread(), 1);
  const later = new Played();
  later.session.restore(played.session.saved(), []);
  later.connect();
  later.push(7n, "more");
  assert.equal(later.events().filter((event) => event.type === "unread").at(-1)?.count, 2, "it is kept");
  later.session.read(chat, 7n, 0n, later.now);
  assert.deepEqual(later.saidOf("read").map(({ ordinal }) => ordinal), [7n], "the last of all is counted as such");
});

test("a list that is cut short while another is taken is asked for after it", () => {
  const played = new Played();
  played.session.connected("token", 7n, played.now);
  played.welcome();
  const [first] = played.saidOf("resume");
  played.tell("changed", first!.requestId, list(entry(1n, 1n, 0n), 400n));
  const [second] = played.saidOf("resume");
  assert.equal(second!.below, 400n);
  // What changes meanwhile is told, and that not all of it.
  played.tell("changed", 0n, list(entry(2n, 2n, 0n), 300n));
  assert.deepEqual(played.saidOf("resume"), [], "one list at a time");
  played.tell("changed", second!.requestId, list(new Uint8Array(), 0n));
  assert.deepEqual(played.saidOf("resume").map(({ below }) => below), [0n]);
});

test("what the user wants is told, also when it says so on another device", () => {
  const played = new Played();
  played.connect();
  played.session.takeEvents();
  played.tell("setting", 0n, { conversation: chat, key: 3, value: 9n, peer: NONE });
  played.tell("changed", 0n, list(entry(1n, 1n, 0n), 0n));
  const told = played.events().filter(({ type }) => type === "setting" || type === "preferences");
  assert.deepEqual(told, [{ type: "setting", conversation: chat, key: 3, value: 9n, peer: NONE }, { type: "preferences", readPrivate: true, visibility: 2 }]);
});

test("what is forgotten is told, and asked for where this device did not hear of it", () => {
  const played = new Played();
  played.connect();
  const ranges = (...all: [bigint, bigint][]): Uint8Array => {
    const view = new DataView(new ArrayBuffer(16 * all.length));
    all.flat().forEach((value, at) => view.setBigUint64(8 * at, value, true));
    return new Uint8Array(view.buffer);
  };
  const told = (): unknown[] => played.events().flatMap((event) => (event.type === "forgotten" ? event.ranges : []));
  played.tell("changed", 0n, list(entry(9n, 9n, 9n, 2), 0n));
  const [asked] = played.saidOf("forget");
  assert.deepEqual([asked?.first, asked?.last], [0n, 0n]);
  played.tell("forgotten", asked!.requestId, { conversation: chat, changes: 2, ranges: ranges([1n, 2n], [4n, 4n]) });
  assert.deepEqual(told(), [[1n, 2n], [4n, 4n]]);
  played.tell("forgotten", 0n, { conversation: chat, changes: 3, ranges: ranges([6n, 6n]) });
  assert.deepEqual(told(), [[6n, 6n]]);
  assert.deepEqual(played.saidOf("forget"), []);
  played.tell("forgotten", 0n, { conversation: chat, changes: 5, ranges: ranges([8n, 8n]) });
  assert.deepEqual(told(), [[8n, 8n]]);
  assert.equal(played.saidOf("forget").length, 1, "the fourth was missed");
});

test("delays grow, stay bounded, differ, and begin anew", () => {
  const longest = new Backoff(() => 1);
  const delays = Array.from({ length: 12 }, () => longest.next());
  assert.deepEqual(delays.slice(0, 4), [50, 100, 200, 400]);
  assert.equal(Math.max(...delays), 10_000);
  assert.equal(longest.next(500), 10_500, "what the server asks for comes on top");
  longest.reset();
  assert.equal(longest.next(), 50);
  const random = new Backoff();
  assert.equal(new Set(Array.from({ length: 8 }, () => random.next())).size, 8);
});

test("nonsense ends the connection, and silence is noticed", () => {
  const played = new Played();
  played.connect();
  assert.equal(played.session.isDead(played.now + 89_000), false);
  assert.equal(played.session.isDead(played.now + 91_000), true);
  assert.throws(() => played.session.received(concat(Uint8Array.of(3, 0, 0, 0), new Uint8Array(20)), played.now));
});
