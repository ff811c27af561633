"""Frames over one TCP connection, with a time limit on everything.

Also the three ways in which an exchange ends badly: `ServerError` (an ERROR frame), `Closed` (the connection is gone)
and `TimeoutError` (nothing came in time).
"""

import socket
import time

from frames import FRAME_MAX, decode, encode, take
from kinds import Body, Error

ERROR_NAMES = {
    1: "MALFORMED", 2: "FRAME_TOO_LARGE", 3: "CHECKSUM", 4: "VERSION", 5: "UNKNOWN_KIND", 6: "UNEXPECTED_KIND",
    7: "HELLO_EXPECTED", 8: "HELLO_TWICE", 9: "TOO_SLOW", 10: "NOT_SPOKEN", 20: "TOKEN_MISSING", 21: "TOKEN_INVALID",
    22: "TOKEN_EXPIRED", 23: "TOKEN_WRONG_USER", 24: "TOKEN_WRONG_DEVICE", 25: "SUPERSEDED", 26: "TENANT_UNKNOWN",
    27: "DEVICE_REVOKED", 28: "TOKEN_REVOKED", 40: "NOT_MEMBER", 41: "BAD_PEER", 42: "PAYLOAD_TOO_LARGE", 43: "PAYLOAD_CHECKSUM", 44: "OUT_OF_ORDER", 45: "STALE",
    46: "WINDOW_EXCEEDED", 47: "FUTURE_SEQ", 48: "EXPIRED", 49: "CONTROL_UNKNOWN", 50: "BODY_INVALID",
    51: "NOT_ALLOWED", 52: "NONCE_CONFLICT", 53: "GONE", 54: "GROUP_FULL", 55: "LAST_OWNER", 56: "NO_SUCH_MEMBER",
    57: "ALREADY_MEMBER", 58: "ID_AHEAD", 59: "SETTING_INVALID", 60: "BUSY", 61: "RATE_LIMITED",
    62: "FULL", 63: "HISTORY_UNAVAILABLE", 64: "BUDGET_EXCEEDED", 65: "TARGET_INVALID",
    66: "TARGET_ERASED", 67: "TOO_LATE", 68: "TOO_MANY", 69: "STORAGE_FULL", 70: "NO_SUCH_DEVICE",
    71: "BLOCKED",
    72: "STREAM_DIFFERS", 73: "OVERLOADED", 74: "PACKED_INVALID", 75: "NO_ROOM",
}  # fmt: skip
RETRY_CONNECT, RETRY_USELESS = 2, 3
READ_MAX = 1 << 20


class Closed(Exception):
    """The connection is gone; connect again after `retry_after_ms`."""

    def __init__(self, why: str, retry_after_ms: int = 0) -> None:
        super().__init__(why)
        self.retry_after_ms = retry_after_ms


class ServerError(Exception):
    """An ERROR frame; `frame` has all of it."""

    def __init__(self, frame: Error) -> None:
        self.frame = frame
        self.name = ERROR_NAMES.get(frame.code, str(frame.code))
        super().__init__(f"{self.name} {frame.text.decode(errors='replace')}".rstrip())

    @property
    def closes(self) -> bool:
        return self.frame.retry in (RETRY_CONNECT, RETRY_USELESS)


class Connection:
    """Sends and receives frames. `bytes_in` and `bytes_out` count what went over the wire."""

    def __init__(self, host: str, port: int, timeout: float) -> None:
        self._socket = socket.create_connection((host, port), timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._timeout = timeout
        self._buffer = bytearray()
        self.frame_max = FRAME_MAX
        self.bytes_in = 0
        self.bytes_out = 0

    def send(self, request_id: int, body: Body) -> None:
        frame = encode(request_id, body)
        self._socket.settimeout(self._timeout)
        try:
            self._socket.sendall(frame)
        except TimeoutError:
            raise
        except OSError as error:
            raise Closed(str(error)) from error
        self.bytes_out += len(frame)

    def receive(self, deadline: float) -> tuple[int, Body]:
        """The next frame of a known kind: its request id and body."""
        while True:
            frame = take(self._buffer, self.frame_max)
            if frame is None:
                self._fill(deadline)
                continue
            self.bytes_in += len(frame)
            request_id, body = decode(frame)
            if body is not None:
                return request_id, body

    def _fill(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the server said nothing in time")
        self._socket.settimeout(left)
        try:
            chunk = self._socket.recv(READ_MAX)
        except TimeoutError:
            raise TimeoutError("the server said nothing in time") from None
        except OSError as error:
            raise Closed(str(error)) from error
        if not chunk:
            raise Closed("the server closed the connection")
        self._buffer += chunk

    def close(self) -> None:
        self._socket.close()
