/**
 * Every kind of frame, as docs/protocol.md lays it out: a table says which fields the fixed part has, one function writes it and one reads it. Numbers
 * of 64 bits are `bigint`, ids hexadecimal text, spans the bytes that they point to.
 */

import { crc32c } from "./crc32c.js";
import { fromHex, toHex } from "./bytes.js";

/** Bytes that are no frame, or a frame that makes no sense. */
export class ProtocolError extends Error {
  override name = "ProtocolError";
}

export const VERSION = 1;
export const FRAME_MAX = 73_728;
export const PAYLOAD_MAX = 65_536;
/** SENDs without answer in one conversation. */
export const WINDOW = 64;
const HEADER = 24;
const FIXED_MAX = 512;

type Field = "u8" | "u16" | "u32" | "u64" | "id" | "span" | "bytes4";
type Value<F extends Field> = F extends "u8" | "u16" | "u32" ? number : F extends "u64" ? bigint : F extends "id" ? string : Uint8Array;

const SIZES: Record<Field, number> = { u8: 1, u16: 2, u32: 4, u64: 8, id: 16, span: 8, bytes4: 4 };

interface Layout {
  readonly kind: number;
  readonly class: number;
  readonly fields: Readonly<Record<string, Field>>;
  /** The highest value of a field that is a list of values. */
  readonly most?: Readonly<Record<string, number>>;
}

const layout = <const L extends Layout>(given: L): L => given;

/** The kinds, by name. */
export const KINDS = {
  hello: layout({ kind: 1, class: 0, fields: { versionMin: "u16", versionMax: "u16", device: "u32", user: "id", capabilities: "u64", token: "span", connectionNumber: "u64", deviceName: "span" } }),
  welcome: layout({ kind: 2, class: 0, fields: { version: "u16", idleTimeoutS: "u16", frameMax: "u32", payloadMax: "u32", window: "u32", user: "id", device: "u32", lineage: "id", session: "u64", serverTime: "u64", redirect: "span", tokenUntil: "u64", capabilities: "u64" } }),
  send: layout({ kind: 3, class: 1, fields: { conversation: "id", peer: "id", clientMsgId: "u64", prev: "u64", expiresAt: "u64", trace: "id", flags: "u32", payloadCrc: "u32", payload: "span", control: "u16", target: "u64", body: "span" } }),
  sent: layout({ kind: 4, class: 1, fields: { conversation: "id", clientMsgId: "u64", seq: "u64", ts: "u64", ordinal: "u64" } }),
  message: layout({ kind: 5, class: 1, fields: { conversation: "id", seq: "u64", ts: "u64", sender: "id", peer: "id", senderDevice: "u32", flags: "u32", clientMsgId: "u64", expiresAt: "u64", trace: "id", payloadCrc: "u32", senderName: "span", payload: "span", control: "u16", target: "u64", ordinal: "u64", body: "span", clearCrc: "u32" } }),
  delivered: layout({ kind: 6, class: 2, fields: { conversation: "id", upto: "u64" } }),
  read: layout({ kind: 7, class: 2, fields: { conversation: "id", upto: "u64", ordinal: "u64" } }),
  receipt: layout({ kind: 8, class: 2, fields: { conversation: "id", member: "id", delivered: "u64", read: "u64" } }),
  receiptOk: layout({ kind: 9, class: 2, fields: { conversation: "id", delivered: "u64", read: "u64", uv: "u64", seen: "u64" } }),
  resume: layout({ kind: 10, class: 0, fields: { lineage: "id", uv: "u64", below: "u64", page: "u32", tails: "u16", tail: "u16" } }),
  changed: layout({ kind: 11, class: 0, fields: { status: "u8", lineage: "id", uv: "u64", next: "u64", count: "u32", entryLen: "u32", entries: "span", settings: "u32", names: "span" }, most: { status: 2 } }),
  fetch: layout({ kind: 12, class: 0, fields: { conversation: "id", from: "u64", upto: "u64", limit: "u32", order: "u8" }, most: { order: 1 } }),
  fetched: layout({ kind: 13, class: 0, fields: { conversation: "id", first: "u64", last: "u64", head: "u64", oldest: "u64", from: "u64", upto: "u64", damaged: "u64" } }),
  ping: layout({ kind: 14, class: 0, fields: { opaque: "u64" } }),
  pong: layout({ kind: 15, class: 0, fields: { opaque: "u64", uv: "u64", serverTime: "u64" } }),
  bye: layout({ kind: 16, class: 0, fields: { reason: "u8", retryAfterMs: "u32" }, most: { reason: 1 } }),
  error: layout({ kind: 17, class: 0, fields: { code: "u16", retry: "u8", ofKind: "u8", retryAfterMs: "u32", conversation: "id", clientMsgId: "u64", highest: "u64", text: "span" }, most: { retry: 3 } }),
  reauth: layout({ kind: 18, class: 0, fields: { token: "span" } }),
  reauthOk: layout({ kind: 19, class: 0, fields: { tokenUntil: "u64" } }),
  describe: layout({ kind: 20, class: 0, fields: { conversation: "id", first: "u32", limit: "u32", counted: "u64" } }),
  described: layout({ kind: 21, class: 0, fields: { conversation: "id", head: "u64", settings: "bytes4", deleted: "u64", members: "u32", first: "u32", count: "u32", entryLen: "u32", title: "span", entries: "span", hasLink: "u8", isLarge: "u8", current: "u32", readers: "u32", timer: "u32" } }),
  set: layout({ kind: 22, class: 0, fields: { conversation: "id", key: "u16", value: "u64", peer: "id" } }),
  setting: layout({ kind: 23, class: 0, fields: { conversation: "id", key: "u16", value: "u64", peer: "id" } }),
  devices: layout({ kind: 24, class: 0, fields: { reserved: "u32", user: "id" } }),
  deviceList: layout({ kind: 25, class: 0, fields: { count: "u32", entryLen: "u32", entries: "span", names: "span" } }),
  revoke: layout({ kind: 26, class: 0, fields: { device: "u32", user: "id", flags: "u32" } }),
  syncDone: layout({ kind: 27, class: 0, fields: { tails: "u32" } }),
  typing: layout({ kind: 28, class: 3, fields: { conversation: "id", user: "id", doing: "u8" } }),
  watch: layout({ kind: 29, class: 3, fields: { conversation: "id", users: "span" } }),
  presence: layout({ kind: 30, class: 3, fields: { user: "id", state: "u8", lastSeen: "u64" }, most: { state: 2 } }),
  activity: layout({ kind: 31, class: 0, fields: { activity: "u8" }, most: { activity: 1 } }),
  forget: layout({ kind: 32, class: 0, fields: { conversation: "id", first: "u64", last: "u64" } }),
  forgotten: layout({ kind: 33, class: 0, fields: { conversation: "id", changes: "u32", ranges: "span" } }),
  fragment: layout({ kind: 34, class: 3, fields: { conversation: "id", seq: "u64", offset: "u32", crc: "u32", bytes: "span" } }),
  more: layout({ kind: 35, class: 3, fields: { conversation: "id", seq: "u64", offset: "u32" } }),
} as const;

