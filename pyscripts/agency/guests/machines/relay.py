"""Joins standard input and output with a TCP connection; the guest's end of `forward`.

Run by the guest's own Python, with the standard library only: relay.py HOST PORT [SOURCE]
"""

import contextlib
import os
import socket
import sys
import threading

CHUNK = 65536


def main() -> None:
    """Copy both ways until the server has closed."""
    source = (sys.argv[3], 0) if len(sys.argv) > 3 else None
    address = (sys.argv[1], int(sys.argv[2]))
    connection = socket.create_connection(address, timeout=10, source_address=source)
    connection.settimeout(None)

    def upstream() -> None:
        while data := os.read(0, CHUNK):
            connection.sendall(data)
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)

    threading.Thread(target=upstream, daemon=True).start()
    while data := connection.recv(CHUNK):
        os.write(1, data)


main()
