/** Conversations of which the user does not want to see everything: which messages those are is asked for where this device did not hear of it. */

import type { ConversationId } from "./ids.js";

/** Questions under way. */
const ASKED_MAX = 8;

/** What is to be asked. */
export class Forgetting {
  /** When; never: it was asked. */
  private readonly at = new Map<ConversationId, number>();

  /** There is more than this device heard of. */
  ask(conversation: ConversationId): void {
    this.at.set(conversation, 0);
  }

  /** It was answered. */
  answered(conversation: ConversationId): void {
    if (this.at.get(conversation) === Infinity) this.at.delete(conversation);
  }

  /** It was refused, until then. Whether it was asked at all. */
  refused(conversation: ConversationId, until: number): boolean {
    const asked = this.at.get(conversation) === Infinity;
    if (asked) this.at.set(conversation, until);
    return asked;
  }

  /** What was asked on an earlier connection was not answered. */
  connected(): void {
    for (const conversation of this.at.keys()) this.at.set(conversation, 0);
  }

  clear(): void {
    this.at.clear();
  }

  /** What is to be asked now: a few at a time, an answer makes room for the next. */
  take(now: number): ConversationId[] {
    const due = this.first().filter(([, at]) => at <= now);
    for (const [conversation] of due) this.at.set(conversation, Infinity);
    return due.map(([conversation]) => conversation);
  }

  /** When there is something to ask. */
  next(): number {
    return Math.min(Infinity, ...this.first().map(([, at]) => at));
  }

  private first(): [ConversationId, number][] {
    const found: [ConversationId, number][] = [];
    for (const entry of this.at) {
      if (found.length === ASKED_MAX) break;
      found.push(entry);
    }
    return found;
  }
}
