"""The two functions between a frame and its bytes, and `take`, which cuts frames from a stream.

What the protocol calls malformed is a `ProtocolError` here, and so is a wrong checksum; an unknown kind is not.
"""

import struct
from typing import Any

from crc32c import crc32c
from kinds import KINDS, Body, ProtocolError

VERSION = 1
FRAME_MAX = 73_728
FIXED_MAX = 512
HEADER = struct.Struct("<IBBHBBHIQ")


def _checksum(header: bytes, fixed: bytes) -> int:
    return crc32c(fixed, crc32c(header[16:24], crc32c(header[:12])))


def encode(request_id: int, body: Body) -> bytes:
    """The bytes of a frame."""
    size = body.LAYOUT.size
    values: list[Any] = []
    variable = b""
    for name, is_span in body.FIELDS:
        value = getattr(body, name)
        if is_span:
            values += (HEADER.size + size + len(variable) if value else 0, len(value))
            variable += value
        else:
            values.append(value)
    fixed = body.LAYOUT.pack(*values)
    length = HEADER.size + size + len(variable)
    header = HEADER.pack(length, body.KIND, VERSION, 0, body.CLASS, 0, size, 0, request_id)
    header = header[:12] + _checksum(header, fixed).to_bytes(4, "little") + header[16:]
    return header + fixed + variable


def take(buffer: bytearray, frame_max: int = FRAME_MAX) -> bytes | None:
    """Takes the first frame off the buffer, or nothing if it is not complete."""
    if len(buffer) < 4:
        return None
    length = int.from_bytes(buffer[:4], "little")
    if not HEADER.size <= length <= frame_max:
        raise ProtocolError(f"a frame of {length} bytes")
    if len(buffer) < length:
        return None
    frame = bytes(buffer[:length])
    del buffer[:length]
    return frame


def decode(frame: bytes) -> tuple[int, Body | None]:
    """The request id and the body of a frame; no body if its kind is unknown."""
    length, kind, _version, _flags, _class, _reserved, fixed_length, checksum, request_id = HEADER.unpack_from(frame)
    end = HEADER.size + fixed_length
    if length != len(frame) or fixed_length > FIXED_MAX or end > length:
        raise ProtocolError("the lengths of a frame do not fit")
    if checksum != _checksum(frame, frame[HEADER.size : end]):
        raise ProtocolError("a frame was harmed: its checksum does not match")
    cls = KINDS.get(kind)
    if cls is None:
        return request_id, None
    if fixed_length < cls.LAYOUT.size:
        raise ProtocolError(f"the fixed part of {cls.__name__} is too short")
    raw = iter(cls.LAYOUT.unpack_from(frame, HEADER.size))
    values: dict[str, Any] = {}
    for name, is_span in cls.FIELDS:
        values[name] = next(raw)
        if is_span:
            values[name] = _span(frame, end, values[name], next(raw))
    for name, highest in cls.ENUMS.items():
        if values[name] > highest:
            raise ProtocolError(f"{values[name]} is no {name} of {cls.__name__}")
    return request_id, cls(**values)


def _span(frame: bytes, fixed_end: int, offset: int, length: int) -> bytes:
    if length == 0:
        return b""
    if offset < fixed_end or offset + length > len(frame):
        raise ProtocolError("a span points outside of its frame")
    return frame[offset : offset + length]
