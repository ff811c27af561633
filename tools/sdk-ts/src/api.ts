/** What an application gives a client and gets of it, besides its methods and events. */

import type { Event } from "./events.js";
import type { ConversationId } from "./ids.js";
import type { Store } from "./store.js";

/** What a client needs of a WebSocket: the browser's has it, and that of `ws`. */
export interface Socket {
  binaryType: string;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  send(bytes: Uint8Array): void;
  close(): void;
}

/** How a client is made. */
export interface ClientOptions {
  /** Where the server is: `wss://chat.example/v1`. */
  readonly url: string;
  /** The user's name. */
  readonly user: string;
  readonly tenant?: string;
  /** The device's number, below 2^31: one for each installation. From 2^31 up it is a guest that is forgotten after some time. */
  readonly device: number;
  /** What the user calls the device. */
  readonly deviceName?: string;
  /** A token, or where one comes from; it is asked again before one ends. */
  readonly token: string | (() => string | Promise<string>);
  /** Where state and unsent messages are kept; in memory by default. */
  readonly store?: Store;
  /** How many messages of each conversation a device is given that begins to know it; all by default. */
  readonly history?: number;
  /** Makes a WebSocket, where there is none by itself: `(url, protocol) => new WebSocket(url, protocol)` of `ws`. */
  readonly webSocket?: (url: string, protocol: string) => Socket;
}

/** What happened to a message. */
export interface Sent {
  readonly conversation: ConversationId;
  readonly seq: bigint;
  /** When the server took it, in microseconds since 1970; 0: it had taken it before. */
  readonly ts: bigint;
}

/** To whom: a user by name, or a conversation by id. */
export type To = { readonly user: string } | { readonly conversation: ConversationId };

/** A message that is being written. */
export interface Stream {
  /** Its number, once it has one. */
  readonly opened: Promise<Sent>;
  /** Says more. */
  write(text: string): void;
  /** Says no more: resolves once the whole message is durable. */
  end(): Promise<Sent>;
}

/** Is told what happens. A message is acknowledged once the promise is done that it gives back, if it gives one. */
export type Handler = (event: Event) => void | Promise<void>;

/** Roles in a group. */
export const ROLE = { member: 1, admin: 2, owner: 3 } as const;

/** Settings of a conversation, and the last two of the user (docs/protocol.md, SET). */
export const SETTING = { hidden: 1, muted: 3, archived: 4, pinned: 5, cleared: 6, blocked: 8, readPrivate: 2, visibility: 7 } as const;
