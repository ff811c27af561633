"""Groups: the controls that make and change them, and their bodies."""

import struct
from enum import IntEnum


class Control(IntEnum):
    """What a message does to a group."""

    CREATE = 1
    ADD = 2
    REMOVE = 3
    LEAVE = 4
    ROLE = 5
    SETTINGS = 6
    DELETE = 7
    LINK = 8
    JOIN = 9


class Role(IntEnum):
    """What a member may do."""

    NONE = 0
    MEMBER = 1
    ADMIN = 2
    OWNER = 3


def settings(write: Role = Role.MEMBER, add: Role = Role.ADMIN, edit: Role = Role.ADMIN, from_joining: bool = False) -> bytes:
    """Who may do what, and where the history of a new member begins."""
    return bytes([write, add, edit, from_joining])


def create(nonce: bytes, rules: bytes, title: str, members: list[bytes]) -> bytes:
    """The body of CREATE."""
    named = title.encode()
    return nonce + rules + struct.pack("<HH", len(named), len(members)) + named + b"".join(members)


def members(ids: list[bytes]) -> bytes:
    """The body of ADD and of REMOVE."""
    return struct.pack("<H", len(ids)) + b"".join(ids)


def role(member: bytes, new: Role) -> bytes:
    """The body of ROLE."""
    return member + bytes([new])
