"""Reads a request's body with a bound on its size and on the time it may take."""

import asyncio
from dataclasses import dataclass

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from publisher.intake import Refused
from publisher.room import Place

MAX_BODY_BYTES = 9_000_000

# A sender hears the answer only when the server has read what it sends. Up to this many bytes of
# a body that is too large are read and dropped (Cloud Run passes no larger one over HTTP/1:
# https://cloud.google.com/run/quotas); beyond it the connection is closed.
DRAIN_BYTES = 33_554_432

_TOO_LARGE = f"body: more than {MAX_BODY_BYTES} bytes"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a body may be.

    Args:
        seconds: How long it may take.
        most: Bytes of it.
        too_large: What the sender of more is told.
    """

    seconds: float
    most: int = MAX_BODY_BYTES
    too_large: str = _TOO_LARGE


async def read_body(
    receive: Receive, place: Place, bounds: Bounds, *, declared: int, waits: bool
) -> bytes:
    """The whole body, never holding more of it than it may have.

    Args:
        receive: ASGI's.
        place: Where bytes are counted beyond those that were declared, and counted there already.
        bounds: What it may be.
        declared: The Content-Length header, 0 when there is none.
        waits: Whether the sender waits for leave to send (`Expect: 100-continue`): then a
            declared size that is too large is answered before anything is sent.

    Raises:
        Refused: 413 when it is larger; 408 when it took longer.
        Full: There is no room for a body that did not say its size.
        ClientDisconnect: The sender is gone.
    """
    most, too_large, seconds = bounds.most, bounds.too_large, bounds.seconds
    if declared > (most if waits else DRAIN_BYTES):
        raise Refused(413, too_large)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            more = True
            while more and size <= DRAIN_BYTES:
                chunk, more = await _next(receive)
                counted = max(size, declared)
                size += len(chunk)
                # What is beyond is dropped, and needs no room.
                if min(size, most) > counted:
                    place.grow(size=min(size, most) - counted)
                parts.append(chunk)
                if size > most:
                    parts.clear()
    except TimeoutError as error:
        raise Refused(408, f"body: not here after {seconds:g} s") from error
    if size > most:
        raise Refused(413, too_large)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _next(receive: Receive) -> tuple[bytes, bool]:
    """The next piece, and whether more is to come."""
    event = await receive()
    if event["type"] == "http.disconnect":
        raise ClientDisconnect
    return event.get("body", b""), event.get("more_body", False)
