/** What a session is made with, and what it tells. */

import type { Conversation } from "./changed.js";
import type { Refused } from "./errors.js";
import type { ConversationId, UserId } from "./ids.js";
import type { Message } from "./message.js";
import type { Outgoing } from "./outbox.js";

/** What the application is told. */
export type Event =
  | { readonly type: "connected"; readonly user: UserId }
  | { readonly type: "disconnected" }
  /** The server's history is another (it was restored): what was told of conversations means nothing there, and numbers may be those of other messages. */
  | { readonly type: "lineage" }
  /** The server does not want this device, and trying again the same way will not help. */
  | { readonly type: "rejected"; readonly error: Refused }
  /** Everything that had changed was told. */
  | { readonly type: "synced" }
  | { readonly type: "message"; readonly message: Message }
  | { readonly type: "sent"; readonly message: Outgoing; readonly seq: bigint; readonly ts: bigint; readonly ordinal: bigint }
  | { readonly type: "sendFailed"; readonly message: Outgoing; readonly error: Refused }
  /** Messages that cannot be had any more. */
  | { readonly type: "lost"; readonly conversation: ConversationId; readonly first: bigint; readonly last: bigint }
  /** What the list of conversations says of one. */
  | { readonly type: "conversation"; readonly conversation: Conversation }
  /** So many messages the user has not seen. */
  | { readonly type: "unread"; readonly conversation: ConversationId; readonly count: number }
  /** The user wants something else of a conversation, or (zeros) of its account: also on another device. */
  | { readonly type: "setting"; readonly conversation: ConversationId; readonly key: number; readonly value: bigint; readonly peer: UserId }
  /** What the user wants of its account: whether what it reads is told to nobody, and who is told whether it is there (0 everybody, 1 those it has written to, 2 nobody). */
  | { readonly type: "preferences"; readonly readPrivate: boolean; readonly visibility: number }
  /** The user does not want to see these any more: also on another device. */
  | { readonly type: "forgotten"; readonly conversation: ConversationId; readonly ranges: readonly (readonly [first: bigint, last: bigint])[] }
  | { readonly type: "receipt"; readonly conversation: ConversationId; readonly member: UserId; readonly delivered: bigint; readonly read: bigint }
  | { readonly type: "typing"; readonly conversation: ConversationId; readonly user: UserId; readonly doing: number }
  | { readonly type: "presence"; readonly user: UserId; readonly state: number; readonly lastSeen: bigint }
  /** What a message says so far that is still being written. */
  | { readonly type: "grew"; readonly conversation: ConversationId; readonly seq: bigint; readonly text: string }
  /** Somebody lacks what an own message says that is being written. */
  | { readonly type: "wanted"; readonly conversation: ConversationId; readonly seq: bigint; readonly offset: number }
  /** A piece of an own message was refused; from when on it may be said again. */
  | { readonly type: "pieceRefused"; readonly conversation: ConversationId; readonly until: number }
  | { readonly type: "tokenNeeded" };

/** Settings of a session. */
export interface SessionOptions {
  /** The user that the token must be of. */
  readonly user: UserId;
  readonly device: number;
  readonly deviceName?: string;
  /** How many messages of each conversation a device is given that begins to know it; all of them by default. */
  readonly history?: number;
}

/** What is wanted of the past. */
export interface Page {
  readonly messages: Message[];
  /** What it holds: all that can be had from here on, up to what was asked for. */
  readonly from: bigint;
  /** The first number that is stored. */
  readonly oldest: bigint;
  readonly head: bigint;
}
