"""What is said about earlier messages, how long messages stay, and what others on the way may read of a text."""

import struct
from enum import IntEnum

FORGOTTEN = 128  # flag of a MESSAGE that the user does not want to see any more
WITHHELD = 64  # flag of a MESSAGE of somebody whom the user blocks
ENDED = 256  # flag of an OPEN that has ended: it says what its END says
EMPTIED = 32  # flag of a MESSAGE whose payload and body are held back
MEDIA = struct.Struct("<Q32sB")


class Control(IntEnum):
    """What a message does to an earlier one, or to all that are to come."""

    EDIT = 10
    ERASE = 11
    REACT = 12
    TIMER = 13
    OPEN = 14
    END = 15


class Part(IntEnum):
    """A part of the body of a text."""

    MENTIONS = 1
    FORWARDED = 2
    MEDIA = 3
    KIND = 4


def timer(seconds: int) -> bytes:
    """The body of TIMER."""
    return struct.pack("<I", seconds)


def media(size: int, key_digest: bytes, media_type: str, reference: bytes) -> bytes:
    """The part of something larger that is stored elsewhere."""
    kind = media_type.encode()
    return MEDIA.pack(size, key_digest, len(kind)) + kind + reference


def clear(parts: dict[Part, bytes]) -> bytes:
    """The body of a text."""
    return b"".join(struct.pack("<BH", kind, len(value)) + value for kind, value in sorted(parts.items()))


def parts(body: bytes) -> dict[int, bytes]:
    """What is in the body of a text, by kind."""
    found: dict[int, bytes] = {}
    while body:
        kind, length = struct.unpack_from("<BH", body)
        found[kind], body = body[3 : 3 + length], body[3 + length :]
    return found
