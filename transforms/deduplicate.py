"""Deduplicate in an engine of one process: a bounded cache.

`transforms.first_of_key` does it by the state of a runner.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from hashlib import blake2b
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from schemas.message import Message


class SeenIds:
    """Which ids were seen within a horizon; at most `limit` of them.

    An id older than the horizon goes when others come, not by itself: to know one for longer does
    no harm, and costs no more memory.

    An id is kept as 16 bytes of BLAKE2b: among two million, two share theirs with a probability
    of 6e-27.

    Args:
        horizon: Seconds for which an id is remembered.
        limit: How many ids at the most; beyond it the oldest go first.
        clock: Monotonic seconds.
    """

    def __init__(
        self, horizon: float, limit: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._horizon = horizon
        self._limit = limit
        self._clock = clock
        self._keys: set[bytes] = set()
        self._batches: deque[tuple[float, list[bytes]]] = deque()
        self._evicted = 0  # so many keys at the head of the first batch are gone already

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: bytes) -> bool:
        return key in self._keys

    @staticmethod
    def key(id_: str) -> bytes:
        """The 16 bytes by which an id is known."""
        return blake2b(id_.encode("utf-8", "surrogatepass"), digest_size=16).digest()

    def add(self, keys: Iterable[bytes]) -> int:
        """Remembers keys from now on.

        Returns:
            How many keys had to go before their horizon, since there were too many.
        """
        now = self._clock()
        while self._batches and self._batches[0][0] < now - self._horizon:
            self._forget(len(self._batches[0][1]))
        # A key may come twice in one call: a table that was warmed from can hold repeats.
        fresh = [key for key in dict.fromkeys(keys) if key not in self._keys]
        if fresh:
            self._keys.update(fresh)
            self._batches.append((now, fresh))
        surplus = evicted = max(0, len(self._keys) - self._limit)
        while surplus:
            surplus -= self._forget(surplus)
        return evicted

    def _forget(self, count: int) -> int:
        """Forgets up to so many of the oldest batch's keys; says how many."""
        oldest = self._batches[0][1]
        gone = oldest[self._evicted : self._evicted + count]
        self._keys.difference_update(gone)
        self._evicted += len(gone)
        if self._evicted == len(oldest):
            self._batches.popleft()
            self._evicted = 0
        return len(gone)


class DropSeen(beam.DoFn):
    """Drops a message whose `dedup_id` was seen, or whose `event_id` a table already holds.

    An id enters the cache when its bundle is done (in the bundle finalizer), since a bundle that
    fails is delivered again; within the bundle a set tells. Every delivery goes on being
    acknowledged by the read, a dropped one too.

    Args:
        seen: Opens the cache of `dedup_id`s, the same in the whole process.
        written: Opens a view of the `event_id`s that the tables hold; asked once a bundle, so
            that it can be warmed again.
    """

    def __init__(self, seen: Callable[[], SeenIds], written: Callable[[], SeenIds]) -> None:
        self._open_seen = seen
        self._open_written = written
        self._dropped = Metrics.counter("deduplicate", "dropped")
        self._evicted = Metrics.counter("deduplicate", "evicted_before_horizon")
        self._uncounted = 0

    def start_bundle(self) -> None:
        """Forgets the last bundle's set."""
        # A finalizer runs outside of any bundle, where Beam counts nothing.
        self._evicted.inc(self._uncounted)
        self._uncounted = 0
        self._bundle: set[bytes] = set()
        self._seen = self._open_seen()
        self._written = self._open_written()

    def process(
        self,
        message: Message,
        finalizer: Any = beam.DoFn.BundleFinalizerParam,
    ) -> Iterable[Message]:
        """Yields the message unless it is a duplicate."""
        key = self._seen.key(message.dedup_id)
        bundle = self._bundle
        if (
            key in bundle
            or key in self._seen
            or (len(self._written) and self._replayed_or(message, key) in self._written)
        ):
            self._dropped.inc()
            return ()
        if not bundle:
            finalizer.register(partial(self._remember, self._seen, bundle))
        bundle.add(key)
        return (message,)

    def _remember(self, seen: SeenIds, keys: set[bytes]) -> None:
        self._uncounted += seen.add(keys)

    @staticmethod
    def _replayed_or(message: Message, key: bytes) -> bytes:
        """The key of the event_id; the same as that of the dedup_id unless it is a replay."""
        if message.dedup_id == message.event_id:
            return key
        return SeenIds.key(message.event_id)
