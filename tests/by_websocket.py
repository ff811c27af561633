"""Says HELLO to a server by the library `websockets`, which nobody here wrote, and prints what comes back.

usage: by_websocket.py URL HELLO, the frame in hexadecimal digits; prints the answer's digits, and what a text message is answered with.
"""

import sys

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

url, hello = sys.argv[1], bytes.fromhex(sys.argv[2])
with connect(url, subprotocols=["tidings.v1"], compression="deflate") as socket:
    assert socket.subprotocol == "tidings.v1"
    # In pieces: where a message ends means nothing.
    socket.send(iter([hello[:10], hello[10:]]))
    print(socket.recv(timeout=20).hex())
    socket.ping().wait(timeout=20)
    socket.send("text is not understood")
    print(socket.recv(timeout=20).hex())
    try:
        socket.recv(timeout=20)
    except ConnectionClosed as closed:
        print(closed.rcvd.code)
