/** CRC-32C (Castagnoli), as frames and payloads carry it. */

const TABLE = new Uint32Array(256).map((_, at) => {
  let value = at;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  return value >>> 0;
});

/** The checksum of `bytes`; `before` is that of what is in front of them. */
export function crc32c(bytes: Uint8Array, before = 0): number {
  let value = ~before >>> 0;
  for (const byte of bytes) value = (TABLE[(value ^ byte) & 255]! ^ (value >>> 8)) >>> 0;
  return ~value >>> 0;
}
