/** The golden vectors of the protocol: every frame is read and written again byte for byte, and the ids come out. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { concat, fromHex, text, toHex, utf8 } from "../src/bytes.js";
import { conversationsOf, devicesOf, membersOf } from "../src/changed.js";
import { crc32c } from "../src/crc32c.js";
import { decode, encode, KINDS, ProtocolError, wholeFrame, type Fixed, type Frame, type KindName } from "../src/frames.js";
import { directConversation, groupId, linkDigest, NONE, userId } from "../src/ids.js";
import { messageOf } from "../src/message.js";
import { pack, unpack } from "../src/packed.js";

const lines = readFileSync(new URL("../../../../docs/vectors/frames.txt", import.meta.url), "utf8").trim().split("\n");
const vectors = new Map(lines.map((line) => line.split(" ") as [string, string]));
const older = readFileSync(new URL("../../../../docs/vectors/older.txt", import.meta.url), "utf8").trim().split("\n");

const [alice, bob] = [userId("alice"), userId("bob")];
const group = groupId(alice, new Uint8Array(16).fill(9));

function frame(name: string): Frame {
  const read = decode(fromHex(vectors.get(name)!));
  assert.ok(read, name);
  return read;
}

function again({ kind, requestId, ...values }: Frame): string {
  return toHex(encode(kind as KindName, requestId, values as unknown as Fixed<KindName>));
}

test("ids come out as the vectors have them", () => {
  assert.equal(alice, vectors.get("user/alice"));
  assert.equal(bob, vectors.get("user/bob"));
  assert.equal(directConversation(bob, alice), vectors.get("conversation/alice-bob"));
  assert.equal(group, vectors.get("group/alice-09"));
  assert.equal(toHex(linkDigest(group, new Uint8Array(16).fill(8))), vectors.get("link/alice-09"));
  assert.equal(crc32c(utf8("123456789")), 0xe3069283);
  assert.equal(crc32c(utf8("6789"), crc32c(utf8("12345"))), 0xe3069283);
});

test("every frame is read and written again as it was", () => {
  const frames = [...vectors.keys()].filter((name) => /^[A-Z_]+$/.test(name));
  assert.ok(frames.length >= 35);
  const seen = new Set<string>();
  for (const name of frames) {
    const read = frame(name);
    seen.add(read.kind);
    assert.equal(again(read), vectors.get(name), name);
  }
  assert.deepEqual([...seen].sort(), Object.keys(KINDS).sort(), "there is a vector of every kind");
});

test("frames of older sizes are understood", () => {
  for (const line of older) {
    const [name, digits] = line.split(" ") as [string, string];
    if (/^[A-Z_]+/.test(name)) assert.ok(decode(fromHex(digits)), name);
  }
});

test("what is in lists comes out", () => {
  const changed = frame("CHANGED");
  assert.ok(changed.kind === "changed");
  assert.deepEqual(conversationsOf(changed), [
    {
      conversation: directConversation(alice, bob), peer: bob, head: 5n, delivered: 4n, read: 3n, peerDelivered: 2n, peerRead: 1n, ordinal: 4n, seen: 2n, hidden: 3n,
      name: "bob", mutedUntil: 1_700_000_900_000_000n, pinned: 2n, archived: true, cleared: 1n, blocked: true, forgotten: 6,
    },
  ]);
  const described = frame("DESCRIBED");
  assert.ok(described.kind === "described");
  assert.deepEqual(membersOf(described).map(({ user, role, left }) => [user, role, left]), [[alice, 3, 0n], [bob, 0, 4n]]);
  assert.equal(text(described.title), "friends");
  const devices = frame("DEVICE_LIST");
  assert.ok(devices.kind === "deviceList");
  assert.deepEqual(devicesOf(devices).map(({ device, name }) => [device, name]), [[7, "phone"], [2 ** 31, ""]]);
});

test("what is packed is unpacked, and what is not is refused", () => {
  const dull = utf8("all work and no play ".repeat(20));
  const vector = fromHex(vectors.get("packed/dull")!);
  assert.deepEqual(unpack(vector), dull);
  const [zeros, words] = [new Uint8Array(65_536), utf8("one two three four five six seven ".repeat(300).slice(0, 9_999))];
  for (const payload of [dull, zeros, words, new Uint8Array(300).map((_, at) => at * at)]) {
    const packed = pack(payload);
    if (packed) assert.ok(packed.length < payload.length);
    if (packed) assert.deepEqual(unpack(packed), payload);
  }
  assert.ok(pack(zeros)!.length < 400 && pack(words)!.length < 200);
  assert.equal(pack(dull.subarray(0, 255)), undefined);
  let state = 1;
  const noise = new Uint8Array(4096).map(() => (state = (state * 48_271) % 2_147_483_647) >> 8);
  assert.equal(pack(noise), undefined);
  const bomb = pack(zeros)!.slice();
  for (const length of [65_537, 0xffff_ffff, 1_000, 0]) {
    new DataView(bomb.buffer).setUint32(0, length, true);
    assert.throws(() => unpack(bomb), ProtocolError, `${length}`);
  }
  for (let at = 0; at < vector.length; at++) assert.throws(() => unpack(vector.subarray(0, at)), ProtocolError);
  for (let at = 4; at < vector.length; at++) {
    for (const byte of [0, 1, 0x1f, 0xf0, 0xff]) {
      const harmed = vector.slice();
      harmed[at] = byte;
      try {
        assert.equal(unpack(harmed).length, dull.length);
      } catch (error) {
        assert.ok(error instanceof ProtocolError, String(error));
      }
    }
  }
});

test("what was harmed is noticed wherever it was", () => {
  const bytes = fromHex(vectors.get("MESSAGE")!);
  const read = decode(bytes);
  assert.ok(read?.kind === "message");
  assert.equal(messageOf(read, "packs").text, "hi bob");
  for (let at = 4; at < bytes.length; at++) {
    const harmed = bytes.slice();
    harmed[at]! ^= 1;
    assert.throws(() => {
      const read = decode(harmed);
      // Flags of the header, its class and what is reserved are covered, too; an unknown kind would be skipped.
      assert.ok(read?.kind === "message");
      messageOf(read, "packs");
    }, ProtocolError, `byte ${at}`);
  }
});

test("frames are cut out of a stream wherever it is cut, and nonsense is refused", () => {
  const ping = encode("ping", 1n, { opaque: 5n });
  for (let at = 0; at < ping.length; at++) assert.equal(wholeFrame(ping.subarray(0, at)), undefined);
  assert.equal(wholeFrame(concat(ping, ping)), ping.length);
  assert.throws(() => wholeFrame(Uint8Array.of(1, 0, 0, 0)), ProtocolError);
  assert.throws(() => wholeFrame(Uint8Array.of(255, 255, 255, 255)), ProtocolError);
  assert.throws(() => encode("ping", 1n, { opaque: 1n << 64n }), RangeError);
  assert.throws(() => encode("ping", 1n, { opaque: -1n }), RangeError);
  assert.throws(() => encode("revoke", 1n, { device: 2 ** 32, user: NONE, flags: 0 }), RangeError);
  assert.throws(() => encode("revoke", 1n, { device: 0.5, user: NONE, flags: 0 }), RangeError);
});
