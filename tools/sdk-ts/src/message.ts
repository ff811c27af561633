/** A message as the application sees it, and what messages do. */

import { text, toHex } from "./bytes.js";
import { crc32c } from "./crc32c.js";
import { encode, ProtocolError, type FrameOf } from "./frames.js";
import { NONE, type ConversationId, type UserId } from "./ids.js";
import type { Outgoing } from "./outbox.js";
import { pack, unpack } from "./packed.js";

/** Whether payloads travel packed on a connection. */
export type Packs = "packs" | "does not";

/** What a message does besides having a place in its conversation. */
export const CONTROL = {
  text: 0, create: 1, add: 2, remove: 3, leave: 4, role: 5, settings: 6, delete: 7, link: 8, join: 9, edit: 10, erase: 11, react: 12, timer: 13, open: 14, end: 15,
} as const;

/** Flags of a message: plain, so that it may be compressed on the way; and what the server sets. */
export const FLAG = { compressible: 8, large: 16, emptied: 32, withheld: 64, forgotten: 128, ended: 256, aborted: 512, packed: 1024 } as const;

/** True of what people say to each other. */
export const hasContent = (control: number): boolean => control === CONTROL.text || control === CONTROL.open;

/** True if a list of users, as ADD has it, names one. */
export function namesUser(body: Uint8Array, user: UserId): boolean {
  for (let at = 2; at + 16 <= body.length; at += 16) if (toHex(body.subarray(at, at + 16)) === user) return true;
  return false;
}

/** A message. */
export interface Message {
  readonly conversation: ConversationId;
  readonly seq: bigint;
  /** When the server took it, in microseconds since 1970. */
  readonly ts: bigint;
  readonly sender: UserId;
  readonly senderName: string;
  readonly senderDevice: number;
  /** One to one: who did not write it; else zeros. */
  readonly peer: string;
  readonly clientMsgId: bigint;
  readonly control: number;
  /** The message that this one is about, or answers; 0: none. */
  readonly target: bigint;
  /** How many messages with content there are up to and including this one. */
  readonly ordinal: bigint;
  readonly flags: number;
  readonly expiresAt: bigint;
  readonly payload: Uint8Array;
  readonly body: Uint8Array;
  /** The payload as text. */
  readonly text: string;
}

/** A frame as a message, of a server that looks at packed payloads or not. Throws a ProtocolError if a checksum does not match. */
export function messageOf(frame: FrameOf<"message">, packs: Packs): Message {
  if (crc32c(frame.payload, crc32c(frame.body)) !== frame.payloadCrc) {
    throw new ProtocolError(`the body or the payload of message ${frame.seq} was harmed`);
  }
  if (frame.clearCrc !== 0 && crc32c(frame.body, crc32c(frame.senderName)) !== frame.clearCrc) {
    throw new ProtocolError(`the name or the body of message ${frame.seq} was harmed`);
  }
  const { conversation, seq, ts, sender, senderDevice, peer, clientMsgId, control, target, ordinal, expiresAt, body } = frame;
  const isPacked = packs === "packs" && (frame.flags & FLAG.packed) !== 0;
  const [payload, flags] = isPacked ? [unpack(frame.payload), frame.flags & ~FLAG.packed] : [frame.payload, frame.flags];
  return {
    conversation, seq, ts, sender, senderName: text(frame.senderName), senderDevice, peer, clientMsgId, control, target, ordinal, flags, expiresAt,
    payload, body, text: text(payload),
  };
}

/** A message as a frame; packed, if it may be, gets shorter by it, and the server takes it so. */
export function frameOf(request: bigint, message: Outgoing, prev: bigint, packs: Packs): Uint8Array {
  const { conversation, peer, clientMsgId, control, target, body, expiresAt } = message;
  const mayBePacked = packs === "packs" && (message.flags & FLAG.compressible) !== 0 && (control === CONTROL.text || control === CONTROL.edit);
  const packed = mayBePacked ? pack(message.payload) : undefined;
  const [payload, flags] = packed ? [packed, message.flags | FLAG.packed] : [message.payload, message.flags];
  const payloadCrc = crc32c(payload, crc32c(body));
  return encode("send", request, { conversation, peer, clientMsgId, prev, expiresAt, trace: NONE, flags, payloadCrc, payload, control, target, body });
}
