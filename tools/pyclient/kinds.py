"""Every kind of frame as a dataclass, in the order of docs/protocol.md.

The fields of a class, in order, are the fixed part: the annotation of a field says how it is laid out, and a `Span` is
given as the bytes that it points to. `frames.py` turns these into bytes and back.
"""

import struct
from dataclasses import dataclass
from typing import Annotated, Callable, ClassVar, TypeVar, dataclass_transform, get_type_hints

U8 = Annotated[int, "B"]
U16 = Annotated[int, "H"]
U32 = Annotated[int, "I"]
U64 = Annotated[int, "Q"]
Id = Annotated[bytes, "16s"]
Span = Annotated[bytes, "II"]
Settings = Annotated[bytes, "4s"]

NO_ID = bytes(16)
CONTROL, MESSAGE_CLASS, RECEIPT_CLASS, EPHEMERAL_CLASS = 0, 1, 2, 3


class ProtocolError(Exception):
    """Bytes that are no frame, or a frame that makes no sense here."""


class Body:
    """What every kind of frame has."""

    KIND: ClassVar[int]
    CLASS: ClassVar[int]
    LAYOUT: ClassVar[struct.Struct]
    FIELDS: ClassVar[list[tuple[str, bool]]]
    ENUMS: ClassVar[dict[str, int]]


B = TypeVar("B", bound=Body)
KINDS: dict[int, type[Body]] = {}


def _layout(cls: type) -> tuple[struct.Struct, list[tuple[str, bool]]]:
    """The fixed part of a dataclass, and its fields: the name, and whether it is a span."""
    hints = get_type_hints(cls, include_extras=True)
    codes = {name: hint.__metadata__[0] for name, hint in hints.items() if hasattr(hint, "__metadata__")}
    return struct.Struct("<" + "".join(codes.values())), [(name, code == "II") for name, code in codes.items()]


@dataclass_transform(frozen_default=True)
def _kind(kind: int, shed_class: int = CONTROL, **enums: int) -> Callable[[type[B]], type[B]]:
    """Makes a class the body of `kind`. `enums` gives the highest value listed for a field that is an enum."""

    def register(cls: type[B]) -> type[B]:
        cls = dataclass(frozen=True)(cls)
        cls.KIND, cls.CLASS, cls.ENUMS = kind, shed_class, enums
        cls.LAYOUT, cls.FIELDS = _layout(cls)
        KINDS[kind] = cls
        return cls

    return register


@_kind(1)
class Hello(Body):
    version_min: U16
    version_max: U16
    device: U32
    user: Id
    capabilities: U64
    token: Span
    connection_number: U64
    device_name: Span = b""


@_kind(2)
class Welcome(Body):
    version: U16
    idle_timeout_s: U16
    frame_max: U32
    payload_max: U32
    window: U32
    user: Id
    device: U32
    lineage: Id
    session: U64
    server_time: U64
    redirect: Span
    token_until: U64
    capabilities: U64 = 0


@_kind(3, MESSAGE_CLASS)
class Send(Body):
    conversation: Id
    peer: Id
    client_msg_id: U64
    prev: U64
    expires_at: U64
    trace: Id
    flags: U32
    payload_crc: U32
    payload: Span
    control: U16 = 0
    target: U64 = 0
    body: Span = b""


@_kind(4, MESSAGE_CLASS)
class Sent(Body):
    conversation: Id
    client_msg_id: U64
    seq: U64
    ts: U64
    ordinal: U64


@_kind(5, MESSAGE_CLASS)
class Message(Body):
    conversation: Id
    seq: U64
    ts: U64
    sender: Id
    peer: Id
    sender_device: U32
    flags: U32
    client_msg_id: U64
    expires_at: U64
    trace: Id
    payload_crc: U32
    sender_name: Span
    payload: Span
    control: U16
    target: U64
    ordinal: U64
    body: Span
    clear_crc: U32


@_kind(6, RECEIPT_CLASS)
class Delivered(Body):
    conversation: Id
    upto: U64


@_kind(7, RECEIPT_CLASS)
class Read(Body):
    conversation: Id
    upto: U64
    ordinal: U64


@_kind(8, RECEIPT_CLASS)
class Receipt(Body):
    conversation: Id
    member: Id
    delivered: U64
    read: U64


@_kind(9, RECEIPT_CLASS)
class ReceiptOk(Body):
    conversation: Id
    delivered: U64
    read: U64
    uv: U64
    seen: U64


@_kind(10)
class Resume(Body):
    lineage: Id
    uv: U64
    below: U64
    page: U32
    tails: U16 = 0
    tail: U16 = 0


@dataclass(frozen=True)
class Entry:
    """One conversation in CHANGED."""

    conversation: Id
    peer: Id
    head: U64
    delivered: U64
    read: U64
    peer_delivered: U64
    peer_read: U64
    ordinal: U64
    seen: U64
    hidden: U64
    name_len: U16
    muted_until: U64 = 0
    pinned: U64 = 0
    archived: U8 = 0
    cleared: U64 = 0
    blocked: U8 = 0
    forgotten: U32 = 0

    @property
    def unread(self) -> int:
        return max(self.ordinal - self.seen, 0)


ENTRY_LAYOUT, _ = _layout(Entry)
ENTRY_SHORT = 98  # entries of a list in which nobody set what is after that


