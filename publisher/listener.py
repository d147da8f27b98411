"""Lets connections in: all that wait at a time, where uvloop would take one in each turn.

libuv, under uvloop, accepts a single connection in a turn of its loop since 1.46. While many
requests are served a turn is long, and new connections starve: with 900 connections that came at
once, measured, the last was let in after 6 s, this way after 0.9 s.
"""

import asyncio
import logging
import socket
from collections.abc import Callable

# Until they are accepted: more than the service serves at a time.
BACKLOG = 2_048
# In one turn; the next goes on.
_ACCEPTED_AT_ONCE = 256
# After an error of the system's, such as no free file descriptor, which passes with connections.
_PAUSE_SECONDS = 0.1

log = logging.getLogger("publisher")


class Listener:
    """A listening socket.

    Args:
        listening: Bound and listening; closed with the listener.
        protocol: Makes the protocol of each connection.
    """

    def __init__(self, listening: socket.socket, protocol: Callable[[], asyncio.Protocol]) -> None:
        self.sockets = [listening]  # as asyncio's servers have it
        self._socket = listening
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[object]] = set()
        self._paused: asyncio.TimerHandle | None = None
        listening.setblocking(False)
        self._listen()

    def close(self) -> None:
        """No further connection is let in."""
        if self._paused:
            self._paused.cancel()
        else:
            self._loop.remove_reader(self._socket)
        self._socket.close()

    def _listen(self) -> None:
        self._paused = None
        self._loop.add_reader(self._socket, self._accept)

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                connected, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                log.error("no connection can be accepted: %s", error)  # noqa: TRY400
                self._loop.remove_reader(self._socket)
                self._paused = self._loop.call_later(_PAUSE_SECONDS, self._listen)
                return
            connected.setblocking(False)
            # An answer's last piece does not wait for the ack of the one before.
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = self._loop.create_task(self._open(connected))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self, connected: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, connected)
        except OSError:  # it is gone already
            connected.close()


async def bind(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen on every address of the host.

    Raises:
        OSError: One of them is taken, or none of this machine's.
    """
    found = await asyncio.get_running_loop().getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    return [
        socket.create_server(address[:2], family=family, backlog=BACKLOG)
        for family, address in dict.fromkeys((one[0], one[4]) for one in found)
    ]
