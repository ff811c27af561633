/**
 * Payloads that travel compressed: their length (u32) and one LZ4 block (https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md). The server has looked
 * at what it passes on; all the same nothing that does not fit is believed.
 */

import { PAYLOAD_MAX, ProtocolError } from "./frames.js";

/** Shorter payloads are not worth it. */
const PACK_MIN = 256;
/** A block ends with so many literals, and no match begins in its last bytes. */
const TAIL = 5;
const LAST_MATCH = 12;
const MATCH_MIN = 4;
const OFFSET_MAX = 65_535;
const TABLE_BITS = 12;

/** A payload packed; `undefined` if that does not make it shorter. */
export function pack(payload: Uint8Array): Uint8Array | undefined {
  if (payload.length < PACK_MIN || payload.length > PAYLOAD_MAX) return undefined;
  const out = new Uint8Array(payload.length);
  new DataView(out.buffer).setUint32(0, payload.length, true);
  let at = 4;
  const table = new Int32Array(1 << TABLE_BITS).fill(-1);
  const word = (from: number): number => payload[from]! | (payload[from + 1]! << 8) | (payload[from + 2]! << 16) | (payload[from + 3]! << 24);
  /** Literals from `from` to `to`, and a match of a length at a distance; 0: none. Whether there is room. */
  const put = (from: number, to: number, length: number, distance: number): boolean => {
    const [literals, more] = [to - from, Math.max(length - MATCH_MIN, 0)];
    if (at + 1 + literals + literals / 255 + 2 + more / 255 + 2 > out.length) return false;
    out[at++] = (Math.min(literals, 15) << 4) | (length > 0 ? Math.min(more, 15) : 0);
    const rest = (value: number): void => {
      for (value -= 15; value >= 255; value -= 255) out[at++] = 255;
      out[at++] = value;
    };
    if (literals >= 15) rest(literals);
    out.set(payload.subarray(from, to), at);
    at += literals;
    if (length === 0) return true;
    out[at++] = distance & 255;
    out[at++] = distance >> 8;
    if (more >= 15) rest(more);
    return true;
  };
  let [anchor, position] = [0, 0];
  while (position + LAST_MATCH <= payload.length) {
    const here = word(position);
    const slot = Math.imul(here, -1_640_531_535) >>> (32 - TABLE_BITS);
    const before = table[slot]!;
    table[slot] = position;
    if (before < 0 || position - before > OFFSET_MAX || word(before) !== here) {
      position += 1;
      continue;
    }
    let length = MATCH_MIN;
    while (position + length < payload.length - TAIL && payload[before + length] === payload[position + length]) length += 1;
    if (!put(anchor, position, length, position - before)) return undefined;
    position += length;
    anchor = position;
  }
  return put(anchor, payload.length, 0, 0) && at < payload.length ? out.slice(0, at) : undefined;
}

/** What a packed payload says. Throws a ProtocolError if it is none, or says more than a payload may. */
export function unpack(packed: Uint8Array): Uint8Array {
  const wrong = (): never => {
    throw new ProtocolError("a payload is not packed as its flag says");
  };
  if (packed.length < 5) wrong();
  const length = new DataView(packed.buffer, packed.byteOffset).getUint32(0, true);
  if (length > PAYLOAD_MAX || length <= packed.length) wrong();
  const out = new Uint8Array(length);
  let [from, to] = [4, 0];
  const rest = (value: number): number => {
    if (value < 15) return value;
    for (;;) {
      const more = packed[from++] ?? wrong();
      value += more;
      if (more < 255 || value > length) return value;
    }
  };
  while (from < packed.length) {
    const token = packed[from++]!;
    const literals = rest(token >> 4);
    if (from + literals > packed.length || to + literals > length) wrong();
    out.set(packed.subarray(from, from + literals), to);
    [from, to] = [from + literals, to + literals];
    if (from === packed.length) break;
    const distance = packed[from]! | ((packed[from + 1] ?? wrong()) << 8);
    from += 2;
    const match = rest(token & 15) + MATCH_MIN;
    if (distance === 0 || distance > to || to + match > length) wrong();
    // It may overlap what it makes.
    for (const end = to + match; to < end; to++) out[to] = out[to - distance]!;
  }
  return to === length ? out : wrong();
}