@_kind(11, status=2)
class Changed(Body):
    status: U8
    lineage: Id
    uv: U64
    next: U64
    count: U32
    entry_len: U32
    entries: Span
    settings: U32
    names: Span

    def conversations(self) -> list[Entry]:
        if self.count and self.entry_len < ENTRY_SHORT or self.count * self.entry_len > len(self.entries):
            raise ProtocolError("the entries of CHANGED do not fit")
        starts = range(0, self.count * self.entry_len, self.entry_len or 1)
        return [self._entry(self.entries[start : start + self.entry_len]) for start in starts]

    @staticmethod
    def _entry(raw: bytes) -> Entry:
        return Entry(*ENTRY_LAYOUT.unpack_from(raw.ljust(ENTRY_LAYOUT.size, b"\0")))


    def called(self) -> list[str]:
        """The names of the conversations, in the order of the entries."""
        found, rest = [], self.names
        for entry in self.conversations():
            found.append(rest[: entry.name_len].decode(errors="replace"))
            rest = rest[entry.name_len :]
        return found


@_kind(12, order=1)
class Fetch(Body):
    conversation: Id
    from_seq: U64
    upto: U64
    limit: U32
    order: U8


@_kind(13)
class Fetched(Body):
    conversation: Id
    first: U64
    last: U64
    head: U64
    oldest: U64
    from_seq: U64
    upto: U64
    damaged: U64 = 0


@_kind(14)
class Ping(Body):
    opaque: U64


@_kind(15)
class Pong(Body):
    opaque: U64
    uv: U64
    server_time: U64


@_kind(16, reason=1)
class Bye(Body):
    reason: U8
    retry_after_ms: U32


@_kind(17, retry=3)
class Error(Body):
    code: U16
    retry: U8
    of_kind: U8
    retry_after_ms: U32
    conversation: Id
    client_msg_id: U64
    highest: U64
    text: Span


@_kind(18)
class Reauth(Body):
    token: Span


@_kind(19)
class ReauthOk(Body):
    token_until: U64


@dataclass(frozen=True)
class Member:
    """One member in DESCRIBED."""

    user: Id
    role: U8
    joined: U64
    left: U64
    delivered: U64
    read: U64


MEMBER_LAYOUT, _ = _layout(Member)


@_kind(20)
class Describe(Body):
    conversation: Id
    first: U32
    limit: U32
    counted: U64 = 0


@_kind(21)
class Described(Body):
    conversation: Id
    head: U64
    settings: Settings
    deleted: U64
    members: U32
    first: U32
    count: U32
    entry_len: U32
    title: Span
    entries: Span
    has_link: U8
    is_large: U8
    current: U32
    readers: U32
    timer: U32

    def listed(self) -> list[Member]:
        if self.count and self.entry_len < MEMBER_LAYOUT.size or self.count * self.entry_len > len(self.entries):
            raise ProtocolError("the entries of DESCRIBED do not fit")
        starts = range(0, self.count * self.entry_len, self.entry_len or 1)
        return [Member(*MEMBER_LAYOUT.unpack_from(self.entries, start)) for start in starts]


@_kind(22)
class Set(Body):
    conversation: Id
    key: U16
    value: U64
    peer: Id = NO_ID


@_kind(23)
class Setting(Body):
    conversation: Id
    key: U16
    value: U64
    peer: Id = NO_ID


@_kind(32)
class Forget(Body):
    conversation: Id
    first: U64
    last: U64


@_kind(33)
class Forgotten(Body):
    conversation: Id
    changes: U32
    ranges: Span

    def listed(self) -> list[tuple[int, int]]:
        """The first and the last of each."""
        return list(struct.iter_unpack("<QQ", self.ranges))


@_kind(24)
class Devices(Body):
    reserved: U32 = 0
    user: Id = NO_ID


@dataclass(frozen=True)
class Device:
    """One device in DEVICE_LIST."""

    device: U32
    flags: U8
    since: U64
    seen: U64
    name_len: U8


DEVICE_LAYOUT, _ = _layout(Device)


@_kind(25)
class DeviceList(Body):
    count: U32
    entry_len: U32
    entries: Span
    names: Span

    def listed(self) -> list[tuple[Device, str]]:
        """The devices, each with its name."""
        if self.count and self.entry_len < DEVICE_LAYOUT.size or self.count * self.entry_len > len(self.entries):
            raise ProtocolError("the entries of DEVICE_LIST do not fit")
        starts = range(0, self.count * self.entry_len, self.entry_len or 1)
        found, rest = [], self.names
        for device in (Device(*DEVICE_LAYOUT.unpack_from(self.entries, start)) for start in starts):
            found.append((device, rest[: device.name_len].decode(errors="replace")))
            rest = rest[device.name_len :]
        return found


REVOKE_ALL = 1
"""A flag of REVOKE."""


@_kind(26)
class Revoke(Body):
    device: U32
    user: Id = NO_ID
    flags: U32 = 0


@_kind(27)
class SyncDone(Body):
    tails: U32


@_kind(28, EPHEMERAL_CLASS)
class Typing(Body):
    conversation: Id
    user: Id
    doing: U8


@_kind(29, EPHEMERAL_CLASS)
class Watch(Body):
    conversation: Id
    users: Span


@_kind(30, EPHEMERAL_CLASS, state=2)
class Presence(Body):
    user: Id
    state: U8
    last_seen: U64


@_kind(34, EPHEMERAL_CLASS)
class Fragment(Body):
    conversation: Id
    seq: U64
    offset: U32
    crc: U32
    bytes: Span


@_kind(35, EPHEMERAL_CLASS)
class More(Body):
    conversation: Id
    seq: U64
    offset: U32


@_kind(31, activity=1)
class Activity(Body):
    activity: U8
