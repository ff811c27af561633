/** What a device keeps between two starts: how far it is, and what it has not sent. */

import type { ConversationId } from "./ids.js";
import type { Outgoing } from "./outbox.js";

/** How far a device is in one conversation. */
export interface SavedConversation {
  /** The last number that the application was given, and up to which that is acknowledged for good. */
  readonly last: bigint;
  readonly acknowledged: bigint;
  /** How far the user has read, and the ordinal of that. */
  readonly read: bigint;
  readonly readOrdinal: bigint;
  /** How far that is known for good. */
  readonly readKnown: bigint;
  /** Messages with content that are known to exist, and how many of them the user has seen. */
  readonly ordinal?: bigint;
  readonly seen?: bigint;
}

/** How far a device is. */
export interface Saved {
  readonly lineage: string;
  readonly uv: bigint;
  readonly lastMsgId: bigint;
  readonly conversations: ReadonlyMap<ConversationId, SavedConversation>;
}

/** Where it is kept. Everything may be asynchronous; what was put is there once its promise is done. */
export interface Store {
  load(): Promise<Saved | undefined>;
  save(saved: Saved): Promise<void>;
  /** Messages that were not acknowledged, in the order of their ids. */
  outbox(): Promise<Outgoing[]>;
  put(message: Outgoing): Promise<void>;
  remove(message: Outgoing): Promise<void>;
}

/** Keeps it in memory: for a device of one stay. */
export class MemoryStore implements Store {
  private saved: Saved | undefined;
  private readonly waiting = new Map<bigint, Outgoing>();

  async load(): Promise<Saved | undefined> {
    return this.saved;
  }

  async save(saved: Saved): Promise<void> {
    this.saved = saved;
  }

  async outbox(): Promise<Outgoing[]> {
    return [...this.waiting.values()].sort((a, b) => (a.clientMsgId < b.clientMsgId ? -1 : 1));
  }

  async put(message: Outgoing): Promise<void> {
    this.waiting.set(message.clientMsgId, message);
  }

  async remove(message: Outgoing): Promise<void> {
    this.waiting.delete(message.clientMsgId);
  }
}
