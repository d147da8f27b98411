"""Tells a stalled upload from a slow one: by the bytes that the connection takes, not by the clock.

Cloud Storage's client sends a file in parts of 40 MB, each of them one call, and its own deadline
is that of a single write to the socket; so how far a part has got is seen in its body alone.
"""

import io
import socket
import threading
import time
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection

STALL_SECONDS = 15.0
"""What Cloud Storage is given to take the next bytes of a file, or to answer."""

_LARGE = 100_000  # bytes; a smaller body leaves in one write
_SEND_BUFFER = 500_000
"""Of a connection: what is in it counts as taken, and left alone it grows to megabytes."""

_OPTIONS = [
    *HTTPConnection.default_socket_options,
    (socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER),
]


class Abandoned(Exception):
    """The launcher has given up; nothing more may be sent."""


class Watch:
    """What is being sent, and until when it may take.

    Args:
        stall: Seconds without a sign of life that a file is given.
    """

    def __init__(self, stall: float = STALL_SECONDS) -> None:
        self._lock = threading.Lock()
        self._abandoned = False
        self._stall = stall
        self._end = time.monotonic() + stall
        self.what = ""
        self.posted = False

    def begins(self, what: str, seconds: float | None = None, *, posted: bool = False) -> None:
        """Begins a deadline, unless this is the same thing once more.

        Args:
            what: Is begun.
            seconds: For it; without, those of a file that does not move.
            posted: Whether the service may have a job from now on.

        Raises:
            Abandoned: Too late.
        """
        with self._lock:
            if self._abandoned:
                raise Abandoned
            if what != self.what:
                self.what = what
                self._end = time.monotonic() + (self._stall if seconds is None else seconds)
            self.posted = self.posted or posted

    def moves(self) -> None:
        """Notes that bytes of the file have been taken.

        Raises:
            Abandoned: Too late.
        """
        with self._lock:
            if self._abandoned:
                raise Abandoned
            self._end = time.monotonic() + self._stall

    def left(self) -> float:
        """Seconds until the deadline."""
        return self._end - time.monotonic()

    def abandon(self) -> bool:
        """From now on nothing begins; returns whether the job had been posted already."""
        with self._lock:
            self._abandoned = True
            return self.posted


class _Watched(io.BytesIO):
    """A body that is read as the connection takes it, some kilobytes at a time."""

    def __init__(self, body: bytes, watch: Watch) -> None:
        super().__init__(body)
        self._watch = watch

    def read(self, size: int | None = -1, /) -> bytes:
        self._watch.moves()
        return super().read(size)


class WatchedUploads(HTTPAdapter):
    """Sends the large bodies of a `requests` session under a watch."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """As the adapter's own, with connections of a small buffer."""
        super().init_poolmanager(*args, **kwargs, socket_options=_OPTIONS)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """As the adapter's own, with connections of a small buffer."""
        return super().proxy_manager_for(proxy, **kwargs, socket_options=_OPTIONS)

    def send(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        """Sends it; its Content-Length is that of the bytes given."""
        if isinstance(request.body, bytes) and len(request.body) > _LARGE:
            request.body = _Watched(request.body, self._watch)
        return super().send(request, *args, **kwargs)
