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

interface Chain {
  readonly waiting: Outgoing[];
  /** How many of the first of them were sent. */
  sent: number;
  /** How many of those were not answered. */
  inFlight: number;
  /** How many may be in flight: one after a refusal, and twice as many with each that is taken. */
  allowed: number;
  /** The highest id that the server accepted, as far as this connection knows; 0: it does not know. */
  accepted: bigint;
  /** Something was refused for now: nothing more goes out before what is in flight is answered, and before this time. */
  restsUntil: number | undefined;
}

/** What goes out next: a message, the one before it, and the request that it is sent with. */
export interface Next {
  readonly message: Outgoing;
  readonly prev: bigint;
  readonly request: bigint;
}

/** SENDs of one conversation without answer. */
const ALLOWED_MAX = 64;
/** Of each conversation in turn, so that a long one holds nobody up. */
const AT_A_TIME = 8;

/** All that waits. */
export class Outbox {
  private readonly chains = new Map<ConversationId, Chain>();
  /** Those of which something can be sent, or could be after a rest. */
  private readonly ready = new Set<Chain>();
  private readonly byRequest = new Map<bigint, { readonly chain: Chain; readonly message: Outgoing }>();
  private count = 0;

  /** Puts one at the end of its conversation. */
  push(message: Outgoing): void {
    const chain = this.chain(message.conversation);
    chain.waiting.push(message);
    this.ready.add(chain);
    this.count += 1;
  }

  /** How many wait or are in flight. */
  get size(): number {
    return this.count;
  }

  /** How many were sent and not answered. */
  get inFlight(): number {
    return this.byRequest.size;
  }

  /** The connection is gone: everything is to be sent again, the oldest first. */
  disconnected(): void {
    this.byRequest.clear();
    for (const chain of this.chains.values()) {
      Object.assign(chain, { sent: 0, inFlight: 0, allowed: ALLOWED_MAX, accepted: 0n, restsUntil: undefined });
      if (chain.waiting.length > 0) this.ready.add(chain);
    }
  }

  /** What can be sent now, with at most `window` in flight; each under a request of its own. */
  *take(window: number, now: number, request: () => bigint): Generator<Next> {
    for (let went = true; went; ) {
      went = false;
      for (const chain of this.ready) {
        if (chain.restsUntil !== undefined) {
          if (chain.inFlight > 0 || now < chain.restsUntil) continue;
          Object.assign(chain, { restsUntil: undefined, sent: 0, allowed: 1 });
        }
        for (let part = 0; part < AT_A_TIME && chain.inFlight < chain.allowed; part++) {
          if (this.byRequest.size >= window) return;
          const message = chain.waiting[chain.sent];
          if (!message) {
            this.ready.delete(chain);
            break;
          }
          const prev = chain.sent > 0 ? chain.waiting[chain.sent - 1]!.clientMsgId : chain.accepted;
          const next = { message, prev, request: request() };
          this.byRequest.set(next.request, { chain, message });
          chain.sent += 1;
          chain.inFlight += 1;
          went = true;
          yield next;
        }
      }
    }
  }

  /** SENT: what it answers, if it is known. */
  sent(request: bigint): Outgoing | undefined {
    const found = this.byRequest.get(request);
    if (!found) return undefined;
    const { chain, message } = found;
    if (message.clientMsgId > chain.accepted) chain.accepted = message.clientMsgId;
    chain.allowed = Math.min(2 * chain.allowed, ALLOWED_MAX);
    return this.remove(request);
  }

  /** ERROR that another attempt may get past: from the oldest on all is sent again after `until`. `highest` is the server's, or 0. */
  refusedForNow(request: bigint, highest: bigint, until: number): void {
    const found = this.byRequest.get(request);
    if (!found) return;
    const { chain } = found;
    this.byRequest.delete(request);
    chain.inFlight -= 1;
    if (highest > chain.accepted) chain.accepted = highest;
    chain.restsUntil = Math.max(chain.restsUntil ?? 0, until);
    this.ready.add(chain);
  }

  /** ERROR for good: it is given up, and what is behind it goes on. `highest` is the server's, or 0. */
  refused(request: bigint, highest: bigint, now: number): Outgoing | undefined {
    const chain = this.byRequest.get(request)?.chain;
    if (!chain) return undefined;
    if (highest > chain.accepted) chain.accepted = highest;
    chain.restsUntil = Math.max(chain.restsUntil ?? 0, now);
    return this.remove(request);
  }

  /** When something that rests may go on. */
  nextTime(): number {
    let next = Infinity;
    for (const { restsUntil, inFlight } of this.ready) if (restsUntil !== undefined && inFlight === 0) next = Math.min(next, restsUntil);
    return next;
  }

  private remove(request: bigint): Outgoing | undefined {
    const found = this.byRequest.get(request);
    if (!found) return undefined;
    const { chain, message } = found;
    this.byRequest.delete(request);
    const at = chain.waiting.indexOf(message);
    chain.waiting.splice(at, 1);
    if (at < chain.sent) chain.sent -= 1;
    chain.inFlight -= 1;
    this.count -= 1;
    if (chain.waiting.length > chain.sent || chain.restsUntil !== undefined) this.ready.add(chain);
    return message;
  }

  private chain(conversation: ConversationId): Chain {
    let chain = this.chains.get(conversation);
    if (!chain) {
      chain = { waiting: [], sent: 0, inFlight: 0, allowed: ALLOWED_MAX, accepted: 0n, restsUntil: undefined };
      this.chains.set(conversation, chain);
    }
    return chain;
  }
}
