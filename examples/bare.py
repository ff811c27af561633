"""Writes to bob with nothing but a socket: three frames. docs/protocol.md has the rest."""

import os
import socket
import struct
import time


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def frame(kind: int, request: int, fixed: bytes, rest: bytes = b"") -> bytes:
    head = struct.pack("<IBBHBBH", 24 + len(fixed) + len(rest), kind, 1, 0, 0, 0, len(fixed))
    id = struct.pack("<Q", request)
    return head + struct.pack("<I", crc32c(head + id + fixed)) + id + fixed + rest


def receive(stream) -> tuple[int, bytes]:
    head = stream.read(24)
    length, kind = struct.unpack_from("<IB", head)
    return kind, stream.read(length - 24)


host, port = os.environ["SERVER"].rsplit(":", 1)
connection = socket.create_connection((host, int(port)))
stream = connection.makefile("rb")
now = time.time_ns() // 1000

# HELLO (1): versions 1 to 1, device, any user, capabilities, the token behind the fixed part, a number that rises.
token = os.environ["TOKEN"].encode()
hello = struct.pack("<HHI16xQ", 1, 1, 4, 0) + struct.pack("<II", 24 + 48, len(token)) + struct.pack("<Q", now)
connection.sendall(frame(1, 1, hello, token))
kind, _ = receive(stream)
assert kind == 2, "no WELCOME"

# SEND (3): to the conversation of alice and bob, whose ids every client derives from their names; these are in docs/vectors.
chat, bob = bytes.fromhex("0fc9eaf4b353666bfc4420ab182c99cd"), bytes.fromhex("fb098e5f3200f246d80cd71bd7cf161d")
text = b"hello from bare bytes"
send = chat + bob + struct.pack("<QQQ16xI", now, 0, 0, 0) + struct.pack("<III", crc32c(text), 24 + 88, len(text))
connection.sendall(frame(3, 2, send, text))

# SENT (4): the message is durable. Its number is at byte 24.
kind, sent = receive(stream)
assert kind == 4, f"kind {kind}"
print(f"durable as number {struct.unpack_from('<Q', sent, 24)[0]}")
