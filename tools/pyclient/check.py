"""Proves that docs/protocol.md is complete: the vectors, and a conversation between two clients through a server.

Usage: python3 check.py --server HOST:PORT --token-alice TOKEN --token-bob TOKEN. It prints a line a step; the last one
is `ok`, with exit status 0, or says what went wrong, with exit status 1. It can be repeated on the same server.
"""

import argparse
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import about
import groups
import kinds as k
from connection import Closed, ServerError
from crc32c import crc32c
from groups import Control, Role
from ids import conversation_id, group_id, link_digest, user_id
from kinds import ProtocolError
from tidings import Client, State
from vectors import check_vectors

VECTORS = Path(__file__).resolve().parents[2] / "docs" / "vectors" / "frames.txt"
DEVICE = 1
PIPELINED = 20
WHILE_AWAY = 5
WAIT_S = 10.0
PING_EVERY_S = 0.5
QUIET_RESUME_MAX = 100
READ_PRIVATE = 2
MUTED, ARCHIVED, PINNED, CLEARED, VISIBILITY, BLOCKED = 3, 4, 5, 6, 7, 8
ONLINE, HIDDEN = 1, 2

ALICE, BOB = user_id("alice"), user_id("bob")
CHAT = conversation_id(ALICE, BOB)


class CheckFailed(Exception):
    """Something is not as the protocol says."""


@dataclass
class Person:
    """A user on one device, who can connect again with what that device remembers."""

    server: str
    token: str
    state: State = field(default_factory=State)

    def connect(self) -> Client:
        return Client(self.server, self.token, DEVICE, self.state, WAIT_S)


def expect(what: str, got: object, wanted: object) -> None:
    if got != wanted:
        raise CheckFailed(f"{what}: got {got!r}, wanted {wanted!r}")


def vectors() -> None:
    problems = check_vectors(VECTORS)
    if problems:
        raise CheckFailed("; ".join(problems))
    print("vectors: decoded, encoded to the same bytes, ids derived")


def handshake(name: str, person: Person) -> Client:
    client = person.connect()
    expect(f"{name}'s id", client.welcome.user, user_id(name))
    expect(f"{name}'s device", client.welcome.device, DEVICE)
    print(f"{name}: WELCOME, window {client.welcome.window}, idle timeout {client.welcome.idle_timeout_s} s")
    return client


def catch_up(name: str, client: Client) -> int:
    """RESUME without a cursor. Returns the conversation's head, after checking that what is before it came in order."""
    entries = client.resume()
    head = next((entry.head for entry in entries if entry.conversation == CHAT), 0)
    seqs = [message.seq for message in client.take_inbox() if message.conversation == CHAT]
    expect(f"{name}'s earlier messages", seqs, list(range(head - len(seqs) + 1, head + 1)))
    print(f"{name}: RESUME, {len(entries)} in CHANGED, {len(seqs)} earlier messages fetched")
    return head


def send_many(alice: Client, payloads: list[bytes], head: int) -> list[int]:
    """Pipelines the messages, and returns their ids once all are durable."""
    requests = [alice.send(BOB, payload) for payload in payloads]
    seqs = [alice.sent(request).seq for request, _ in requests]
    expect("numbers in SENT", seqs, list(range(head + 1, head + len(payloads) + 1)))
    print(f"alice: {len(payloads)} pipelined, SENT {seqs[0]} to {seqs[-1]}")
    return [client_msg_id for _, client_msg_id in requests]


def receive_many(bob: Client, payloads: list[bytes], head: int) -> None:
    for seq, payload in enumerate(payloads, head + 1):
        message = bob.receive()
        expect("conversation and number", (message.conversation, message.seq), (CHAT, seq))
        expect("sender", (message.sender, message.sender_name), (ALICE, b"alice"))
        expect(f"payload {seq}", message.payload, payload)
        expect(f"checksum {seq}", message.payload_crc, crc32c(payload))
    print(f"bob: {len(payloads)} messages in order, payloads and checksums right")


def receipts(alice: Client, bob: Client, head: int) -> None:
    bob.delivered(CHAT, head)
    before = unread(bob)
    bob.read(CHAT, head - 1, bob.fetch(CHAT, head - 1)[0][0].ordinal)
    expect("unread before, after all but one, and after all", (before > 1, unread(bob)), (True, 1))
    bob.read(CHAT, head)
    expect("unread after all", unread(bob), 0)
    print(f"bob: DELIVERED and READ {head}, RECEIPT_OK, nothing unread")
    alice.wait_receipt(CHAT, BOB, head, head)
    print(f"alice: RECEIPT {head}")


