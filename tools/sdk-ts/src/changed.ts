/** The entries of CHANGED, DESCRIBED and DEVICE_LIST. */

import { text, toHex } from "./bytes.js";
import { ProtocolError, type FrameOf } from "./frames.js";
import type { ConversationId, UserId } from "./ids.js";

/** One conversation as its list tells it. */
export interface Conversation {
  readonly conversation: ConversationId;
  /** One to one: the other user; zeros: a group. */
  readonly peer: string;
  readonly head: bigint;
  readonly delivered: bigint;
  readonly read: bigint;
  readonly peerDelivered: bigint;
  readonly peerRead: bigint;
  readonly ordinal: bigint;
  readonly seen: bigint;
  readonly hidden: bigint;
  readonly name: string;
  readonly mutedUntil: bigint;
  readonly pinned: bigint;
  readonly archived: boolean;
  readonly cleared: bigint;
  readonly blocked: boolean;
  readonly forgotten: number;
}

/** One member of a conversation. */
export interface Member {
  readonly user: UserId;
  readonly role: number;
  readonly joined: bigint;
  readonly left: bigint;
  readonly delivered: bigint;
  readonly read: bigint;
}

/** What a conversation is. */
export interface Description {
  readonly title: string;
  readonly members: readonly Member[];
  /** How many are members now. */
  readonly current: number;
  readonly isLarge: boolean;
  readonly hasLink: boolean;
  /** Seconds after which messages disappear; 0: they stay. */
  readonly timer: number;
  /** The least role that may write, add members, and change the group; and whether new members read only what comes after them. */
  readonly settings: { readonly write: number; readonly add: number; readonly edit: number; readonly history: number };
  /** The message that deleted the group; 0: it is there. */
  readonly deleted: bigint;
}

/** One device of the user. */
export interface Device {
  readonly device: number;
  readonly flags: number;
  readonly since: bigint;
  readonly seen: bigint;
  readonly name: string;
}

/** Each of `count` entries of the same length; what an older server does not send reads as zero. */
function* each(entries: Uint8Array, count: number, length: number, known: number, least: number): Generator<DataView> {
  if (count > 0 && length < least) throw new ProtocolError("the entries of a list are too short");
  if (count * length > entries.length) throw new ProtocolError("the entries of a list do not fit");
  for (let at = 0; at < count; at++) {
    const entry = new Uint8Array(Math.max(known, length));
    entry.set(entries.subarray(at * length, (at + 1) * length));
    yield new DataView(entry.buffer);
  }
}

const id = (view: DataView, at: number): string => toHex(new Uint8Array(view.buffer, at, 16));

/** The conversations of a list. */
export function conversationsOf(changed: FrameOf<"changed">): Conversation[] {
  const found: Conversation[] = [];
  let names = changed.names;
  for (const view of each(changed.entries, changed.count, changed.entryLen, 128, 72)) {
    const u64 = (at: number): bigint => view.getBigUint64(at, true);
    const length = view.getUint16(96, true);
    found.push({
      conversation: id(view, 0), peer: id(view, 16), head: u64(32), delivered: u64(40), read: u64(48), peerDelivered: u64(56), peerRead: u64(64),
      ordinal: u64(72), seen: u64(80), hidden: u64(88), name: text(names.subarray(0, length)), mutedUntil: u64(98), pinned: u64(106),
      archived: view.getUint8(114) !== 0, cleared: u64(115), blocked: view.getUint8(123) !== 0, forgotten: view.getUint32(124, true),
    });
    names = names.subarray(length);
  }
  return found;
}

/** The members of a part of a conversation. */
export function membersOf(described: FrameOf<"described">): Member[] {
  const members = each(described.entries, described.count, described.entryLen, 49, 49);
  return Array.from(members, (view) => {
    const u64 = (at: number): bigint => view.getBigUint64(at, true);
    return { user: id(view, 0), role: view.getUint8(16), joined: u64(17), left: u64(25), delivered: u64(33), read: u64(41) };
  });
}

/** The ranges of FORGOTTEN. */
export function rangesOf(forgotten: FrameOf<"forgotten">): [bigint, bigint][] {
  const { ranges } = forgotten;
  if (ranges.length % 16 !== 0) throw new ProtocolError("the ranges of what is forgotten do not fit");
  const view = new DataView(ranges.buffer, ranges.byteOffset, ranges.length);
  return Array.from({ length: ranges.length / 16 }, (_, at) => [view.getBigUint64(at * 16, true), view.getBigUint64(at * 16 + 8, true)]);
}

/** The user's devices. */
export function devicesOf(list: FrameOf<"deviceList">): Device[] {
  let names = list.names;
  return Array.from(each(list.entries, list.count, list.entryLen, 22, 22), (view) => {
    const length = view.getUint8(21);
    const name = text(names.subarray(0, length));
    names = names.subarray(length);
    return { device: view.getUint32(0, true), flags: view.getUint8(4), since: view.getBigUint64(5, true), seen: view.getBigUint64(13, true), name };
  });
}
