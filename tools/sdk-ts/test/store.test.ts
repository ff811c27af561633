/** What is kept is there again: in memory and in a browser's database. */

import "fake-indexeddb/auto";

import assert from "node:assert/strict";
import { test } from "node:test";

import { utf8 } from "../src/bytes.js";
import { NONE } from "../src/ids.js";
import { IndexedDbStore } from "../src/indexeddb.js";
import type { Outgoing } from "../src/outbox.js";
import { MemoryStore, type Saved, type Store } from "../src/store.js";

const message = (clientMsgId: bigint): Outgoing => ({
  conversation: "aa".repeat(16), peer: NONE, clientMsgId, payload: utf8(`message ${clientMsgId}`), control: 0, target: 0n, body: new Uint8Array(), flags: 0, expiresAt: 0n,
});
const saved: Saved = { lineage: "03".repeat(16), uv: 2n ** 60n, lastMsgId: 9n, conversations: new Map([["aa".repeat(16), { last: 5n, acknowledged: 5n, read: 4n, readOrdinal: 3n, readKnown: 4n }]]) };

async function check(store: Store, again: () => Promise<Store>): Promise<void> {
  assert.equal(await store.load(), undefined);
  await store.save(saved);
  // Not in the order of their digits.
  for (const id of [100n, 9n, 10n ** 18n]) await store.put(message(id));
  await store.remove(message(100n));
  const later = await again();
  assert.deepEqual(await later.load(), saved);
  assert.deepEqual(await later.outbox(), [message(9n), message(10n ** 18n)]);
}

test("in memory", async () => {
  const store = new MemoryStore();
  await check(store, async () => store);
});

test("in a browser's database, over a reload", async () => {
  const store = await IndexedDbStore.open("alice/1");
  await check(store, async () => {
    store.close();
    return IndexedDbStore.open("alice/1");
  });
});
