/**
 * What a device wants to say and the server has not acknowledged: in order in each conversation, each under an id that stays the same however often it is
 * sent, so that it becomes one message at most.
 */

import type { ConversationId } from "./ids.js";

/** A message on its way, as it is kept over a reload. */
export interface Outgoing {
  readonly conversation: ConversationId;
  /** One to one: the other user; else zeros. */
  readonly peer: string;
  readonly clientMsgId: bigint;
  readonly payload: Uint8Array;
  readonly control: number;
  readonly target: bigint;
  readonly body: Uint8Array;
  readonly flags: number;
  readonly expiresAt: bigint;
}

interface Waiting {
  readonly message: Outgoing;
  /** The request that it was sent with on this connection. */
  request?: bigint;
}

interface Chain {
  readonly waiting: Waiting[];
  /** The highest id that the server accepted, as far as this connection knows; 0: it does not know. */
  accepted: bigint;
  /** Something was refused for now: nothing more goes out before what is in flight is answered, and before this time. */
  restsUntil: number | undefined;
}

/** What goes out next: a message, and the one before it. */
export interface Next {
  readonly message: Outgoing;
  readonly prev: bigint;
}

/** All that waits. */
export class Outbox {
  private readonly chains = new Map<ConversationId, Chain>();
  private readonly byRequest = new Map<bigint, { chain: Chain; waiting: Waiting }>();

  /** Puts one at the end of its conversation. */
  push(message: Outgoing): void {
    this.chain(message.conversation).waiting.push({ message });
  }

  /** How many wait or are in flight. */
  get size(): number {
    let size = 0;
    for (const chain of this.chains.values()) size += chain.waiting.length;
    return size;
  }

  /** How many were sent and not answered. */
  get inFlight(): number {
    return this.byRequest.size;
  }

  /** The connection is gone: everything is to be sent again, the oldest first. */
  disconnected(): void {
    this.byRequest.clear();
    for (const chain of this.chains.values()) {
      chain.accepted = 0n;
      chain.restsUntil = undefined;
      for (const waiting of chain.waiting) delete waiting.request;
    }
  }

  /** What can be sent now, with at most `window` in flight; each under a request of its own. */
  *take(window: number, perConversation: number, now: number, request: () => bigint): Generator<Next & { request: bigint }> {
    for (const chain of this.chains.values()) {
      const inFlight = chain.waiting.filter((waiting) => waiting.request !== undefined).length;
      if (chain.restsUntil !== undefined) {
        if (inFlight > 0 || now < chain.restsUntil) continue;
        chain.restsUntil = undefined;
      }
      let prev = chain.accepted;
      let room = perConversation - inFlight;
      for (const waiting of chain.waiting) {
        if (waiting.request === undefined) {
          if (room <= 0 || this.byRequest.size >= window) break;
          room -= 1;
          waiting.request = request();
          this.byRequest.set(waiting.request, { chain, waiting });
          yield { message: waiting.message, prev, request: waiting.request };
        }
        prev = waiting.message.clientMsgId;
      }
    }
  }

  /** SENT: what it answers, if it is known. */
  sent(request: bigint): Outgoing | undefined {
    const found = this.byRequest.get(request);
    if (!found) return undefined;
    const { chain, waiting } = found;
    const id = waiting.message.clientMsgId;
    if (id > chain.accepted) chain.accepted = id;
    return this.remove(request);
  }

  /** ERROR that another attempt may get past: from the oldest on all is sent again after `until`. `highest` is the server's, or 0. */
  refusedForNow(request: bigint, highest: bigint, until: number): void {
    const found = this.byRequest.get(request);
    if (!found) return;
    this.byRequest.delete(request);
    delete found.waiting.request;
    if (highest > found.chain.accepted) found.chain.accepted = highest;
    found.chain.restsUntil = Math.max(found.chain.restsUntil ?? 0, until);
  }

  /** ERROR for good: it is given up, and what is behind it goes on. */
  refused(request: bigint, now: number): Outgoing | undefined {
    const found = this.byRequest.get(request);
    if (!found) return undefined;
    found.chain.restsUntil = Math.max(found.chain.restsUntil ?? 0, now);
    return this.remove(request);
  }

  /** When something that rests may go on. */
  nextTime(): number | undefined {
    let next: number | undefined;
    for (const { restsUntil, waiting } of this.chains.values()) {
      if (restsUntil !== undefined && waiting.length > 0) next = Math.min(next ?? restsUntil, restsUntil);
    }
    return next;
  }

  private remove(request: bigint): Outgoing | undefined {
    const found = this.byRequest.get(request);
    if (!found) return undefined;
    this.byRequest.delete(request);
    const { waiting } = found.chain;
    waiting.splice(waiting.indexOf(found.waiting), 1);
    return found.waiting.message;
  }

  private chain(conversation: ConversationId): Chain {
    let chain = this.chains.get(conversation);
    if (!chain) this.chains.set(conversation, (chain = { waiting: [], accepted: 0n, restsUntil: undefined }));
    return chain;
  }
}
