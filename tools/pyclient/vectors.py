"""The test vectors of the protocol: what docs/protocol.md says is in each line of docs/vectors/frames.txt.

`check_vectors` compares in both directions, so that it tests the decoder and the encoder, and it derives the ids anew.
"""

from collections.abc import Iterator
from pathlib import Path

import about
import kinds as k
from crc32c import crc32c
from frames import VERSION, decode, encode
from ids import conversation_id, group_id, link_digest, user_id
from packed import unpack

ALICE = user_id("alice")
BOB = user_id("bob")
CHAT = conversation_id(ALICE, BOB)
TIME = 1_700_000_000_000_000
HISTORY = b"\x03" * 16
TRACE = b"\x09" * 16
UNTIL = TIME + 900_000_000
TEXT = b"hi bob"
BODY = b"\x01\x02\x03"
CONTENT_CRC = 0x06AC2E65
GROUP = group_id(ALICE, b"\x09" * 16)
SETTINGS = bytes([1, 2, 2, 1])
CREATE = b"\x09" * 16 + SETTINGS + b"\x07\x00\x01\x00" + b"friends" + BOB

MEDIA = about.media(70000, b"\x05" * 32, "image/png", b"store/17")
CLEAR = about.clear({about.Part.MENTIONS: BOB, about.Part.FORWARDED: b"\x01", about.Part.MEDIA: MEDIA, about.Part.KIND: b"poll"})
EDITED = b"hi Bob"

BYTES = {"clear/bob": CLEAR, "timer/3600": about.timer(3600)}
# Others may pack it otherwise: what counts is what it says.
PACKED = {"packed/dull": b"all work and no play " * 20}

IDS = {"user/alice": ALICE, "user/bob": BOB, "conversation/alice-bob": CHAT, "group/alice-09": GROUP, "link/alice-09": link_digest(GROUP, b"\x08" * 16)}

ENTRY = k.Entry(CHAT, BOB, head=5, delivered=4, read=3, peer_delivered=2, peer_read=1, ordinal=4, seen=2, hidden=3, name_len=3, muted_until=UNTIL, pinned=2, archived=1, cleared=1, blocked=1, forgotten=6)
ENTRY_BYTES = k.ENTRY_LAYOUT.pack(CHAT, BOB, 5, 4, 3, 2, 1, 4, 2, 3, 3, UNTIL, 2, 1, 1, 1, 6)

MEMBERS = k.MEMBER_LAYOUT.pack(ALICE, 3, 1, 0, 5, 4) + k.MEMBER_LAYOUT.pack(BOB, 0, 1, 4, 0, 0)

DEVICES = k.DEVICE_LAYOUT.pack(7, 3, TIME, UNTIL, 5) + k.DEVICE_LAYOUT.pack(1 << 31, 1, 0, 0, 0)

