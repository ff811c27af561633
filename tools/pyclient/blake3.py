"""BLAKE3 in `derive_key` mode, for contexts and inputs that fit in one chunk.

The ids of the protocol are hashes of less than 200 bytes, so the tree of chunks that BLAKE3 builds for longer inputs is
left out: more than 1024 bytes is an error, never a wrong answer.
"""

import struct

CHUNK_MAX = 1024
_BLOCK = 64
_MASK = 0xFFFFFFFF

_CHUNK_START, _CHUNK_END, _ROOT = 1, 2, 8
_DERIVE_KEY_CONTEXT, _DERIVE_KEY_MATERIAL = 32, 64

_IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
_PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
_ROUNDS = 7
_COLUMNS_AND_DIAGONALS = (
    (0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
    (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14),
)


def _rotate_right(value: int, bits: int) -> int:
    return (value >> bits | value << (32 - bits)) & _MASK


def _mix(v: list[int], where: tuple[int, int, int, int], x: int, y: int) -> None:
    a, b, c, d = where
    for word, first, second in ((x, 16, 12), (y, 8, 7)):
        v[a] = (v[a] + v[b] + word) & _MASK
        v[d] = _rotate_right(v[d] ^ v[a], first)
        v[c] = (v[c] + v[d]) & _MASK
        v[b] = _rotate_right(v[b] ^ v[c], second)


def _compress(chain: tuple[int, ...], block: bytes, flags: int) -> tuple[int, ...]:
    """The next chaining value. The chunk counter is always 0 here."""
    words = struct.unpack("<16I", block.ljust(_BLOCK, b"\0"))
    v = [*chain, *_IV[:4], 0, 0, len(block), flags]
    for _ in range(_ROUNDS):
        for i, where in enumerate(_COLUMNS_AND_DIAGONALS):
            _mix(v, where, words[2 * i], words[2 * i + 1])
        words = tuple(words[i] for i in _PERMUTATION)
    return tuple(v[i] ^ v[i + 8] for i in range(8))


def _hash(key: tuple[int, ...], data: bytes, mode: int) -> tuple[int, ...]:
    if len(data) > CHUNK_MAX:
        raise ValueError(f"only inputs of up to {CHUNK_MAX} bytes are supported, not {len(data)}")
    starts = range(0, max(len(data), 1), _BLOCK)
    chain = key
    for start in starts:
        flags = mode
        if start == 0:
            flags |= _CHUNK_START
        if start == starts[-1]:
            flags |= _CHUNK_END | _ROOT
        chain = _compress(chain, data[start : start + _BLOCK], flags)
    return chain


def derive_key(context: str, material: bytes) -> bytes:
    """The 32 bytes that BLAKE3 derives from `material` for the purpose that `context` names."""
    context_key = _hash(_IV, context.encode(), _DERIVE_KEY_CONTEXT)
    return struct.pack("<8I", *_hash(context_key, material, _DERIVE_KEY_MATERIAL))
