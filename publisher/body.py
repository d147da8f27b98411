"""Reads a request's body with a bound on its size and on the time it may take."""

import asyncio
from collections.abc import AsyncIterator

from publisher.intake import Refused

MAX_BODY_BYTES = 9_000_000
BODY_SECONDS = 30.0

# A sender hears the answer only when the server has read what it sends. Up to this many bytes of
# a body that is too large are read and dropped (Cloud Run passes no larger one over HTTP/1:
# https://cloud.google.com/run/quotas); beyond it the connection is closed.
DRAIN_BYTES = 33_554_432


async def read_body(chunks: AsyncIterator[bytes], declared: str, *, waits: bool = False) -> bytes:
    """The whole body, never holding more than `MAX_BODY_BYTES` of it.

    Args:
        chunks: The body as it streams in.
        declared: The Content-Length header, '' when there is none.
        waits: Whether the sender waits for leave to send (`Expect: 100-continue`): then a
            declared size that is too large is answered before anything is sent.

    Raises:
        Refused: 413 when it is larger; 408 when it took longer than `BODY_SECONDS`.
    """
    too_large = Refused(413, f"body: more than {MAX_BODY_BYTES} bytes")
    # Twenty digits say enough; Python refuses to read some thousands.
    size = int(declared[:20]) if declared.isascii() and declared.isdigit() else 0
    if size > (MAX_BODY_BYTES if waits else DRAIN_BYTES):
        raise too_large
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in chunks:
                size += len(chunk)
                if size > DRAIN_BYTES:
                    break
                if size > MAX_BODY_BYTES:
                    parts.clear()
                else:
                    parts.append(chunk)
    except TimeoutError as error:
        raise Refused(408, f"body: not here after {BODY_SECONDS:g} s") from error
    if size > MAX_BODY_BYTES:
        raise too_large
    return b"".join(parts)