FRAMES: dict[str, tuple[int, k.Body]] = {
    "HELLO": (1, k.Hello(1, 1, device=7, user=ALICE, capabilities=0, token=b"token", connection_number=9, device_name=b"phone")),
    "WELCOME": (1, k.Welcome(VERSION, 60, 73728, 65536, 64, ALICE, 7, HISTORY, 77, TIME, redirect=b"", token_until=UNTIL, capabilities=2)),
    "SEND": (2, k.Send(CHAT, BOB, 101, 100, 0, TRACE, 1, CONTENT_CRC, TEXT, 900, 4, BODY)),
    "SENT": (2, k.Sent(CHAT, 101, seq=5, ts=TIME, ordinal=3)),
    "MESSAGE": (
        0,
        k.Message(
            CHAT, 5, TIME, ALICE, BOB, 7, 1, 101, 0, TRACE, CONTENT_CRC, b"alice", TEXT, 900, 4, 3, BODY, crc32c(b"alice" + BODY)
        ),
    ),
    "DELIVERED": (0, k.Delivered(CHAT, upto=5)),
    "READ": (0, k.Read(CHAT, upto=4, ordinal=2)),
    "RECEIPT": (0, k.Receipt(CHAT, BOB, delivered=5, read=4)),
    "RECEIPT_OK": (0, k.ReceiptOk(CHAT, delivered=5, read=4, uv=12, seen=2)),
    "RESUME": (4, k.Resume(HISTORY, uv=11, below=0, page=0, tails=4, tail=20)),
    "CHANGED": (4, k.Changed(1, HISTORY, 12, 0, 1, k.ENTRY_LAYOUT.size, ENTRY_BYTES, 1, b"bob")),
    "FETCH": (5, k.Fetch(CHAT, from_seq=1, upto=5, limit=0, order=0)),
    "FETCHED": (5, k.Fetched(CHAT, first=1, last=5, head=5, oldest=1, from_seq=1, upto=5)),
    "PING": (6, k.Ping(42)),
    "PONG": (6, k.Pong(42, uv=12, server_time=TIME)),
    "BYE": (0, k.Bye(reason=1, retry_after_ms=500)),
    "ERROR": (3, k.Error(44, 1, k.Send.KIND, 0, CHAT, 102, 100, b"send 101 again first")),
    "CREATE": (8, k.Send(GROUP, k.NO_ID, 103, 0, 0, k.NO_ID, 0, crc32c(CREATE), b"", 1, 0, CREATE)),
    "EDIT": (12, k.Send(GROUP, k.NO_ID, 104, 103, 0, k.NO_ID, 0, crc32c(CLEAR + EDITED), EDITED, 10, 4, CLEAR)),
    "DESCRIBE": (9, k.Describe(GROUP, first=0, limit=0, counted=4)),
    "DESCRIBED": (9, k.Described(GROUP, 5, SETTINGS, 0, 2, 0, 2, k.MEMBER_LAYOUT.size, b"friends", MEMBERS, has_link=1, is_large=1, current=1, readers=1, timer=3600)),
    "SYNC_DONE": (4, k.SyncDone(1)),
    "TYPING": (0, k.Typing(CHAT, BOB, doing=1)),
    "WATCH": (13, k.Watch(GROUP, BOB)),
    "PRESENCE": (0, k.Presence(BOB, state=0, last_seen=TIME)),
    "FRAGMENT": (0, k.Fragment(CHAT, 5, 6, crc32c(b"and so on"), b"and so on")),
    "MORE": (0, k.More(CHAT, 5, 6)),
    "ACTIVITY": (0, k.Activity(0)),
    "SET": (10, k.Set(k.NO_ID, 2, 1)),
    "SETTING": (10, k.Setting(CHAT, 8, 1, BOB)),
    "FORGET": (14, k.Forget(CHAT, 2, 3)),
    "FORGOTTEN": (14, k.Forgotten(CHAT, 6, (2).to_bytes(8, "little") + (3).to_bytes(8, "little"))),
    "DEVICES": (11, k.Devices(0, BOB)),
    "REVOKE": (11, k.Revoke(7, BOB)),
    "DEVICE_LIST": (11, k.DeviceList(2, k.DEVICE_LAYOUT.size, DEVICES, b"phone")),
    "REAUTH": (7, k.Reauth(b"token")),
    "REAUTH_OK": (7, k.ReauthOk(UNTIL)),
}


def _problems(name: str, raw: bytes) -> Iterator[str]:
    known = IDS | BYTES
    if name in known:
        if raw != known[name]:
            yield f"{name}: came out as {known[name].hex()}, listed {raw.hex()}"
    elif name in PACKED:
        if unpack(raw) != PACKED[name]:
            yield f"{name}: says {unpack(raw)!r}"
    elif name in FRAMES:
        if decode(raw) != FRAMES[name]:
            yield f"{name}: decoded {decode(raw)}, listed {FRAMES[name]}"
        if encode(*FRAMES[name]) != raw:
            yield f"{name}: encoded {encode(*FRAMES[name]).hex()}, listed {raw.hex()}"
    else:
        yield f"{name} is unknown"


def check_vectors(path: Path) -> list[str]:
    """What is wrong with our reading of the vectors; empty if all is well."""
    lines = [line.split() for line in path.read_text().splitlines()]
    problems = [problem for name, digits in lines for problem in _problems(name, bytes.fromhex(digits))]
    missing = (IDS.keys() | BYTES.keys() | PACKED.keys() | FRAMES.keys()) - {name for name, _ in lines}
    problems += [f"{name} is missing" for name in sorted(missing)]
    if crc32c(BODY + TEXT) != CONTENT_CRC:
        problems.append(f"the CRC-32C of {BODY + TEXT!r} came out as {crc32c(BODY + TEXT):#x}")
    changed = FRAMES["CHANGED"][1]
    if not isinstance(changed, k.Changed) or (changed.conversations(), changed.called()) != ([ENTRY], ["bob"]):
        problems.append("CHANGED: its entry does not come out")
    return problems