def unread(client: Client) -> int:
    """What the server counts as unread in the conversation."""
    client.state.uv = 0
    return next(entry.unread for entry in client.resume() if entry.conversation == CHAT)


def repeat_and_refusal(alice: Client, payload: bytes, last_id: int, head: int) -> None:
    request, _ = alice.send(BOB, payload, client_msg_id=last_id)
    expect("number of a repeat", alice.sent(request).seq, head)
    print(f"alice: a repeat is number {head} again")
    request, _ = alice.send(BOB, b"too early", prev=last_id + 1_000_000)
    try:
        alice.sent(request)
    except ServerError as error:
        expect("refusal", (error.name, error.frame.highest), ("OUT_OF_ORDER", last_id))
        print("alice: a wrong prev is OUT_OF_ORDER, with the highest")
    else:
        raise CheckFailed("a wrong prev was accepted")


def resume_bob(bob: Client, payloads: list[bytes], head: int) -> None:
    changed = [entry.conversation for entry in bob.resume()]
    expect("conversations in CHANGED that bob's cursor had", [one for one in changed if one == CHAT], [CHAT])
    print("bob: RESUME from the saved cursor, CHANGED with the conversation")
    receive_many(bob, payloads, head)


def quiet_resume(bob: Person, client: Client) -> Client:
    """RESUME on new connections until the cursor has caught up with what happened, and nothing is listed any more."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        time.sleep(PING_EVERY_S)
        client.ping()
        client.bye()
        client = bob.connect()
        before = client.connection.bytes_in
        if not client.resume():
            cost = client.connection.bytes_in - before
            if cost > QUIET_RESUME_MAX:
                raise CheckFailed(f"a RESUME when nothing changed is answered with {cost} bytes")
            print(f"bob: RESUME when nothing changed is answered with {cost} bytes")
            return client
    raise CheckFailed("the cursor did not catch up")


def group(alice: Client, bob: Client) -> None:
    nonce = time.time_ns().to_bytes(16, "little")
    chat, title = group_id(ALICE, nonce), "a group of two"
    body = groups.create(nonce, groups.settings(), title, [BOB])
    for _ in range(2):
        request, _ = alice.send_to(chat, b"", Control.CREATE, body)
        expect("number of CREATE, and of CREATE again", alice.sent(request).seq, 1)
    request, _ = alice.send_to(chat, b"hello, group")
    expect("number of the first text", alice.sent(request).seq, 2)
    expect("bob's first messages", (bob.receive().control, bob.receive().payload), (Control.CREATE, b"hello, group"))
    bob.delivered(chat, 2)
    alice.wait_receipt(chat, BOB, 2, 0)
    described, members = alice.describe(chat)
    roles = {member.user: (member.role, member.delivered) for member in members}
    expect("title and members", (described.title.decode(), roles), (title, {ALICE: (Role.OWNER, 0), BOB: (Role.MEMBER, 2)}))
    try:
        bob.sent(bob.send_to(chat, b"", Control.REMOVE, groups.members([ALICE]))[0])
    except ServerError as error:
        expect("a member removes its owner", error.name, "NOT_ALLOWED")
    else:
        raise CheckFailed("a member removed the owner")
    expect("number of REMOVE", alice.sent(alice.send_to(chat, b"", Control.REMOVE, groups.members([BOB]))[0]).seq, 3)
    expect("bob's last message", bob.receive().control, Control.REMOVE)
    alice.sent(alice.send_to(chat, b"not for bob")[0])
    stored, fetched = bob.fetch(chat, 1)
    expect("what bob reads", ([message.seq for message in stored], fetched.head), ([1, 2, 3], 3))
    secret = time.time_ns().to_bytes(16, "little")
    alice.sent(alice.send_to(chat, b"", Control.LINK, link_digest(chat, secret))[0])
    expect("number of JOIN", bob.sent(bob.send_to(chat, b"", Control.JOIN, secret)[0]).seq, 6)
    stored, _ = alice.fetch(chat, 6)
    expect("JOIN, as members get it", (stored[0].control, stored[0].body), (Control.JOIN, b""))
    expect("readers of a message, which are counted in large groups only", alice.count_readers(chat, 6), None)
    print("alice and bob: a group is made once, shows its members, who was removed reads nothing later, and joins by a link")


def about_messages(alice: Client, bob: Client) -> None:
    nonce = time.time_ns().to_bytes(16, "little")
    chat = group_id(ALICE, nonce)
    alice.sent(alice.send_to(chat, b"", Control.CREATE, groups.create(nonce, groups.settings(), "about", [BOB]))[0])
    mentions = about.clear({about.Part.MENTIONS: BOB})
    alice.sent(alice.send_to(chat, b"look here", 0, mentions)[0])
    alice.sent(alice.send_to(chat, b"a secret")[0])
    expect("number of EDIT", alice.edit(chat, 2, b"look there", mentions), 4)
    expect("number of REACT", bob.react(chat, 2, b"+"), 5)
    expect("number of ERASE, and of ERASE again", (alice.erase(chat, 3), alice.erase(chat, 3)), (6, 6))
    expect("number of an answer", bob.sent(bob.send_to(chat, b"seen", target=2)[0]).seq, 7)
    for act, name in [
        (lambda: bob.edit(chat, 2, b"mine now"), "NOT_ALLOWED"),
        (lambda: bob.react(chat, 3, b"+"), "TARGET_ERASED"),
        (lambda: alice.edit(chat, 1, b"not a text"), "TARGET_INVALID"),
        (lambda: bob.erase(chat, 99), "TARGET_INVALID"),
        (lambda: bob.react(chat, 2, b"+" * 257), "PAYLOAD_TOO_LARGE"),
    ]:
        try:
            act()
        except ServerError as error:
            expect("a refusal", error.name, name)
        else:
            raise CheckFailed(f"{name} was expected")
    expect("number of TIMER", alice.set_timer(chat, 3600), 8)
    last = alice.sent(alice.send_to(chat, b"gone in an hour")[0])
    stored, _ = bob.fetch(chat, 2)
    seen = [(message.control, message.target, message.payload, message.flags & about.EMPTIED) for message in stored]
    expected = [
        (0, 0, b"look here", 0),
        (0, 0, b"", about.EMPTIED),
        (about.Control.EDIT, 2, b"look there", 0),
        (about.Control.REACT, 2, b"+", 0),
        (about.Control.ERASE, 3, b"", 0),
        (0, 2, b"seen", 0),
        (about.Control.TIMER, 0, b"", 0),
        (0, 0, b"gone in an hour", 0),
    ]
    expect("what bob reads", seen, expected)
    expect("the mention", about.parts(stored[0].body), {about.Part.MENTIONS: BOB})
    expect("when it disappears", stored[-1].expires_at, last.ts + 3600 * 1_000_000)
    expect("the timer", bob.describe(chat)[0].timer, 3600)
    bob.take_inbox()
    print("alice and bob: a message is edited, withdrawn, answered and reacted to, mentions somebody, and disappears")


def preferences(bob: Client) -> None:
    entry = next(entry for entry in bob.resume_all() if entry.head > 2)
    chat, head = entry.conversation, entry.head
    for key, value in [(MUTED, 2**64 - 1), (ARCHIVED, 1), (PINNED, 3), (CLEARED, 2)]:
        expect("SETTING", bob.set(chat, key, value).value, value)
    expect("what only rises", bob.set(chat, CLEARED, 1).value, 2)
    found = next(entry for entry in bob.resume_all() if entry.conversation == chat)
    expect("what is told with CHANGED", (found.muted_until, found.archived, found.pinned, found.cleared), (2**64 - 1, 1, 3, 2))
    for key, value, name in [(ARCHIVED, 2, "SETTING_INVALID"), (CLEARED, head + 1, "FUTURE_SEQ"), (99, 1, "SETTING_INVALID")]:
        try:
            bob.set(chat, key, value)
        except ServerError as error:
            expect("a refusal", error.name, name)
        else:
            raise CheckFailed(f"{name} was expected")
    for key in (MUTED, ARCHIVED, PINNED):
        bob.set(chat, key, 0)
    print("bob: a conversation is muted, put away, kept at the top and cleared, and CHANGED tells it")


def devices(bob: Client) -> None:
    listed = bob.devices()
    expect("bob's devices", [(device.device, device.flags, name) for device, name in listed if device.since], [(DEVICE, 3, "")])
    bob.set(k.NO_ID, READ_PRIVATE, 1)
    bob.state.uv = 0
    bob.resume()
    expect("bob's settings", bob.settings, 1)
    expect("SETTING", bob.set(k.NO_ID, READ_PRIVATE, 0).value, 0)
    try:
        bob.revoke(99)
    except ServerError as error:
        expect("a device that is not there", error.name, "NO_SUCH_DEVICE")
    else:
        raise CheckFailed("a device that is not there was revoked")
    entries, last = bob.tails(2, 3)
    expect("messages of two tails", len(last), sum(min(entry.head, 3) for entry in entries[:2]))
    print("bob: RESUME with tails brings the last messages of two conversations, and SYNC_DONE")
    print("bob: DEVICE_LIST has this device, SET is answered by SETTING and told with CHANGED")


def presence(alice: Client, bob: Client) -> None:
    alice.types(CHAT)
    bob.wait_until(lambda: bob.typing.get((CHAT, ALICE)) == 1)
    alice.types(CHAT, 0)
    bob.wait_until(lambda: bob.typing.get((CHAT, ALICE)) == 0)
    seen = lambda state: lambda: BOB in alice.people and alice.people[BOB].state == state
    alice.watch(BOB)
    alice.wait_until(seen(ONLINE))
    bob.set(k.NO_ID, VISIBILITY, 2)
    alice.wait_until(seen(HIDDEN))
    bob.set(k.NO_ID, VISIBILITY, 1)
    alice.wait_until(seen(ONLINE if wrote(alice, BOB) else HIDDEN))
    bob.set(k.NO_ID, VISIBILITY, 0)
    alice.wait_until(seen(ONLINE))
    bob.take_inbox()
    bob.activity(0)
    bob.ping()
    alice.sent(alice.send(BOB, b"are you there?")[0])
    alice.sent(alice.send(BOB, b"hello?")[0])
    expect("what bob is told while nobody looks", bob.receive().payload, b"are you there?")
    bob.activity(1)
    expect("what it is given once somebody does", bob.receive().payload, b"hello?")
    expect("watching oneself", alice.refused(alice.watch(ALICE)), "BAD_PEER")
    expect("watching too many", alice.refused(alice.watch(*[BOB] * 257)), "TOO_MANY")
    print("alice and bob: who types is heard, who is there is told as its user wants, and a device at which nobody looks is left alone")


def blocking(alice: Client, bob: Client) -> None:
    expect("SETTING", bob.set(CHAT, BLOCKED, 1, ALICE), k.Setting(CHAT, BLOCKED, 1, ALICE))
    sent = alice.sent(alice.send(BOB, b"do you hear me?")[0])
    withheld = bob.receive()
    expect("what is withheld", (withheld.seq, withheld.payload, withheld.flags & about.WITHHELD), (sent.seq, b"", about.WITHHELD))
    entry = next(entry for entry in bob.resume_all() if entry.conversation == CHAT)
    expect("whether alice is blocked", entry.blocked, 1)
    body = groups.create(time.time_ns().to_bytes(16, "little"), groups.settings(), "with bob", [BOB])
    chat = group_id(ALICE, body[:16])
    expect("a group with bob", alice.refused(alice.send_to(chat, b"", Control.CREATE, body)[0]), "BLOCKED")
    bob.set(CHAT, BLOCKED, 0, ALICE)
    alice.sent(alice.send(BOB, b"and now?")[0])
    expect("what is said after it", bob.receive().payload, b"and now?")
    stored = alice.fetch(CHAT, sent.seq)[0]
    expect("what alice knows of it", (stored[0].payload, stored[0].flags & about.WITHHELD), (b"do you hear me?", 0))
    print("alice and bob: whoever is blocked is answered, and what it writes is withheld")


def forgetting(alice: Client, bob: Client) -> None:
    seq = alice.sent(alice.send(BOB, b"not for bob")[0]).seq
    bob.receive()
    expect("FORGOTTEN", bob.forget(CHAT, seq, seq).listed(), [(seq, seq)])
    known = bob.forget(CHAT)
    expect("what bob has forgotten", any(first <= seq <= last for first, last in known.listed()), True)
    entry = next(entry for entry in bob.resume_all() if entry.conversation == CHAT)
    expect("how often", entry.forgotten, known.changes)
    of = lambda client: [(message.payload, message.flags & about.FORGOTTEN) for message in client.fetch(CHAT, seq)[0]]
    expect("what is told to both", (of(alice), of(bob)), ([(b"not for bob", 0)], [(b"", about.FORGOTTEN)]))
    try:
        bob.forget(CHAT, seq + 1, seq + 1)
    except ServerError as error:
        expect("what is not there yet", error.name, "FUTURE_SEQ")
    else:
        raise CheckFailed("FUTURE_SEQ was expected")
    print("alice and bob: what bob forgets is served to it without what it says, and to alice as it is")


def streams(alice: Client, bob: Client) -> None:
    seq = alice.sent(alice.send_to(CHAT, b"", about.Control.OPEN)[0]).seq
    opened = bob.receive()
    expect("OPEN", (opened.seq, opened.control, opened.payload), (seq, about.Control.OPEN, b""))
    for offset, piece in ((0, b"Once "), (5, b"upon a")):
        alice.write_on(CHAT, seq, offset, piece)
    bob.wait_until(lambda: bob.growing.get((CHAT, seq)) == b"Once upon a")
    del bob.growing[CHAT, seq]
    bob.more(CHAT, seq, 0)
    bob.wait_until(lambda: bob.growing.get((CHAT, seq)) == b"Once upon a")
    expect("another one's", bob.refused(bob.write_on(CHAT, seq, 11, b"!")), "TARGET_INVALID")
    expect("other words", alice.refused(alice.write_on(CHAT, seq, 0, b"Twice")), "STREAM_DIFFERS")
    expect("other words at the end", alice.refused(alice.send_to(CHAT, b"Twice", about.Control.END, target=seq)[0]), "STREAM_DIFFERS")
    alice.sent(alice.send_to(CHAT, b"Once upon a time", about.Control.END, target=seq)[0])
    end = bob.receive()
    expect("END", (end.control, end.target, end.payload), (about.Control.END, seq, b"Once upon a time"))
    stored = bob.fetch(CHAT, seq, seq)[0][0]
    expect("what is stored", (stored.payload, stored.flags & about.ENDED), (b"Once upon a time", about.ENDED))
    print("alice and bob: a message grows while it is written, and is whole for good when it ends")


def wrote(client: Client, user: bytes) -> bool:
    """Whether somebody has written in the conversation of the two."""
    return any(message.sender == user for message in client.fetch(CHAT, 1)[0])


def ping(name: str, client: Client) -> None:
    opaque = time.time_ns()
    expect(f"{name}'s PONG", client.ping(opaque).opaque, opaque)
    print(f"{name}: PING, PONG")


def conversation(alice_person: Person, bob_person: Person) -> None:
    alice, bob = handshake("alice", alice_person), handshake("bob", bob_person)
    head = catch_up("alice", alice)
    expect("bob's head", catch_up("bob", bob), head)
    payloads = [f"message {number} of {time.time_ns()}".encode() for number in range(PIPELINED)]
    ids = send_many(alice, payloads, head)
    receive_many(bob, payloads, head)
    head += PIPELINED
    receipts(alice, bob, head)
    repeat_and_refusal(alice, payloads[-1], ids[-1], head)
    bob.bye()
    print("bob: BYE")
    payloads = [f"while bob was away {number}".encode() for number in range(WHILE_AWAY)]
    send_many(alice, payloads, head)
    bob = handshake("bob", bob_person)
    resume_bob(bob, payloads, head)
    bob = quiet_resume(bob_person, bob)
    group(alice, bob)
    about_messages(alice, bob)
    preferences(bob)
    presence(alice, bob)
    blocking(alice, bob)
    forgetting(alice, bob)
    streams(alice, bob)
    devices(bob)
    for name, client in (("alice", alice), ("bob", bob)):
        ping(name, client)
        client.bye()
        print(f"{name}: BYE")


def main() -> int:
    parser = argparse.ArgumentParser(description="Check the protocol document against its vectors and a server.")
    parser.add_argument("--server", required=True, metavar="HOST:PORT")
    parser.add_argument("--token-alice", required=True, metavar="TOKEN")
    parser.add_argument("--token-bob", required=True, metavar="TOKEN")
    arguments = parser.parse_args()
    try:
        vectors()
        conversation(
            Person(arguments.server, arguments.token_alice.strip()),
            Person(arguments.server, arguments.token_bob.strip()),
        )
    except (CheckFailed, ServerError, ProtocolError, Closed, OSError) as error:
        print(f"failed: {type(error).__name__}: {error}")
        return 1
    print("ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
