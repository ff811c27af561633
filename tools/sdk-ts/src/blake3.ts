/**
 * BLAKE3 in `derive_key` mode, for contexts and inputs that fit in one chunk: ids are hashes of less than 200 bytes. More than 1,024
 * bytes is an error, never a wrong answer. The algorithm is that of the BLAKE3 paper, section 2.
 */

const CHUNK_MAX = 1024;
const BLOCK = 64;
const [CHUNK_START, CHUNK_END, ROOT, DERIVE_CONTEXT, DERIVE_MATERIAL] = [1, 2, 8, 32, 64] as const;
const IV = [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];
const PERMUTATION = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
const ROUNDS = 7;
const COLUMNS_AND_DIAGONALS = [
  [0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15],
  [0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14],
] as const;

function rotate(value: number, bits: number): number {
  return (value >>> bits) | (value << (32 - bits));
}

function compress(chain: readonly number[], block: Uint8Array, length: number, flags: number): number[] {
  const view = new DataView(block.buffer, block.byteOffset, BLOCK);
  let words = Array.from({ length: 16 }, (_, at) => view.getUint32(4 * at, true));
  const v = Int32Array.from([...chain, ...IV.slice(0, 4), 0, 0, length, flags]);
  for (let round = 0; round < ROUNDS; round++) {
    COLUMNS_AND_DIAGONALS.forEach(([a, b, c, d], at) => {
      for (const [word, first, second] of [[words[2 * at]!, 16, 12], [words[2 * at + 1]!, 8, 7]] as const) {
        v[a] = v[a]! + v[b]! + word;
        v[d] = rotate(v[d]! ^ v[a]!, first);
        v[c] = v[c]! + v[d]!;
        v[b] = rotate(v[b]! ^ v[c]!, second);
      }
    });
    words = PERMUTATION.map((from) => words[from]!);
  }
  return Array.from({ length: 8 }, (_, at) => v[at]! ^ v[at + 8]!);
}

function hash(key: readonly number[], data: Uint8Array, mode: number): number[] {
  if (data.length > CHUNK_MAX) throw new RangeError(`only inputs of up to ${CHUNK_MAX} bytes are supported`);
  let chain = [...key];
  const blocks = Math.max(1, Math.ceil(data.length / BLOCK));
  for (let at = 0; at < blocks; at++) {
    const piece = data.subarray(at * BLOCK, (at + 1) * BLOCK);
    const block = new Uint8Array(BLOCK);
    block.set(piece);
    const ends = (at === 0 ? CHUNK_START : 0) | (at === blocks - 1 ? CHUNK_END | ROOT : 0);
    chain = compress(chain, block, piece.length, mode | ends);
  }
  return chain;
}

/** The 32 bytes that BLAKE3 derives from `material` for the purpose that `context` names. */
export function deriveKey(context: string, material: Uint8Array): Uint8Array {
  const key = hash(IV, new TextEncoder().encode(context), DERIVE_CONTEXT);
  const out = new DataView(new ArrayBuffer(32));
  hash(key, material, DERIVE_MATERIAL).forEach((word, at) => out.setUint32(4 * at, word >>> 0, true));
  return new Uint8Array(out.buffer);
}
