"""Packed payloads: their length (u32) and one LZ4 block. This client does not say that it takes them, so the server unpacks them for it; a vector is read."""

import struct


def unpack(packed: bytes) -> bytes:
    """What a packed payload says."""
    (length,) = struct.unpack_from("<I", packed)
    out, at = bytearray(), 4

    def rest(value: int) -> int:
        nonlocal at
        more = 255 if value == 15 else 0
        while more == 255:
            more = packed[at]
            at += 1
            value += more
        return value

    while True:
        token = packed[at]
        at += 1
        literals = rest(token >> 4)
        out += packed[at : at + literals]
        at += literals
        if at >= len(packed):
            break
        distance = packed[at] | packed[at + 1] << 8
        at += 2
        for _ in range(rest(token & 15) + 4):
            out.append(out[-distance])
    if len(out) != length:
        raise ValueError("a payload is not packed as it says")
    return bytes(out)
