"""Room for what the whole process holds: bodies being read, judged, waiting, and on their way.

A request takes its place before anything of its body is read, and gives it back when it is
answered, or gone. So memory is bounded whatever the senders do and however long Pub/Sub is away;
who finds no room is told so at once, and nothing is dropped without a word.
"""

from types import TracebackType
from typing import Self

# How long the last one in waits is what the queue holds over what the service takes: on one core
# some thousand requests a second, so that it stays under a second when all are single issues. It
# is more than Cloud Run's concurrency at its highest (1,000 requests an instance:
# https://cloud.google.com/run/docs/about-concurrency) so that a batch of a thousand events,
# Pub/Sub's most, has room beside others.
DEFAULT_MAX_MESSAGES = 2_000

# A body is held up to four times over: as it came, encoded, in the request, and in gRPC's buffers.
# With 128 MB of this, 200 MB for judging the largest JSON and 100 MB for the process itself,
# Cloud Run's default of 512 MiB holds.
DEFAULT_MAX_BYTES = 32_000_000


class Full(Exception):
    """There is no room; `str()` is the reason for the sender."""


class Room:
    """Counts what is held and refuses more than its bounds. Belongs to one event loop.

    Args:
        max_messages: Most messages; a request counts as one until its body is judged.
        max_bytes: Most bytes of bodies, as declared until they are read.
    """

    __slots__ = ("_bytes", "_max_bytes", "_max_messages", "_messages")

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._messages = 0
        self._bytes = 0

    @property
    def messages(self) -> int:
        """How many are held."""
        return self._messages

    @property
    def bytes(self) -> int:
        """How many bytes of bodies are held."""
        return self._bytes

    @property
    def full(self) -> bool:
        """Whether the next request would be refused, however small."""
        return self._messages >= self._max_messages or self._bytes >= self._max_bytes

    def enter(self, declared: int) -> "Place":
        """Takes room for one message and so many bytes; the place must be left, by `with`.

        Args:
            declared: What Content-Length says; 0 when unknown.

        Raises:
            Full: There is no room; nothing was taken.
        """
        self.take(1, declared)
        return Place(self, declared)

    def take(self, messages: int, size: int) -> None:
        """Takes room; for `Place` alone.

        Raises:
            Full: There is no room; nothing was taken.
        """
        if self._messages + messages > self._max_messages:
            raise Full(f"busy: {self._messages} messages are waiting already; send it again")
        if self._bytes + size > self._max_bytes:
            raise Full(f"busy: {self._bytes} bytes are waiting already; send it again")
        self._messages += messages
        self._bytes += size

    def give(self, messages: int, size: int) -> None:
        """Gives room back; for `Place` alone."""
        self._messages -= messages
        self._bytes -= size


class Place:
    """What one request holds; leaving it gives all back."""

    __slots__ = ("_messages", "_room", "_size")

    def __init__(self, room: Room, size: int) -> None:
        self._room = room
        self._messages = 1
        self._size = size

    def grow(self, *, messages: int = 0, size: int = 0) -> None:
        """Takes more: bytes beyond the declared ones, or messages beyond the first.

        Raises:
            Full: There is no room for it; what was held before is still held.
        """
        self._room.take(messages, size)
        self._messages += messages
        self._size += size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._room.give(self._messages, self._size)
        self._messages = self._size = 0  # to leave twice gives back once
