"""The ids that every client derives for itself: users, one-to-one conversations and groups."""

import struct

from blake3 import derive_key


def user_id(name: str, tenant: str = "default") -> bytes:
    """The id of the user `name`."""
    owner = tenant.encode()
    digest = derive_key("tidings v1 user id", struct.pack("<H", len(owner)) + owner + name.encode())
    return digest[:2] + derive_key("tidings v1 tenant id", owner)[:4] + digest[6:16]


def conversation_id(one: bytes, other: bytes) -> bytes:
    """The id of the conversation of two users, in either order."""
    lesser, greater = sorted((one, other))
    digest = derive_key("tidings v1 direct conversation id", lesser + greater)
    return lesser[:2] + digest[2:15] + bytes([digest[15] & 0xFC | 1])


def group_id(creator: bytes, nonce: bytes) -> bytes:
    """The id of the group that `creator` makes under a nonce of 16 bytes."""
    digest = derive_key("tidings v1 group id", creator + nonce)
    return digest[:15] + bytes([digest[15] & 0xFC | 2])


def link_digest(group: bytes, secret: bytes) -> bytes:
    """What the server is told of the secret by which others join a group."""
    return derive_key("tidings v1 group link", group + secret)[:16]
