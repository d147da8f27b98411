"""One request and its answer: uvicorn's cycle, with the answer's head rendered once.

A service's answers are few: their heads differ by the date alone. uvicorn checks and renders each
header of each answer anew, which took longer than to judge an issue. What is rendered here is kept,
and an answer that says its length leaves in one write; all else goes uvicorn's way.
"""

import functools
from collections.abc import Sequence
from typing import Any

from uvicorn.protocols.http.httptools_impl import (
    HEADER_RE,
    HEADER_VALUE_RE,
    STATUS_LINE,
    RequestResponseCycle,
)

Headers = Sequence[tuple[bytes, bytes]]

WHOLE_BODY = "publisher.whole_body"
"""An extension of the scope: called with a size, it gives the request's body if it is here whole
and of that size, else None. What it gave is not received again."""


class Cycle(RequestResponseCycle):
    """As uvicorn's: one a request."""

    _start: Any = None

    def whole_body(self, size: int) -> bytes | None:
        """See `WHOLE_BODY`."""
        if self.more_body or self.disconnected or len(self.body) != size:
            return None
        self.flow.resume_reading()  # as `receive` does: else nobody hears that the sender is gone
        body = bytes(self.body)
        self.body = bytearray()
        return body

    async def send(self, message: Any) -> None:
        """ASGI's `send`."""
        start = self._start
        if start is None:
            if self.response_started or message["type"] != "http.response.start":
                await super().send(message)
                return
            # It leaves with the body: together they are one write.
            self._start = message
            self.response_started = True
            return
        self._start = None
        head = None
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            body = message.get("body", b"")
            head = _head(start["status"], tuple(start.get("headers", ())), self.keep_alive)
        if head is None or head.length != len(body) or self.scope["method"] == "HEAD":
            self.response_started = False
            await super().send(start)
            await super().send(message)
            return
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        date = b"".join([b"%b: %b\r\n" % header for header in self.default_headers])
        self.transport.write(b"".join((head.status, date, head.rest, body)))
        self.waiting_for_100_continue = False
        self.response_complete = True
        self.message_event.set()
        if not head.keep_alive:
            self.keep_alive = False
            self.transport.close()
        self.on_response()


class _Head:
    """The head of an answer, rendered.

    Args:
        status: Its first line.
        rest: All after the date, with the empty line.
        length: Of the body.
        keep_alive: Whether the connection stays.
    """

    __slots__ = ("keep_alive", "length", "rest", "status")

    def __init__(self, status: bytes, rest: bytes, length: int, *, keep_alive: bool) -> None:
        self.status = status
        self.rest = rest
        self.length = length
        self.keep_alive = keep_alive


@functools.lru_cache(maxsize=256)
def _head(status: int, headers: Headers, keep_alive: bool) -> _Head | None:
    """The head; None for one that uvicorn is to judge: without a length, or malformed."""
    length = 0 if status == 204 else -1
    lines = []
    for name, value in headers:
        if HEADER_RE.search(name) or HEADER_VALUE_RE.search(value):
            return None
        lowered = name.lower()
        if lowered == b"content-length" and value.isdigit() and len(value) < 10:
            length = int(value)
        elif lowered == b"transfer-encoding" or status == 304:
            return None
        elif lowered == b"connection" and b"close" in value.lower():
            keep_alive = False
        if lowered != b"connection":
            lines.append(b"%b: %b\r\n" % (lowered, value))
    if length < 0:
        return None
    if not keep_alive:
        lines.append(b"connection: close\r\n")
    return _Head(STATUS_LINE[status], b"".join(lines) + b"\r\n", length, keep_alive=keep_alive)
