"""The duplicate cache of a DirectRunner process, and how it is warmed from the tables.

A process that was killed between its append and its acknowledgement leaves rows whose messages
are delivered again. The next process asks the tables for the `event_id`s of the last horizon when
it starts, and once more when the leases of the one before have run out, in case an append of its
last moment had not arrived yet.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator

from pipeline import resident
from pipeline.leases import LEASE_SECONDS
from schemas.layouts import layout_of
from schemas.table import Table
from schemas.times import now_micros
from transforms.deduplicate import SeenIds

MOST_IDS = 2_000_000
"""Bound of each of the two caches; some 100 bytes an id, 330 where ids come one a bundle."""

_LEEWAY_SECONDS = 5
_MICROS = 1_000_000

_log = logging.getLogger(__name__)


class WrittenIds:
    """The `event_id`s that the tables held when the process began.

    Args:
        recent: From two times (microseconds) to the keys of the ids ingested between, a table's
            at a time and the oldest of it first; the ids of the last table are kept the longest.
        horizon: Seconds to look back.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        recent: Callable[[int, int], Iterable[Iterable[bytes]]],
        horizon: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._recent = recent
        began = now_micros()
        self._since = began - int(horizon * _MICROS)
        # What this process writes itself it knows anyway; clocks differ by less than the leeway.
        self._until = began + _LEEWAY_SECONDS * _MICROS
        self._clock = clock
        self._again_at: float | None = clock() + LEASE_SECONDS
        self.ids = SeenIds(horizon, MOST_IDS, clock)
        self._warm()

    def get(self) -> SeenIds:
        """The ids; asks the tables a second time once the old leases have run out."""
        if self._again_at is not None and self._clock() >= self._again_at:
            self._again_at = None
            self._warm()
        return self.ids

    def _warm(self) -> None:
        began = self._clock()
        # Table by table, so that only one's keys are held twice.
        if forgotten := sum(map(self.ids.add, self._recent(self._since, self._until))):
            _log.warning("%d event ids more than the bound of %d", forgotten, MOST_IDS)
        _log.info(
            "%d event ids known from the tables (%.1f s)", len(self.ids), self._clock() - began
        )


def seen_ids(horizon: float) -> SeenIds:
    """The process's cache of `dedup_id`s."""
    return resident.resident(("seen", horizon), lambda: SeenIds(horizon, MOST_IDS))


def written_ids(dataset: str, tables: tuple[Table, ...], horizon: float) -> SeenIds:
    """The process's view of what the tables hold; flat tables have no ids to ask for."""

    def make() -> WrittenIds:
        from pipeline.lookups import Lookups  # noqa: PLC0415 - loads cloud clients
        from schemas import live  # noqa: PLC0415

        client = live.bigquery_client(dataset.partition(".")[0])
        asked = [
            Lookups(client, dataset, table) for table in tables if layout_of(table).has_event_id
        ]

        # Those that cannot tell when a row came give 40 days of ids, most of them acknowledged
        # long ago: they come first, to be the first forgotten beyond the bound.
        asked.sort(key=lambda lookups: lookups.tells_ingest_time)

        def recent(since: int, until: int) -> Iterator[list[bytes]]:
            for lookups in asked:
                limit = MOST_IDS // len(asked)
                keys = lookups.recent(since, until, limit)
                if len(keys) == limit:
                    _log.warning(
                        "table %s: only its newest %d event ids are known", lookups.name, limit
                    )
                yield keys

        return WrittenIds(recent, horizon)

    with resident.reporting():
        return resident.resident(("written", dataset, horizon), make).get()
