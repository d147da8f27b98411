"""Ports of the stack: the usual ones where they are free, other free ones where they are taken."""

import random
import socket
import time
from collections.abc import Callable
from pathlib import Path

HOST = "127.0.0.1"

PUBSUB = 8085
PUBLISHER = 8080
BIGQUERY_REST = 9050
BIGQUERY_GRPC = 9060
FIRESTORE = 8086
RELAY = 8087

_MAX_PORT = 65_535
_OURS = range(20_000, 32_000)
"""Ports that neither Linux (from 32,768) nor macOS (from 49,152) gives to outgoing connections."""

_PROC = Path("/proc")
_LISTEN = "0A"


class Ports:
    """Gives ports that nothing listens on, and none of them twice."""

    def __init__(self) -> None:
        self._given: set[int] = set()

    def take(self, preferred: int) -> int:
        """The preferred port, or another free one where it is taken, or where 0 is preferred.

        Nothing holds the port until its server binds it, so a stranger can still get there
        first: that server then fails to start and its log says why.
        """
        port = preferred
        while not port or port in self._given or (port == preferred and not is_free(port)):
            port = _any_free()
        self._given.add(port)
        return port


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    # SO_REUSEADDR, as servers set it themselves: else the connections that a stack left in
    # TIME_WAIT would move the next one's ports for a minute. Where that lets two listen on one
    # port (macOS, by different addresses), the attempt to connect tells.
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((HOST, port))
        except OSError:
            return False
    return not listens(HOST, port)


def listens(host: str, port: int) -> bool:
    """Whether something takes a connection there."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def is_served_by(pid: int, port: int) -> bool:
    """Whether it is this process that listens on the port.

    A stranger that took the port while the process was still starting would answer in its place.
    Without /proc (macOS) it can't be told, and the answer is yes.
    """
    if not _PROC.is_dir():
        return True
    sockets = set()
    for table in ("net/tcp", "net/tcp6"):
        # Columns (proc(5)): number, local address, remote one, state, ..., the inode as tenth.
        for line in (_PROC / table).read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == _LISTEN and int(columns[1].rpartition(":")[2], 16) == port:
                sockets.add(f"socket:[{columns[9]}]")
    return any(_target(entry) in sockets for entry in _entries(_PROC / str(pid) / "fd"))


def split(address: str) -> tuple[str, int]:
    """Reads `host:port`, as the emulators' environment variables have it.

    Raises:
        ValueError: The text is no such address.
    """
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdecimal() and 0 < int(port) <= _MAX_PORT):
        raise ValueError(f"{address!r} is not an address such as {HOST}:{PUBSUB}")
    return host.strip("[]"), int(port)


def wait_until(ready: Callable[[], bool], deadline: float, every: float = 0.05) -> bool:
    """Asks again and again until `ready` says yes or the deadline (`time.monotonic()`) is past.

    Returns:
        Whether it said yes.
    """
    while True:
        if ready():
            return True
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(every, left))


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except FileNotFoundError:  # the process has ended
        return []


def _target(entry: Path) -> str:
    try:
        return str(entry.readlink())
    except FileNotFoundError:  # closed meanwhile
        return ""


def _any_free() -> int:
    # Not the system's choice: it chooses among the ports that it also gives to outgoing
    # connections, one of which often has it before the server gets there.
    while not is_free(port := random.choice(_OURS)):  # noqa: S311 - no secret
        pass
    return port
