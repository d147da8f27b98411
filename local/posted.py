"""The requests by which the Firestore emulator posts its events: read whole, passed on as they are.

Header lines keep their bytes (the emulator sends raw UTF-8 in them), and so does the body.
"""

import asyncio
import re
from dataclasses import dataclass
from http import HTTPStatus

HEAD_BYTES = 256 * 1024
"""One connection of the emulator posts everything: a head is read whole, so it must fit. A document
name of 6 KiB (Firestore's limit) comes in two headers."""

_SHOWN = 80
_LENGTH = re.compile(rb"[0-9]{1,18}")
# Those of one connection, not of the message (RFC 9110, 7.6.1), and the ones written anew.
_HOP = {b"host", b"connection", b"keep-alive", b"content-length", b"accept-encoding"}


@dataclass(frozen=True, slots=True)
class Post:
    """One request of the emulator: its header lines, but for the connection's own, and body."""

    headers: tuple[bytes, ...]
    body: bytes

    def to_bytes(self, host: str) -> bytes:
        """The request to the publisher, on a connection of its own."""
        lines = (
            b"POST / HTTP/1.1",
            b"Host: " + host.encode(),
            *self.headers,
            b"Content-Length: %d" % len(self.body),
            b"Connection: close",
        )
        return b"\r\n".join(lines) + b"\r\n\r\n" + self.body


class UnreadableError(Exception):
    """A request whose end can't be known; whatever follows it on its connection is lost."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        self.status = status
        super().__init__(why)


async def read(reader: asyncio.StreamReader) -> Post | None:
    """The next request of a connection; None at its end.

    Raises:
        UnreadableError: Where it ends can't be known.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head[:-4].split(b"\r\n")[1:]
        named = {line.partition(b":")[0].strip().lower(): line for line in lines}
        if b"content-length" not in named:
            raise UnreadableError(HTTPStatus.LENGTH_REQUIRED, "it has no Content-Length")
        length = named[b"content-length"].partition(b":")[2].strip()
        if not _LENGTH.fullmatch(length):
            raise UnreadableError(
                HTTPStatus.BAD_REQUEST, f"its Content-Length is {length[:_SHOWN]!r}"
            )
        body = await reader.readexactly(int(length))
    except asyncio.LimitOverrunError as error:
        raise UnreadableError(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"its headers are longer than {HEAD_BYTES} bytes",
        ) from error
    except asyncio.IncompleteReadError:
        return None
    kept = tuple(line for line in lines if line.partition(b":")[0].strip().lower() not in _HOP)
    return Post(kept, body)
