"""Writes to bob, and waits for what bob says: with tools/pyclient, which is written from the protocol's page alone."""

import os

from ids import user_id
from tidings import Client, State

state = State()  # how far this device is: the next connection goes on from there
client = Client(os.environ["SERVER"], os.environ["TOKEN"], device=3, state=state, timeout=60)
client.resume()
request, _ = client.send(user_id("bob"), b"hello from Python")
ours = client.sent(request).seq
print(f"durable as number {ours}")
while (message := client.receive()).sender_name != b"bob" or message.seq <= ours:
    pass  # what bob said before
print(f"{message.sender_name.decode()}: {message.payload.decode()}")
client.bye()