export type KindName = keyof typeof KINDS;
type Fields<K extends KindName> = (typeof KINDS)[K]["fields"];
/** The fixed part of a kind. */
export type Fixed<K extends KindName> = { -readonly [F in keyof Fields<K>]: Value<Fields<K>[F] & Field> };
/** A frame. */
export type Frame = { [K in KindName]: { kind: K; requestId: bigint } & Fixed<K> }[KindName];
export type FrameOf<K extends KindName> = Extract<Frame, { kind: K }>;

const BY_NUMBER = new Map<number, KindName>(Object.entries(KINDS).map(([name, { kind }]) => [kind, name as KindName]));

const sizeOf = (fields: Readonly<Record<string, Field>>): number => Object.values(fields).reduce((size, field) => size + SIZES[field], 0);

/** Sizes of version 1: what is missing behind them reads as zero, or as nothing. */
const FIRST_SIZES: Partial<Record<KindName, number>> = {
  hello: 40, welcome: 76, send: 88, sent: 40, message: 124, read: 24, resume: 36, changed: 49, fetched: 48, described: 53, set: 26, setting: 26, receiptOk: 40, describe: 24,
};

function checksum(frame: Uint8Array, fixedEnd: number): number {
  return crc32c(frame.subarray(HEADER, fixedEnd), crc32c(frame.subarray(16, HEADER), crc32c(frame.subarray(0, 12))));
}

