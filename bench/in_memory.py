"""The job's graph on its own engine in this process, with a source and a sink that are none.

What is left of the job: the engine, in stretches as the launcher runs them, the steps from
decoding to shaping, and the duplicate cache with its own bound. What is not: puller, leases,
acknowledgements, warming, sink. It is quick enough for 100,000 one-event bundles, or for 1,000,000
events in longer ones.

`python -m bench.in_memory EVENTS BUNDLE LIMIT` runs it in a process of its own, whose memory is not
that of what ran before, and prints a `Run` as JSON.
"""

import argparse
import json
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
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
from schemas.message import CE_ID, DEDUP_ID, EVENT_ID, Message
from schemas.row import Row
from transforms.attempt import FAILED
from transforms.deduplicate import DropSeen, SeenIds

_SUBSCRIPTION = "projects/demo-project/subscriptions/in-memory"
_HORIZON = 3_600.0
_LOOKS = 100
_DOCUMENTS = 1_000


@dataclass(frozen=True, slots=True)
class Run:
    """What a run showed.

    Args:
        memory: MB resident, evenly spread over the events, from the end of the first tenth on.
        seconds: How long it took.
    """

    memory: tuple[float, ...]
    seconds: float


class Source:
    """Stands in for the puller: so many messages, some in each bundle; then it stops the job.

    Args:
        events: How many messages.
        bundle: How many of them in a bundle.
        every: After how many memory is looked at.
    """

    waits = 0

    def __init__(self, events: int, bundle: int, every: int) -> None:
        self._messages = pulled(events)
        self._bundle = bundle
        self._every = every
        self.acknowledged = 0
        self.memory: list[float] = []

    def take(self, wait: float) -> list[Pulled]:  # noqa: ARG002
        """The next messages; none after the last."""
        found = [*islice(self._messages, self._bundle)]
        if not found:
            resident.stop()
        return found

    def idle_seconds(self) -> float:
        """It never idles."""
        return 0.0

    def acknowledge(self, batch: list[Pulled]) -> None:
        """Counts."""
        before = self.acknowledged // self._every
        self.acknowledged += len(batch)
        if self.acknowledged // self._every > before:
            self.memory.append(resident_megabytes())


def run(events: int, bundle: int = 1, limit: int = MOST_IDS) -> Run:
    """Runs so many events; memory is looked at a hundred times, or after each where there are less.

    Args:
        events: How many.
        bundle: How many in a bundle.
        limit: How many ids the duplicate cache keeps.

    Raises:
        RuntimeError: Not each was acknowledged, or not each went through all steps.
    """
    settings: Settings = parse(
        ["--project=demo-project", f"--input_subscription={_SUBSCRIPTION}"], str
    )
    engine: Engine = replace(
        DIRECT, sinks={"native": lambda _: _LetGo()}, deduplicate=lambda _: _without_tables(limit)
    )
    source = Source(events, bundle, max(events // _LOOKS, 1))
    resident.resident(puller_key(_SUBSCRIPTION), lambda: source)
    rows = resident.resident(_Rows, _Rows)
    began = time.monotonic()
    try:
        while not resident.stopping.is_set():
            run_stretch(settings, engine)
    finally:
        resident.close_all()
        resident.stopping.clear()
    if (source.acknowledged, rows.count) != (events, events):
        raise RuntimeError(
            f"of {events} events {source.acknowledged} were acknowledged, {rows.count} became rows"
        )
    tenth = len(source.memory) // 10
    return Run(tuple(source.memory[max(tenth - 1, 0) :]), time.monotonic() - began)


class _LetGo(beam.PTransform):  # type: ignore[misc]
    """A sink that takes every row."""

    def expand(self, rows: Any) -> Any:
        return rows | beam.ParDo(_Check()).with_outputs(FAILED, main="rows")


class _Rows:
    """How many rows came to the sink."""

    count = 0


class _Check(beam.DoFn):  # type: ignore[misc]
    def setup(self) -> None:
        self._rows = resident.resident(_Rows, _Rows)

    def process(self, row: Row) -> None:
        if not row.values:
            raise ValueError("a row without values")
        self._rows.count += 1


def pulled(count: int) -> Iterator[Pulled]:
    """So many messages, each an event of its own; the documents are a thousand that come again."""
    made = [change(number, "memory") for number in range(min(count, _DOCUMENTS))]
    for number in range(count):
        message = made[number % len(made)]
        id_ = str(uuid.UUID(int=number))
        yield Pulled(id_, _as_event(message, id_))


def _as_event(message: Message, id_: str) -> Message:
    attributes = {**message.attributes, CE_ID: id_, EVENT_ID: id_, DEDUP_ID: id_}
    return Message(message.data, attributes, id_)


def _without_tables(limit: int) -> beam.PTransform:
    return beam.ParDo(DropSeen(partial(_seen, limit), _written))


def _seen(limit: int) -> SeenIds:
    return resident.resident("seen", lambda: SeenIds(_HORIZON, limit))


def _written() -> SeenIds:
    return resident.resident("written", lambda: SeenIds(_HORIZON, 1))


def main(argv: list[str] | None = None) -> int:
    """Runs it and prints what it showed."""
    parser = argparse.ArgumentParser(prog="python -m bench.in_memory", description=__doc__)
    for name in ("events", "bundle", "limit"):
        parser.add_argument(name, type=int)
    arguments = parser.parse_args(argv)
    print(json.dumps(asdict(run(arguments.events, arguments.bundle, arguments.limit))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
