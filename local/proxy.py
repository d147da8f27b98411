"""A TCP proxy with faults, to make a part of the stack unreachable or slow for a while."""

import contextlib
import socket
import struct
import threading
import time
from types import TracebackType
from typing import Self

from local.ports import HOST, split

_CHUNK = 64 * 1024
_CONNECT_SECONDS = 5.0
_LOOK_UP_SECONDS = 0.2
# Closing a socket that has this set sends RST, as a host that lost its state does.
_RESET = struct.pack("ii", 1, 0)


_Pair = tuple[socket.socket, socket.socket]


class Proxy:
    """Listens on a port and passes bytes to a target and back, unless told to misbehave.

    Every connection has two threads, one a direction: what is blocked on one side holds up its
    own sender and nobody else, as the kernel would.

    Args:
        target: `host:port` of the real server.
        port: Where to listen; 0 for any free one.
    """

    def __init__(self, target: str, port: int = 0) -> None:
        self._target = split(target)
        self._port = port
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._lock = threading.Lock()
        self._delay = 0.0
        self.accepted = 0

    def __enter__(self) -> Self:
        self.resume()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.refuse()

    @property
    def address(self) -> str:
        """Where it listens, `host:port`; the same after a fault."""
        return f"{HOST}:{self._port}"

    def delay(self, seconds: float) -> None:
        """Holds every piece that arrives from now on back for so long; 0 ends it."""
        self._delay = seconds

    def refuse(self) -> None:
        """Refuses new connections and resets those that exist, until `resume`."""
        with self._lock:
            listener, self._listener = self._listener, None
            acceptor, self._acceptor = self._acceptor, None
            pairs, self._pairs = self._pairs, set()
        if listener is not None and acceptor is not None:
            # Wakes the accepting thread and refuses from here on (macOS refuses the call itself
            # on a listening socket; there the thread looks up from time to time). Only when the
            # thread is gone is the descriptor given back, for another to reuse.
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            acceptor.join()
            listener.close()
        for pair in pairs:
            _reset(pair)

    def resume(self) -> None:
        """Serves again, on the same port; nothing to do where it serves already."""
        with self._lock:
            if self._listener is not None:
                return
            listener = socket.create_server((HOST, self._port))
            self._port = listener.getsockname()[1]
            self._listener = listener
            self._acceptor = threading.Thread(
                target=self._accept, args=(listener,), name="proxy", daemon=True
            )
            self._acceptor.start()

    def _accept(self, listener: socket.socket) -> None:
        listener.settimeout(_LOOK_UP_SECONDS)
        while self._listener is listener:
            try:
                client, _ = listener.accept()
            except TimeoutError:
                continue
            except OSError:  # shut down by `refuse`
                return
            threading.Thread(target=self._serve, args=(client, listener), daemon=True).start()

    def _choose(self, client: socket.socket) -> tuple[str, int]:  # noqa: ARG002
        """The host and port that a connection goes to; a subclass can look at its first bytes.

        Raises:
            OSError: The connection is none; it is reset.
        """
        return self._target

    def _serve(self, client: socket.socket, listener: socket.socket) -> None:
        try:
            server = socket.create_connection(self._choose(client), timeout=_CONNECT_SECONDS)
        except OSError:
            _reset((client,))
            return
        server.settimeout(None)
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = (client, server)
        with self._lock:
            if self._listener is not listener:
                _reset(pair)
                return
            self._pairs.add(pair)
            self.accepted += 1
        back = threading.Thread(target=self._pass, args=(server, client, pair), daemon=True)
        back.start()
        self._pass(client, server, pair)
        back.join()
        with self._lock:
            self._pairs.discard(pair)
        for end in pair:
            end.close()

    def _pass(self, source: socket.socket, sink: socket.socket, pair: _Pair) -> None:
        """One direction, until its source ends; then its sink is told, and may still answer."""
        try:
            while piece := source.recv(_CHUNK):
                if self._delay:
                    time.sleep(self._delay)
                sink.sendall(piece)
            with self._lock:
                # What `refuse` has woken is no end to be passed on: its peer is to be reset.
                if pair in self._pairs:
                    sink.shutdown(socket.SHUT_WR)
        except OSError:  # reset by either end, or by `refuse`
            _reset((source, sink))


def _reset(ends: tuple[socket.socket, ...]) -> None:
    for end in ends:
        with contextlib.suppress(OSError):  # it is closed already
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            # Wakes a thread that is blocked in recv on it, which closing alone does not.
            end.shutdown(socket.SHUT_RD)
        end.close()
