"""Room for what the whole process holds: bodies being read, judged, waiting, and on their way.

A request takes its place before anything of its body is read, and gives it back when it is
answered, or gone. So memory is bounded whatever the senders do and however long Pub/Sub is away;
who finds no room is told so at once, and nothing is dropped without a word.
"""

from types import TracebackType
from typing import Self

# How long the last one in waits is what waits before it over what the service takes: on one core
# some two thousand requests a second, half of that while it refuses ten times as many. Measured
# so (`python -m bench.publisher.overload`), p99 of what was accepted was 1.0 s with 500. No less
# than the concurrency that deploy.sh gives an instance, 250.
DEFAULT_MAX_MESSAGES = 300

# A batch has as many events as Pub/Sub takes messages at a time, at the most. Those beyond the
# first are counted apart: they take a small part of a request's time, and a large batch would else
# find room in an idle service alone.
MAX_FURTHER = 1_000

# The key of a form may be a field of it, so it is read before anybody has shown one. Such requests
# have this part of the room at the most: the rest is for those who are known.
STRANGERS_SHARE = 4

# A body is held up to four times over: as it came, encoded, in the request, and in gRPC's buffers.
# With 128 MB of this, 200 MB for judging the largest JSON and 100 MB for the process itself,
# Cloud Run's default of 512 MiB holds.
DEFAULT_MAX_BYTES = 32_000_000


class Full(Exception):
    """There is no room; `str()` is the reason for the sender."""


class Room:
    """Counts what is held and refuses more than its bounds. Belongs to one event loop.

    Args:
        max_messages: Most requests.
        max_bytes: Most bytes of bodies, as declared until they are read.
        max_further: Most messages of batches beyond the first of each.
    """

    __slots__ = (
        "_bytes",
        "_further",
        "_max_bytes",
        "_max_further",
        "_max_messages",
        "_requests",
        "_strangers",
    )

    def __init__(self, max_messages: int, max_bytes: int, max_further: int = MAX_FURTHER) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._max_further = max_further
        self._requests = 0
        self._further = 0
        self._bytes = 0
        self._strangers = 0

    @property
    def messages(self) -> int:
        """How many are held; a request counts as one until its body is judged."""
        return self._requests + self._further

    @property
    def bytes(self) -> int:
        """How many bytes of bodies are held."""
        return self._bytes

    @property
    def full(self) -> bool:
        """Whether the next request would be refused, however small."""
        return bool(self.busy())

    def busy(self) -> str:
        """Why the next request would be refused, however small; '' when it would not."""
        if self._requests >= self._max_messages:
            return f"busy: {self._requests} requests are waiting already; send it again"
        if self._bytes >= self._max_bytes:
            return f"busy: {self._bytes} bytes are waiting already; send it again"
        return ""

    def enter(self, declared: int) -> "Place":
        """Takes room for one message and so many bytes; the place must be left, by `with`.

        Args:
            declared: What Content-Length says; 0 when unknown.

        Raises:
            Full: There is no room; nothing was taken.
        """
        if reason := self.busy():
            raise Full(reason)
        self.take(0, declared)
        self._requests += 1
        return Place(self, declared)

    def take(self, further: int, size: int) -> None:
        """Takes room for further messages and bytes; for `Place` alone.

        Raises:
            Full: There is no room; nothing was taken.
        """
        if self._further + further > self._max_further:
            raise Full(f"busy: {self.messages} messages are waiting already; send it again")
        if self._bytes + size > self._max_bytes:
            raise Full(f"busy: {self._bytes} bytes are waiting already; send it again")
        self._further += further
        self._bytes += size

    def let_in(self) -> None:
        """Counts a request of a stranger; for `Place` alone.

        Raises:
            Full: There are too many of them.
        """
        if self._strangers >= max(self._max_messages // STRANGERS_SHARE, 1):
            raise Full(f"busy: {self._strangers} forms without a key are read; send it again")
        self._strangers += 1

    def give(self, further: int, size: int, strange: int) -> None:
        """Gives a request's room back; for `Place` alone."""
        self._requests -= 1
        self._strangers -= strange
        self._further -= further
        self._bytes -= size


class Place:
    """What one request holds; leaving it gives all back."""

    __slots__ = ("_further", "_left", "_room", "_size", "_strange")

    def __init__(self, room: Room, size: int) -> None:
        self._room = room
        self._further = 0
        self._strange = 0
        self._size = size
        self._left = False

    def grow(self, *, messages: int = 0, size: int = 0) -> None:
        """Takes more: bytes beyond the declared ones, or messages beyond the first.

        Raises:
            Full: There is no room for it; what was held before is still held.
        """
        self._room.take(messages, size)
        self._further += messages
        self._size += size

    def be_strange(self) -> None:
        """Counts this request among those of strangers, until it is left.

        Raises:
            Full: There are too many of them.
        """
        self._room.let_in()
        self._strange = 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._left:
            self._left = True
            self._room.give(self._further, self._size, self._strange)
