/** Bytes: joining, comparing, and ids as text. */

const TEXT = new TextEncoder();
const DECODER = new TextDecoder();

/** UTF-8. */
export const utf8 = (text: string): Uint8Array => TEXT.encode(text);
/** Text of UTF-8; what is not is replaced. */
export const text = (bytes: Uint8Array): string => DECODER.decode(bytes);

/** One behind the other. */
export const concat = (...parts: readonly Uint8Array[]): Uint8Array => join(parts);

/** One behind the other, however many there are. */
export function join(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Hexadecimal digits. */
export function toHex(bytes: Uint8Array): string {
  let digits = "";
  for (const byte of bytes) digits += byte.toString(16).padStart(2, "0");
  return digits;
}

/** The bytes of hexadecimal digits. Throws a RangeError for anything else. */
export function fromHex(digits: string): Uint8Array {
  if (!/^([0-9a-f]{2})*$/i.test(digits)) throw new RangeError(`${digits} is not hexadecimal`);
  return Uint8Array.from({ length: digits.length / 2 }, (_, at) => parseInt(digits.slice(2 * at, 2 * at + 2), 16));
}

/** Less than 0, 0 or more than 0, as byte strings compare. */
export function compare(a: Uint8Array, b: Uint8Array): number {
  for (let at = 0; at < Math.min(a.length, b.length); at++) {
    if (a[at] !== b[at]) return a[at]! - b[at]!;
  }
  return a.length - b.length;
}

/** A little-endian u16. */
export const u16 = (value: number): Uint8Array => Uint8Array.of(value & 255, (value >> 8) & 255);

/** A little-endian u32. */
export function u32(value: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(4));
  view.setUint32(0, value, true);
  return new Uint8Array(view.buffer);
}
