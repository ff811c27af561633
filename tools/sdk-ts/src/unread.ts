/** How many messages of a conversation its user has not seen: counted here as the server counts, so that both say the same. */

import { CONTROL, FLAG, hasContent, namesUser, type Message } from "./message.js";
import type { ConversationId, UserId } from "./ids.js";

/** What was released: a message, or one that this session wrote. */
export interface Released {
  readonly conversation: ConversationId;
  readonly seq: bigint;
  /** 0: it answers a repeat, and nobody said when and how many. */
  readonly ts: bigint;
  readonly ordinal: bigint;
  readonly control: number;
  readonly message?: Message;
}

/** The count of one conversation. */
export class Unread {
  /** Messages with content that are known to exist, and how many of them the user has read, written, or was not there for. */
  ordinal = 0n;
  seen = 0n;
  /** Messages with content up to the last one released, if that is known. */
  private counted: bigint | undefined;
  /** The user wrote since, and the server did not say whether that counts. */
  private wroteUncounted = false;

  get count(): number {
    return this.ordinal > this.seen ? Number(this.ordinal - this.seen) : 0;
  }

  /** The server says so. */
  hear(ordinal: bigint, seen: bigint): void {
    if (ordinal > this.ordinal) this.ordinal = ordinal;
    if (seen > this.seen) this.seen = seen;
  }

  /** The next message, of which this is known; `readUpto`: what the user has read. */
  release({ seq, ts, ordinal, control, message }: Released, me: UserId, readUpto: bigint): void {
    const counts = hasContent(control) && ((message?.flags ?? 0) & FLAG.withheld) === 0;
    const isOwn = message === undefined || message.sender === me;
    let told = ordinal;
    if (ordinal > 0n || ts > 0n) {
      // Since the last whose ordinal was told all content is the user's.
      if (this.wroteUncounted) this.hear(0n, counts && !isOwn ? ordinal - 1n : ordinal);
      [this.wroteUncounted, this.counted] = [false, ordinal];
    } else {
      // What was written may be withheld, and not count.
      const before = seq === 1n ? 0n : this.counted;
      this.wroteUncounted ||= counts;
      if (counts) this.hear(0n, before ?? 0n);
      told = counts ? 0n : (before ?? 0n);
      this.counted = counts ? undefined : before;
    }
    this.hear(told, 0n);
    const takesIn = message !== undefined && ((control === CONTROL.add && namesUser(message.body, me)) || (control === CONTROL.join && isOwn));
    if (seq <= readUpto || (counts && isOwn) || takesIn) this.hear(0n, told);
  }

  /** Messages were passed over. */
  pass(): void {
    [this.counted, this.wroteUncounted] = [undefined, false];
  }
}
