"""A blocking client of the tidings server, written from docs/protocol.md alone.

A `Client` is one connection of one device. What has to outlive the connection, the cursor and the place in each
conversation, is in its `State`: give it to the next `Client` of the same device. Whatever waits for the server raises
`TimeoutError` after `timeout` seconds, `ServerError` if the answer is an ERROR, and `Closed` if the connection ends.
"""

import time
from collections import defaultdict, deque
from collections.abc import Callable
from typing import TypeVar

import kinds as k
from about import Control, timer
from connection import Closed, Connection, ServerError
from crc32c import crc32c
from frames import VERSION
from ids import conversation_id
from state import Chain, Marks, State

TOO_OLD = 2
REDIRECTS_MAX = 3
GAP_FETCH = 64  # so few that the checksums of the longest payloads take less than the timeout

B = TypeVar("B", bound=k.Body)
Stored = tuple[list[k.Message], k.Fetched]


class Client:
    """One session. `welcome` is what the server said first, `marks` what is known of (conversation, member), `people` who is
    there, and `typing` what users do in conversations."""

    def __init__(self, server: str, token: str, device: int, state: State, timeout: float = 10.0) -> None:
        self.state = state
        self.settings = 0
        self.marks: defaultdict[tuple[bytes, bytes], Marks] = defaultdict(Marks)
        self._timeout = timeout
        self._requests = 0
        self._resumed = self._list_open = self._listed_anew = False
        self._inbox: deque[k.Message] = deque()
        self.people: dict[bytes, k.Presence] = {}
        self.growing: dict[tuple[bytes, int], bytes] = {}
        self.typing: dict[tuple[bytes, bytes], int] = {}
        self._answers: dict[int, k.Body] = {}
        self._in_flight: set[int] = set()
        self._fetching: dict[int, list[k.Message]] = {}
        self._chains: defaultdict[bytes, Chain] = defaultdict(Chain)
        self.welcome = self._connect(server, token, device)

    def _connect(self, server: str, token: str, device: int) -> k.Welcome:
        for _ in range(REDIRECTS_MAX):
            host, _, port = server.rpartition(":")
            self.connection = Connection(host.strip("[]"), int(port), self._timeout)
            connection_number = time.time_ns() // 1000
            welcome = self._ask(k.Hello(VERSION, VERSION, device, k.NO_ID, 0, token.encode(), connection_number), k.Welcome)
            if not welcome.redirect:
                self.connection.frame_max = welcome.frame_max
                return welcome
            self.connection.close()
            server = welcome.redirect.decode()
        raise Closed("redirected too often")

    def send(self, peer: bytes, payload: bytes, client_msg_id: int = 0, prev: int | None = None) -> tuple[int, int]:
        """Sends without waiting for SENT. Returns the request, for `sent`, and the message's id, for repeats."""
        return self._send(conversation_id(self.welcome.user, peer), peer, payload, client_msg_id, prev)

    def send_to(
        self, conversation: bytes, payload: bytes, control: int = 0, body: bytes = b"", target: int = 0
    ) -> tuple[int, int]:
        """The same to a conversation that is there; with a control and its body, does something to it, or to an earlier message."""
        return self._send(conversation, k.NO_ID, payload, 0, None, control, body, target)

    def edit(self, conversation: bytes, target: int, payload: bytes, body: bytes = b"") -> int:
        """Replaces what an own message says. The number of the edit."""
        return self.sent(self.send_to(conversation, payload, Control.EDIT, body, target)[0]).seq

    def erase(self, conversation: bytes, target: int) -> int:
        """Withdraws a message. The number of the message that does it, or did it before."""
        return self.sent(self.send_to(conversation, b"", Control.ERASE, b"", target)[0]).seq

    def react(self, conversation: bytes, target: int, reaction: bytes) -> int:
        """Says what the user thinks of a message; empty: nothing any more."""
        return self.sent(self.send_to(conversation, reaction, Control.REACT, b"", target)[0]).seq

    def set_timer(self, conversation: bytes, seconds: int) -> int:
        """Lets messages disappear that are written from now on; 0: they stay."""
        return self.sent(self.send_to(conversation, b"", Control.TIMER, timer(seconds))[0]).seq

    def describe(self, conversation: bytes) -> tuple[k.Described, list[k.Member]]:
        """What a conversation is, and who is in it."""
        members: list[k.Member] = []
        while True:
            described = self._ask(k.Describe(conversation, len(members), 0), k.Described)
            members += described.listed()
            if not described.count or len(members) >= described.members:
                return described, members

    def count_readers(self, conversation: bytes, seq: int) -> int | None:
        """How many members of a large group have read a message; None: it is not counted."""
        readers = self._ask(k.Describe(conversation, 0xFFFFFFFF, 0, seq), k.Described).readers
        return None if readers == 0xFFFFFFFF else readers

    def devices(self, user: bytes = k.NO_ID) -> list[tuple[k.Device, str]]:
        """The user's devices, each with its name; another's for an administrator, whose answer may be lost."""
        return self._ask(k.Devices(0, user), k.DeviceList).listed()

    def revoke(self, device: int, user: bytes = k.NO_ID) -> list[tuple[k.Device, str]]:
        """Lets a device in no more. The devices that are left."""
        return self._ask(k.Revoke(device, user), k.DeviceList).listed()

    def revoke_all(self, user: bytes = k.NO_ID) -> list[tuple[k.Device, str]]:
        """Lets in no device any more but this one, and no token of before. The devices that are left."""
        return self._ask(k.Revoke(0, user, k.REVOKE_ALL), k.DeviceList).listed()

    def set(self, conversation: bytes, key: int, value: int, peer: bytes = k.NO_ID) -> k.Setting:
        """Changes a setting of the user's; returns once it is durable."""
        return self._ask(k.Set(conversation, key, value, peer), k.Setting)

    def forget(self, conversation: bytes, first: int = 0, last: int = 0) -> k.Forgotten:
        """Messages that the user does not want to see any more, or which those are; returns once it is durable."""
        return self._ask(k.Forget(conversation, first, last), k.Forgotten)

    def _send(
        self,
        conversation: bytes,
        peer: bytes,
        payload: bytes,
        client_msg_id: int,
        prev: int | None,
        control: int = 0,
        body: bytes = b"",
        target: int = 0,
    ) -> tuple[int, int]:
        deadline = self._deadline()
        while len(self._in_flight) >= self.welcome.window:
            self._pump(deadline)
        if not client_msg_id:
            client_msg_id = max(self.state.last_msg_id + 1, time.time_ns() // 1000)
            self.state.last_msg_id = client_msg_id
        chained = self._chains[conversation].add(client_msg_id)
        prev = chained if prev is None else prev
        crc = crc32c(body + payload)
        send = k.Send(conversation, peer, client_msg_id, prev, 0, k.NO_ID, 0, crc, payload, control, target, body)
        request = self._request(send)
        self._in_flight.add(request)
        return request, client_msg_id

    def sent(self, request: int) -> k.Sent:
        """Waits until the message is durable."""
        return self._answer(request, k.Sent)

    def receive(self) -> k.Message:
        """The next message of any conversation; each conversation's come in order, once. Needs `resume`."""
        deadline = self._deadline()
        while not self._inbox:
            if self._list_open:
                self.resume()
            elif not self._fill_gaps():
                self._pump(deadline)
        return self._inbox.popleft()

    def take_inbox(self) -> list[k.Message]:
        """What `receive` would return without waiting."""
        messages = list(self._inbox)
        self._inbox.clear()
        return messages

    def resume(self, page: int = 0) -> list[k.Entry]:
        """Takes the list of what changed since the cursor and fetches what is missing, for `receive` to return."""
        self._resumed = self._list_open = True
        self._listed_anew = False
        entries: list[k.Entry] = []
        below, cursor = 0, None
        while True:
            changed = self._ask(k.Resume(self.state.lineage, self.state.uv, below, page), k.Changed)
            self.state.lineage, self.settings = changed.lineage, changed.settings
            if changed.status == TOO_OLD:
                if not self.state.uv:
                    raise k.ProtocolError("a cursor of 0 cannot be too old")
                self.state.uv = 0
                return self.resume(page)
            cursor = changed.uv if cursor is None else cursor
            entries += changed.conversations()
            if not changed.next:
                break
            below = changed.next
        for entry in entries:
            self._take_entry(entry)
        self._fill_gaps()
        self.state.uv = cursor
        self._list_open = self._listed_anew
        return entries

    def resume_all(self) -> list[k.Entry]:
        """The whole list, as for a device that knows nothing."""
        self.state.uv = 0
        return self.resume()

    def tails(self, tails: int, tail: int) -> tuple[list[k.Entry], list[k.Message]]:
        """The first conversations of the whole list, and the last messages of the first few; they bypass `receive`."""
        request = self._request(k.Resume(self.state.lineage, 0, 0, 0, tails, tail))
        messages = self._fetching[request] = []
        try:
            changed = self._answer(request, k.Changed)
            while not isinstance(self._next(request), k.SyncDone):
                pass
            return changed.conversations(), messages
        finally:
            del self._fetching[request]

    def fetch(self, conversation: bytes, from_seq: int, upto: int = 0, limit: int = 0, order: int = 0) -> Stored:
        """Stored messages; they bypass `receive`. `order` 1 asks for the last ones instead of the first."""
        request = self._request(k.Fetch(conversation, from_seq, upto, limit, order))
        messages = self._fetching[request] = []
        try:
            return messages, self._answer(request, k.Fetched)
        finally:
            del self._fetching[request]

    def delivered(self, conversation: bytes, upto: int) -> None:
        """Says that this device has everything up to `upto`, and waits until that is durable."""
        self._wait_marks(self._request(k.Delivered(conversation, upto)), conversation, self.welcome.user, upto, 0)

    def read(self, conversation: bytes, upto: int, ordinal: int = 0) -> None:
        """Says that the user has read everything up to `upto`, whose ordinal that is, and waits until that is durable."""
        self._wait_marks(self._request(k.Read(conversation, upto, ordinal)), conversation, self.welcome.user, 0, upto)

    def wait_receipt(self, conversation: bytes, member: bytes, delivered: int, read: int) -> None:
        """Waits until another member is known to have got this far."""
        self._wait_marks(0, conversation, member, delivered, read)

    def types(self, conversation: bytes, doing: int = 1) -> None:
        """Says that the user is typing (0: not any more). Nobody answers, and it may be lost."""
        self._request(k.Typing(conversation, k.NO_ID, doing))

    def write_on(self, conversation: bytes, seq: int, offset: int, text: bytes) -> int:
        """Says more of a message that was opened. Gives the request, for `refused`."""
        return self._request(k.Fragment(conversation, seq, offset, crc32c(text), text))

    def more(self, conversation: bytes, seq: int, offset: int) -> None:
        """Asks what a message says from an offset on: `growing` says it."""
        self._request(k.More(conversation, seq, offset))

    def watch(self, *users: bytes, conversation: bytes = k.NO_ID) -> int:
        """Asks who is there, for two minutes: `people` says it. Gives the request, for `refused`."""
        return self._request(k.Watch(conversation, b"".join(users)))

    def activity(self, activity: int) -> None:
        """Says whether somebody looks at this device."""
        self._request(k.Activity(activity))

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Takes what comes until something is so."""
        deadline = self._deadline()
        while not is_so():
            self._pump(deadline)

    def refused(self, request: int) -> str:
        """Waits until a request that has no other answer is refused, and says why."""
        try:
            self._next(request)
        except ServerError as error:
            return error.name
        raise k.ProtocolError("an answer came where a refusal was due")

    def ping(self, opaque: int = 0) -> k.Pong:
        return self._ask(k.Ping(opaque), k.Pong)

    def bye(self) -> None:
        """Waits for what is in flight, takes leave, and waits for the server's end."""
        deadline = self._deadline()
        while self._in_flight:
            self._pump(deadline)
        self._request(k.Bye(0, 0))
        try:
            while True:
                self._pump(deadline)
        except Closed:
            self.connection.close()

    def _deadline(self) -> float:
        return time.monotonic() + self._timeout

    def _request(self, body: k.Body) -> int:
        self._requests += 1
        self.connection.send(self._requests, body)
        return self._requests

    def _ask(self, body: k.Body, kind: type[B]) -> B:
        return self._answer(self._request(body), kind)

    def _next(self, request: int) -> k.Body:
        deadline = self._deadline()
        while request not in self._answers:
            self._pump(deadline)
        answer = self._answers.pop(request)
        if isinstance(answer, k.Error):
            raise ServerError(answer)
        return answer

    def _answer(self, request: int, kind: type[B]) -> B:
        answer = self._next(request)
        if not isinstance(answer, kind):
            raise k.ProtocolError(f"{type(answer).__name__} came where {kind.__name__} was due")
        return answer

    def _wait_marks(self, request: int, conversation: bytes, member: bytes, delivered: int, read: int) -> None:
        deadline = self._deadline()
        marks = self.marks[conversation, member]
        while marks.delivered < delivered or marks.read < read:
            self._pump(deadline)
            if request in self._answers:
                self._answer(request, k.ReceiptOk)

    def _fill_gaps(self) -> bool:
        """Fetches what is missing anywhere. Says whether anything was."""
        missing = [(conversation, order) for conversation, order in self.state.orders.items() if order.gap]
        for conversation, order in missing:
            while gap := order.gap:
                messages, fetched = self.fetch(conversation, *gap, limit=GAP_FETCH)
                if not fetched.from_seq <= gap[0] <= fetched.upto:
                    raise k.ProtocolError(f"FETCH did not answer for message {gap[0]}")
                for message in messages:
                    self._inbox += order.skip_to(message.seq - 1)
                    self._inbox += order.put(message)
                self._inbox += order.skip_to(min(fetched.upto, gap[1]))
        return bool(missing)

    def _pump(self, deadline: float) -> None:
        """Takes one frame from the server to where it is waited for."""
        request, body = self.connection.receive(deadline)
        match body:
            case k.Message():
                self._take_message(request, body)
            case k.Sent():
                self._chains[body.conversation].accept(body.client_msg_id)
                self._in_flight.discard(request)
                self._answers[request] = body
                if self._resumed:
                    self._inbox += self.state.orders[body.conversation].put(body)
            case k.Error():
                self._take_error(request, body)
            case k.Receipt():
                self.marks[body.conversation, body.member].rise(body.delivered, body.read)
            case k.ReceiptOk():
                self.marks[body.conversation, self.welcome.user].rise(body.delivered, body.read)
                self._take_cursor(body.uv)
            case k.Typing():
                self.typing[body.conversation, body.user] = body.doing
            case k.Fragment():
                if crc32c(body.bytes) != body.crc:
                    raise k.ProtocolError(f"a piece of message {body.seq} was harmed")
                known = self.growing.setdefault((body.conversation, body.seq), b"")
                if body.offset <= len(known) < body.offset + len(body.bytes):
                    self.growing[body.conversation, body.seq] = known[: body.offset] + body.bytes
            case k.Presence():
                self.people[body.user] = body
            case k.Pong():
                self._take_cursor(body.uv)
                self._answers[request] = body
            case k.Changed() if request == 0:
                self._list_open = self._listed_anew = True
            case k.Bye():
                raise Closed("the server is stopping", body.retry_after_ms)
            case _:
                self._answers[request] = body

    def _take_message(self, request: int, message: k.Message) -> None:
        if crc32c(message.body + message.payload) != message.payload_crc:
            raise k.ProtocolError(f"the body or the payload of message {message.seq} was harmed")
        if crc32c(message.sender_name + message.body) != message.clear_crc:
            raise k.ProtocolError(f"the name or the body of message {message.seq} was harmed")
        if request in self._fetching:
            self._fetching[request].append(message)
        elif not request:
            self._inbox += self.state.orders[message.conversation].put(message)

    def _take_error(self, request: int, error: k.Error) -> None:
        failure = ServerError(error)
        if failure.closes or not request:
            raise failure
        self._answers[request] = error
        if request in self._in_flight:
            self._in_flight.discard(request)
            self._chains[error.conversation].refuse(error.highest)

    def _take_cursor(self, uv: int) -> None:
        if self._resumed and not self._list_open and not any(order.gap for order in self.state.orders.values()):
            self.state.uv = max(self.state.uv, uv)

    def _take_entry(self, entry: k.Entry) -> None:
        order = self.state.orders[entry.conversation]
        order.head = max(order.head, entry.head)
        self.marks[entry.conversation, self.welcome.user].rise(entry.delivered, entry.read)
        self.marks[entry.conversation, entry.peer].rise(entry.peer_delivered, entry.peer_read)