/** The bytes of a frame. Throws a RangeError for a number that does not fit. */
export function encode<K extends KindName>(kind: K, requestId: bigint, values: Fixed<K>): Uint8Array {
  const { kind: number, class: shed, fields }: Layout = KINDS[kind];
  const given = values as Record<string, number | bigint | string | Uint8Array>;
  const fixed = sizeOf(fields);
  let variable = 0;
  for (const [name, field] of Object.entries(fields)) if (field === "span") variable += (given[name] as Uint8Array).length;
  const length = HEADER + fixed + variable;
  const frame = new Uint8Array(length);
  const view = new DataView(frame.buffer);
  view.setUint32(0, length, true);
  view.setUint8(4, number);
  view.setUint8(5, VERSION);
  view.setUint8(8, shed);
  view.setUint16(10, fixed, true);
  view.setBigUint64(16, requestId, true);
  let at = HEADER;
  let behind = HEADER + fixed;
  for (const [name, field] of Object.entries(fields)) {
    const value = given[name]!;
    if (field === "u64") {
      if ((value as bigint) < 0n || (value as bigint) >> 64n) throw new RangeError(`${name} is ${value}`);
      view.setBigUint64(at, value as bigint, true);
    } else if (field === "id" || field === "bytes4") {
      const bytes = field === "id" ? fromHex(value as string) : (value as Uint8Array);
      if (bytes.length !== SIZES[field]) throw new RangeError(`${name} has ${bytes.length} bytes`);
      frame.set(bytes, at);
    } else if (field === "span") {
      const bytes = value as Uint8Array;
      view.setUint32(at, bytes.length ? behind : 0, true);
      view.setUint32(at + 4, bytes.length, true);
      frame.set(bytes, behind);
      behind += bytes.length;
    } else {
      const most = 2 ** (8 * SIZES[field]) - 1;
      if (!Number.isInteger(value) || (value as number) < 0 || (value as number) > most) throw new RangeError(`${name} is ${value}`);
      if (field === "u8") view.setUint8(at, value as number);
      if (field === "u16") view.setUint16(at, value as number, true);
      if (field === "u32") view.setUint32(at, value as number, true);
    }
    at += SIZES[field];
  }
  view.setUint32(12, checksum(frame, HEADER + fixed), true);
  return frame;
}

/** The length of the frame at the front of some bytes; `undefined` if it is not whole. */
export function wholeFrame(bytes: Uint8Array, frameMax: number = FRAME_MAX): number | undefined {
  if (bytes.length < 4) return undefined;
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  if (length < HEADER || length > frameMax) throw new ProtocolError(`a frame of ${length} bytes`);
  return bytes.length < length ? undefined : length;
}

/** Reads a whole frame; `undefined` if its kind is not known. */
export function decode(frame: Uint8Array): Frame | undefined {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  const fixed = view.getUint16(10, true);
  const end = HEADER + fixed;
  if (view.getUint32(0, true) !== frame.length || fixed > FIXED_MAX || end > frame.length) {
    throw new ProtocolError("the lengths of a frame do not fit");
  }
  if (view.getUint8(5) !== VERSION) throw new ProtocolError(`version ${view.getUint8(5)}`);
  if (view.getUint32(12, true) !== checksum(frame, end)) throw new ProtocolError("a frame was harmed: its checksum does not match");
  const kind = BY_NUMBER.get(view.getUint8(4));
  if (kind === undefined) return undefined;
  const { fields, most = {} }: Layout = KINDS[kind];
  if (fixed < (FIRST_SIZES[kind] ?? sizeOf(fields))) throw new ProtocolError(`the fixed part of ${kind} is too short`);
  const out: Record<string, unknown> = { kind, requestId: view.getBigUint64(16, true) };
  let at = HEADER;
  for (const [name, field] of Object.entries(fields)) {
    // What an older peer does not send reads as zero, or as nothing.
    out[name] = at + SIZES[field] > end ? empty(field) : read(frame, view, end, at, field);
    at += SIZES[field];
    const highest = most[name];
    if (highest !== undefined && (out[name] as number) > highest) throw new ProtocolError(`${out[name]} is no ${name} of ${kind}`);
  }
  return out as Frame;
}

function empty(field: Field): number | bigint | string | Uint8Array {
  if (field === "u64") return 0n;
  if (field === "id") return "0".repeat(32);
  if (field === "span") return new Uint8Array();
  return field === "bytes4" ? new Uint8Array(4) : 0;
}

function read(frame: Uint8Array, view: DataView, end: number, at: number, field: Field): number | bigint | string | Uint8Array {
  switch (field) {
    case "u8":
      return view.getUint8(at);
    case "u16":
      return view.getUint16(at, true);
    case "u32":
      return view.getUint32(at, true);
    case "u64":
      return view.getBigUint64(at, true);
    case "id":
      return toHex(frame.subarray(at, at + 16));
    case "bytes4":
      return frame.slice(at, at + 4);
    case "span": {
      const [offset, length] = [view.getUint32(at, true), view.getUint32(at + 4, true)];
      if (length === 0) return new Uint8Array();
      if (offset < end || offset + length > frame.length) throw new ProtocolError("a span points outside of its frame");
      return frame.slice(offset, offset + length);
    }
  }
}
