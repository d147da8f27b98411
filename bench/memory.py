"""Memory of the job over 100,000 one-event bundles, and over an idle hour's worth of polls.

The job's own graph on its own engine, in this process, in stretches as the launcher runs them; the
puller is one that hands out one message at a time from memory, and the sink and the dead letters
are counted and let go, so that what is measured is the engine, the steps and the cache.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import apache_beam as beam

from local.load import change
from pipeline import resident
from pipeline.engines import DIRECT
from pipeline.launch import run_stretch
from pipeline.options import Settings, parse
from pipeline.pull import Pulled
from schemas.row import Row
from transforms.attempt import FAILED
from transforms.deduplicate import DropSeen, SeenIds

BUNDLES = 100_000
POLLS_AN_HOUR = 3_600 // 5
"""An idle read waits five seconds for a message."""

_SUBSCRIPTION = "projects/demo-project/subscriptions/in-memory"
_WARM_UP = BUNDLES // 10
_PAGE = os.sysconf("SC_PAGE_SIZE")


class _OneByOne:
    """Stands in for the puller: one message a bundle, then none."""

    waits = 0

    def __init__(self, messages: Iterator[Pulled], polls: int) -> None:
        self._messages = messages
        self._polls = polls
        self.acknowledged = 0
        self.memory: list[int] = []

    def take(self, wait: float) -> list[Pulled]:  # noqa: ARG002
        if (found := next(self._messages, None)) is not None:
            return [found]
        self._polls -= 1
        if self._polls <= 0:
            resident.stop()
        return []

    def idle_seconds(self) -> float:
        return 0.0

    def acknowledge(self, batch: list[Pulled]) -> None:
        self.acknowledged += len(batch)
        if self.acknowledged % _WARM_UP == 0:
            self.memory.append(_resident_megabytes())


class _LetGo(beam.PTransform):
    """A sink that takes every row."""

    def expand(self, rows: Any) -> Any:
        return rows | beam.ParDo(_Count()).with_outputs(FAILED, main="rows")


class _Count(beam.DoFn):
    def process(self, row: Row) -> None:
        if not row.values:
            raise ValueError("a row without values")


def run() -> dict[str, object]:
    """One-event bundles, then empty polls, with memory looked at on the way."""
    settings = parse(["--project=demo-project", f"--input_subscription={_SUBSCRIPTION}"], str)
    engine = replace(
        DIRECT, sinks={"native": lambda _: _LetGo()}, deduplicate=lambda _: _without_tables()
    )
    busy = _run(settings, engine, _pulled(BUNDLES), polls=1)
    idle = _run(settings, engine, iter(()), polls=POLLS_AN_HOUR)
    return {
        "one-event bundles": busy.acknowledged,
        "memory after a tenth, MB": busy.memory[0],
        "memory at the end, MB": busy.memory[-1],
        "memory most, MB": max(busy.memory),
        "idle hour's polls": POLLS_AN_HOUR,
        "memory after them, MB": idle.memory[-1],
    }


def _run(settings: Settings, engine: Any, messages: Iterator[Pulled], polls: int) -> _OneByOne:
    source = _OneByOne(messages, polls)
    resident.resident(("puller", _SUBSCRIPTION), lambda: source)
    try:
        while not resident.stopping.is_set():
            run_stretch(settings, engine)
    finally:
        resident.close_all()
        resident.stopping.clear()
    source.memory.append(_resident_megabytes())
    return source


def _pulled(count: int) -> Iterator[Pulled]:
    return (Pulled(str(number), change(number, "memory")) for number in range(count))


def _without_tables() -> beam.PTransform:
    return beam.ParDo(DropSeen(_seen, _written))


def _seen() -> SeenIds:
    return resident.resident("seen", lambda: SeenIds(3_600, 20_000))


def _written() -> SeenIds:
    return resident.resident("written", lambda: SeenIds(3_600, 1))


def _resident_megabytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * _PAGE // 1_000_000
