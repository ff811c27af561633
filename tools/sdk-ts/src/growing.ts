/** Messages that others are writing: what they say so far, piece by piece. */

import { concat, text } from "./bytes.js";
import { crc32c } from "./crc32c.js";
import { ProtocolError, type FrameOf } from "./frames.js";
import type { ConversationId } from "./ids.js";

/** What was lost of one is asked for at most so often: what is on its way comes. */
const ASK_MS = 1_000;

/** What a piece did: the text is longer now, or something before it is missing, which is to be asked for from there. */
export type Grew = { readonly text: string } | { readonly missing: number } | undefined;

/** All that are being written. */
export class Growing {
  private readonly said = new Map<string, Uint8Array>();
  private readonly askAt = new Map<string, number>();

  /** A piece. Throws a ProtocolError if it was harmed. */
  take({ conversation, seq, offset, bytes, crc }: FrameOf<"fragment">, now: number): Grew {
    if (crc32c(bytes) !== crc) throw new ProtocolError(`a piece of message ${seq} was harmed`);
    const key = `${conversation}/${seq}`;
    const known = this.said.get(key) ?? new Uint8Array();
    if (offset > known.length) {
      if ((this.askAt.get(key) ?? 0) > now) return undefined;
      this.askAt.set(key, now + ASK_MS);
      return { missing: known.length };
    }
    if (offset + bytes.length <= known.length) return undefined;
    const grown = concat(known.subarray(0, offset), bytes);
    this.said.set(key, grown);
    return { text: text(grown) };
  }

  /** It is written, or withdrawn. */
  end(conversation: ConversationId, seq: bigint): void {
    const key = `${conversation}/${seq}`;
    this.said.delete(key);
    this.askAt.delete(key);
  }

  /** Nothing of it means anything any more. */
  clear(): void {
    this.said.clear();
    this.askAt.clear();
  }
}
