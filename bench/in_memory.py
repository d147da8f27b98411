"""The job's graph on its own engine in this process, with a source and a sink that are none.

What is left of the job: the engine, in stretches as the launcher runs them, the steps from
decoding to shaping, and the duplicate cache with its own bound. What is not: puller, leases,
acknowledgements, warming, sink. It is quick enough for 100,000 one-event bundles.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import apache_beam as beam

from bench.job import resident_megabytes
from local.load import change
from pipeline import resident
from pipeline.engines import DIRECT, Engine
from pipeline.launch import run_stretch
from pipeline.options import Settings, parse
from pipeline.pull import Pulled
from pipeline.read import puller_key
from pipeline.warm import MOST_IDS
from schemas.row import Row
from transforms.attempt import FAILED
from transforms.deduplicate import DropSeen, SeenIds

_SUBSCRIPTION = "projects/demo-project/subscriptions/in-memory"
_HORIZON = 3_600.0


class OneByOne:
    """Stands in for the puller: so many messages, one a bundle; then it stops the job.

    Args:
        bundles: How many.
        every: After how many memory is looked at.
    """

    waits = 0

    def __init__(self, bundles: int, every: int) -> None:
        self._messages = _pulled(bundles)
        self._every = every
        self.acknowledged = 0
        self.memory: list[float] = []

    def take(self, wait: float) -> list[Pulled]:  # noqa: ARG002
        """The next message; none after the last."""
        found = next(self._messages, None)
        if found is None:
            resident.stop()
            return []
        return [found]

    def idle_seconds(self) -> float:
        """It never idles."""
        return 0.0

    def acknowledge(self, batch: list[Pulled]) -> None:
        """Counts."""
        self.acknowledged += len(batch)
        if self.acknowledged % self._every == 0:
            self.memory.append(resident_megabytes())


def run(bundles: int) -> OneByOne:
    """Runs so many one-event bundles; memory is looked at after each tenth.

    Raises:
        RuntimeError: Not each was acknowledged.
    """
    settings: Settings = parse(
        ["--project=demo-project", f"--input_subscription={_SUBSCRIPTION}"], str
    )
    engine: Engine = replace(
        DIRECT, sinks={"native": lambda _: _LetGo()}, deduplicate=lambda _: _without_tables()
    )
    source = OneByOne(bundles, max(bundles // 10, 1))
    resident.resident(puller_key(_SUBSCRIPTION), lambda: source)
    try:
        while not resident.stopping.is_set():
            run_stretch(settings, engine)
    finally:
        resident.close_all()
        resident.stopping.clear()
    if source.acknowledged != bundles:
        raise RuntimeError(f"{source.acknowledged} of {bundles} were acknowledged")
    return source


class _LetGo(beam.PTransform):  # type: ignore[misc]
    """A sink that takes every row."""

    def expand(self, rows: Any) -> Any:
        return rows | beam.ParDo(_Check()).with_outputs(FAILED, main="rows")


class _Check(beam.DoFn):  # type: ignore[misc]
    def process(self, row: Row) -> None:
        if not row.values:
            raise ValueError("a row without values")


def _pulled(count: int) -> Iterator[Pulled]:
    return (Pulled(str(number), change(number, "memory")) for number in range(count))


def _without_tables() -> beam.PTransform:
    return beam.ParDo(DropSeen(_seen, _written))


def _seen() -> SeenIds:
    return resident.resident("seen", lambda: SeenIds(_HORIZON, MOST_IDS))


def _written() -> SeenIds:
    return resident.resident("written", lambda: SeenIds(_HORIZON, 1))
