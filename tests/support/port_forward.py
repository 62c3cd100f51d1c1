"""The port-forward of a stand-in for an API server: a websocket of Kubernetes that leads to a port of this machine."""

from __future__ import annotations

import contextlib
import socket
import threading
from http.server import BaseHTTPRequestHandler

from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection
from wsproto.utilities import LocalProtocolError, generate_accept_token

PROTOCOL = "v4.channel.k8s.io"
DATA, ERRORS = b"\0", b"\1"


def forward(handler: BaseHTTPRequestHandler, port: int) -> None:
    """Accepts the websocket of a request and copies bytes both ways until one side closes.

    An error is told on the channel for errors, as the kubelet does it.
    """
    accept = generate_accept_token(handler.headers["Sec-WebSocket-Key"].encode()).decode()
    handler.send_response(101)
    for name, value in (
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", accept),
        ("Sec-WebSocket-Protocol", PROTOCOL),
    ):
        handler.send_header(name, value)
    handler.end_headers()
    handler.close_connection = True
    frames, client = Connection(ConnectionType.SERVER), handler.connection

    def send(data: bytes) -> None:
        with contextlib.suppress(OSError, LocalProtocolError):
            client.sendall(frames.send(BytesMessage(data)))

    for channel in (DATA, ERRORS):
        send(channel + port.to_bytes(2, "little"))
    try:
        target = socket.create_connection(("127.0.0.1", port))
    except OSError as error:
        send(ERRORS + str(error).encode())
        return

    def copy_back() -> None:
        with contextlib.suppress(OSError):
            while data := target.recv(65536):
                send(DATA + data)

    with target:
        threading.Thread(target=copy_back, daemon=True).start()
        while data := client.recv(65536):
            frames.receive_data(data)
            for event in frames.events():
                if isinstance(event, CloseConnection):
                    return
                if isinstance(event, BytesMessage):
                    target.sendall(bytes(event.data)[1:])
