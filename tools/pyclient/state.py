"""What a client remembers: the place in each conversation, the cursor, and how far members have got.

In an `Order`, messages may come twice, or before those that they follow; they leave once each, in order. A SENT takes
the place of the message that this session wrote itself.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from kinds import NO_ID, Message, Sent


@dataclass
class Order:
    """`last` is the last number released, `head` the highest heard of; `early` waits for what is missing before it."""

    last: int = 0
    head: int = 0
    early: dict[int, Message | Sent] = field(default_factory=dict)

    @property
    def gap(self) -> tuple[int, int] | None:
        """The first gap: its first and last number."""
        if self.last >= self.head:
            return None
        return self.last + 1, min(self.early, default=self.head + 1) - 1

    def put(self, item: Message | Sent) -> list[Message]:
        """Takes one in, and returns what can be released now."""
        self.head = max(self.head, item.seq)
        if item.seq > self.last:
            self.early[item.seq] = item
        return self._release()

    def skip_to(self, seq: int) -> list[Message]:
        """Gives up everything up to `seq`, and returns what can be released now."""
        self.last = max(self.last, seq)
        self.head = max(self.head, seq)
        self.early = {number: item for number, item in self.early.items() if number > self.last}
        return self._release()

    def _release(self) -> list[Message]:
        released: list[Message] = []
        while self.last + 1 in self.early:
            self.last += 1
            item = self.early.pop(self.last)
            if isinstance(item, Message):
                released.append(item)
        return released


@dataclass
class State:
    """What a device keeps between connections, once it has dealt with what `receive` had for it."""

    lineage: bytes = NO_ID
    uv: int = 0
    orders: defaultdict[bytes, Order] = field(default_factory=lambda: defaultdict(Order))
    last_msg_id: int = 0


@dataclass
class Chain:
    """What the next SEND in a conversation follows: the one before it, or after a refusal the highest accepted."""

    prev: int = 0
    accepted: int = 0

    def add(self, client_msg_id: int) -> int:
        """Puts a SEND at the end. Returns the one that it follows."""
        prev = self.prev
        self.prev = max(prev, client_msg_id)
        return prev

    def accept(self, client_msg_id: int) -> None:
        self.accepted = max(self.accepted, client_msg_id)
        self.prev = max(self.prev, self.accepted)

    def refuse(self, highest: int) -> None:
        """`highest` is the server's, or 0."""
        self.prev = self.accepted = max(self.accepted, highest)


@dataclass
class Marks:
    """How far a member has got in a conversation."""

    delivered: int = 0
    read: int = 0

    def rise(self, delivered: int, read: int) -> None:
        self.delivered = max(self.delivered, delivered)
        self.read = max(self.read, read)
