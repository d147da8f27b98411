"""The local stack: throughput of the job, and the time from publish to a queryable row.

Throughput: a backlog is published, then the job is started; events by the time between their first
and their last `ingest_time`, so without the start of Python. Latency: events at 500/s while a
reader asks every 50 ms which rows it can see; an event's latency is the time from the broker's
answer to the end of the first query that returned it, so the reader's own interval is in it.
"""

import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from google.cloud import bigquery

from bench.harm import together
from bench.job import Job, command_of
from bench.report import quantile
from local import load
from local.layout import Options
from local.processes import Processes
from local.resources import DATASET, TOPIC, topic_path
from local.stack import Stack
from schemas import live
from schemas.message import Message
from schemas.times import now_micros

BACKLOG = 50_000
RATE = 500.0
LATENCY_SECONDS = 20.0
_EVERY = 0.05
_DEADLINE = 300.0


class Sighting:
    """When each event was published, and when its row was first seen.

    The reader asks for rows ingested after the making of the oldest event that it has not seen:
    no row is ingested before its event is made, so none is missed, however late it can be seen.
    """

    def __init__(self) -> None:
        self.published: dict[str, float] = {}
        self.seen: dict[str, float] = {}
        self._made: deque[tuple[str, int]] = deque()

    def making(self, messages: Iterable[Message]) -> Iterator[Message]:
        """The same messages, each noted before it is handed on to be published."""
        for message in messages:
            self._made.append((message.event_id, now_micros()))
            yield message

    def note_published(self, batch: Sequence[Message]) -> None:
        """The broker has these."""
        now = time.monotonic()
        self.published.update((message.event_id, now) for message in batch)

    def note_seen(self, event_ids: Iterable[str]) -> None:
        """A query has returned these."""
        now = time.monotonic()
        for event_id in event_ids:
            self.seen.setdefault(event_id, now)

    def since(self) -> int:
        """From which `ingest_time` on a row may be one that was not seen; microseconds."""
        # Before the look: what is made after it is ingested after it.
        now = now_micros()
        while self._made and self._made[0][0] in self.seen:
            self._made.popleft()
        return self._made[0][1] if self._made else now

    def latencies(self) -> list[float]:
        """From publish to sight, seconds, of each event.

        Raises:
            RuntimeError: One was published and not seen, or seen and not published.
        """
        if set(self.published) != set(self.seen):
            raise RuntimeError(f"{len(self.published)} events published, {len(self.seen)} seen")
        return [self.seen[event_id] - at for event_id, at in self.published.items()]


def run() -> dict[str, object]:
    """Both figures on one stack."""
    options = Options(folder=Path("build/bench/stack").resolve(), job=False)
    with (
        Stack(options, lambda _: None) as stack,
        Processes(options.folder / "logs" / "bench") as processes,
    ):
        client = live.bigquery_client(stack.addresses.project)
        return _latency(stack, processes, client) | _throughput(stack, processes, client)


def _latency(stack: Stack, processes: Processes, client: bigquery.Client) -> dict[str, object]:
    job = Job(processes, command_of(stack))
    job.wait_ready()
    count = int(RATE * LATENCY_SECONDS)
    sighting = Sighting()
    topic = topic_path(stack.addresses.project, TOPIC)
    off = threading.Event()

    def feed() -> None:
        load.publish(
            live.publisher_client(),
            topic,
            sighting.making(load.changes(count, f"latency-{now_micros()}")),
            rate=RATE,
            published=sighting.note_published,
        )

    def look() -> None:
        deadline = time.monotonic() + LATENCY_SECONDS + _DEADLINE
        while len(sighting.seen) < count and not off.is_set():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{len(sighting.seen)} of {count} rows were seen in time")
            query = (
                f"SELECT event_id FROM {DATASET}.issues_stream "  # noqa: S608
                f"WHERE ingest_time >= TIMESTAMP_MICROS({sighting.since()})"
            )
            sighting.note_seen(event_id for (event_id,) in _ask(client, query))
            time.sleep(_EVERY)

    together(off, feed, look)
    peak = job.drain(_DEADLINE)
    times = sighting.latencies()
    return {
        f"events at {RATE:.0f}/s": count,
        "publish to queryable row, p50 ms": round(quantile(times, 0.5) * 1e3),
        "publish to queryable row, p99 ms": round(quantile(times, 0.99) * 1e3),
        "peak memory of the job, MB": round(peak),
    }


def _throughput(stack: Stack, processes: Processes, client: bigquery.Client) -> dict[str, object]:
    topic = topic_path(stack.addresses.project, TOPIC)
    messages = load.changes(BACKLOG, f"backlog-{now_micros()}")
    load.publish(live.publisher_client(), topic, messages)
    since = now_micros()
    peak = Job(processes, command_of(stack, "--stop_when_idle", "5")).wait(_DEADLINE)
    query = (
        "SELECT COUNT(*), COUNT(DISTINCT event_id), MIN(ingest_time), MAX(ingest_time) "  # noqa: S608
        f"FROM {DATASET}.issues_stream WHERE ingest_time > TIMESTAMP_MICROS({since})"
    )
    ((rows, distinct, first, last),) = _ask(client, query)
    if (rows, distinct) != (BACKLOG, BACKLOG):
        raise RuntimeError(f"{BACKLOG} events were published, {rows} rows ({distinct}) are there")
    return {
        "backlog, events": BACKLOG,
        "backlog, events/s": round(BACKLOG / (last - first).total_seconds()),
        "backlog, peak memory of the job, MB": round(peak),
    }


def _ask(client: bigquery.Client, query: str) -> list[tuple[Any, ...]]:
    job = client.query(query, timeout=60, retry=None, job_retry=None)
    return [tuple(row.values()) for row in job.result(timeout=60, retry=None, job_retry=None)]


if __name__ == "__main__":
    sys.stdout.write(f"{run()}\n")
