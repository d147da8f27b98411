"""Memory of the job over one-event bundles, over a million events, and over idle polls.

- `job`: the job as it is, in a process of its own, on the emulators of a local stack: puller,
  leases, acknowledgements, warming, cache and sink are the real ones. Only its bundles are made
  one event each (bench/altered_job.py). Each of them is an append that is waited for, so these
  are REAL_BUNDLES and no more.
- `in memory`: 100,000 one-event bundles of the same graph on the same engine, with a source and a
  sink that are none (bench/in_memory.py).
- `million`: the same with 1,000,000 events in bundles of 100, and a duplicate cache that is full
  after ten of them: what grows from then on is no cache.
- `idle`: the job as it is on an empty subscription, which it looks at again and again without
  waiting in between, so that an hour's polls take seconds. It makes those of several hours.

Half an hour on two cores. Memory goes up and comes back, by some 25 MB, with the stretches of 500
bundles and Python's collector: whether it is flat, the most in each half of the time tells, not the
figures of single moments.

The duplicate cache grows by design, up to its bound: its share is measured apart, as the bytes
that Python allocates for ids that come one a bundle.
"""

import json
import re
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from google.cloud import bigquery

from bench.in_memory import Run
from bench.job import Job, command_of
from local import load
from local.layout import Options
from local.ports import wait_until
from local.processes import ROOT, Processes
from local.resources import DATASET, TOPIC, topic_path
from local.stack import Stack
from pipeline.warm import MOST_IDS
from schemas import live
from schemas.times import now_micros
from transforms.deduplicate import SeenIds

REAL_BUNDLES = 20_000
BUNDLES = 100_000
MILLION = 1_000_000
MILLION_BUNDLE = 100
MILLION_LIMIT = 1_000
"""Ids in the duplicate cache, of which each event brings one."""

POLLS_AN_HOUR = 3_600 // 5
"""An idle read waits five seconds for a message."""

_IDS = 20_000
_LOOK_EVERY = 2.0
_DEADLINE = 3_600.0
_IDLE_SECONDS = 60.0
_DRAIN_SECONDS = 60.0
_POLLS = re.compile(r"read\.bundles (\d+)")
_ALTERED = ("-m", "bench.altered_job")


@dataclass(frozen=True, slots=True)
class Look:
    """How much memory the job had when so many rows were there."""

    rows: int
    megabytes: float


def run() -> dict[str, object]:
    """All three, and the cache's share."""
    bytes_an_id = cache_bytes_an_id(_IDS)
    options = Options(folder=Path("build/bench/memory").resolve(), job=False)
    with (
        Stack(options, lambda _: None) as stack,
        Processes(options.folder / "logs" / "bench") as processes,
    ):
        real = _real(stack, processes, REAL_BUNDLES, bytes_an_id)
        idle = _idle(stack, processes)
    one_by_one = in_memory(BUNDLES, 1, MOST_IDS)
    million = in_memory(MILLION, MILLION_BUNDLE, MILLION_LIMIT)
    return {
        "cache, bytes an id": round(bytes_an_id),
        **real,
        **idle,
        **busy_figures(
            "in memory", BUNDLES, one_by_one.memory, max(one_by_one.memory), bytes_an_id
        ),
        **million_figures(million),
    }


def in_memory(events: int, bundle: int, limit: int) -> Run:
    """`bench.in_memory.run` in a process of its own."""
    command = [sys.executable, "-m", "bench.in_memory", *map(str, (events, bundle, limit))]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=_DEADLINE)
    found = json.loads(done.stdout)
    return Run(tuple(found["memory"]), found["seconds"])


def million_figures(run: Run) -> dict[str, object]:
    """Figures of the million events."""
    return {
        "million: events": MILLION,
        "million: events a bundle": MILLION_BUNDLE,
        "million: ids in the cache at the most": MILLION_LIMIT,
        "million: events/s": round(MILLION / run.seconds),
        **memory_figures("million", run.memory, max(run.memory)),
    }


def cache_bytes_an_id(ids: int) -> float:
    """What Python allocates in the duplicate cache for an id that comes in a bundle of its own."""
    tracemalloc.start()
    try:
        seen = SeenIds(3_600.0, ids)
        before, _ = tracemalloc.get_traced_memory()
        for number in range(ids):
            seen.add([SeenIds.key(str(number))])
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return (after - before) / ids


def busy_figures(
    what: str, bundles: int, memory: Sequence[float], most: float, bytes_an_id: float
) -> dict[str, object]:
    """Figures of a run of one-event bundles.

    Args:
        what: Begins their names.
        bundles: How many there were.
        memory: MB at moments evenly spread from the end of the first tenth to the end.
        most: MB at any moment.
        bytes_an_id: Of the duplicate cache.
    """
    return {
        f"{what}: one-event bundles": bundles,
        **memory_figures(what, memory, most),
        f"{what}: of the growth from a tenth to the end the cache, MB": round(
            bundles * 0.9 * bytes_an_id / 1e6, 1
        ),
    }


def memory_figures(what: str, memory: Sequence[float], most: float) -> dict[str, object]:
    """Figures of memory over a run; arguments as in `busy_figures`."""
    return {
        f"{what}: memory after a tenth, MB": round(memory[0]),
        f"{what}: memory at the end, MB": round(memory[-1]),
        f"{what}: memory most, MB": round(most),
        **halves(what, memory),
    }


def halves(what: str, memory: Sequence[float]) -> dict[str, object]:
    """The most in each half of the time: what is flat goes up and down, yet no higher later."""
    half = (len(memory) + 1) // 2
    return {
        f"{what}: memory most in the first half, MB": round(max(memory[:half])),
        f"{what}: memory most in the second half, MB": round(max(memory[-half:])),
    }


def _real(
    stack: Stack, processes: Processes, bundles: int, bytes_an_id: float
) -> dict[str, object]:
    """The job over a backlog; it ends by itself when the subscription is empty."""
    client = live.bigquery_client(stack.addresses.project)
    topic = topic_path(stack.addresses.project, TOPIC)
    load.publish(live.publisher_client(), topic, load.changes(bundles, f"memory-{now_micros()}"))
    command = command_of(stack, "--stop_when_idle", "5", instead=(*_ALTERED, "one_event"))
    job = Job(processes, command)
    job.wait_ready()
    began = time.monotonic()
    looks = _watch(job, lambda: _rows(client), bundles, began + _DEADLINE)
    took = time.monotonic() - began
    peak = job.wait(_DRAIN_SECONDS)
    distinct = _rows(client, "COUNT(DISTINCT event_id)")
    if (rows := _rows(client), distinct) != (bundles, bundles):
        raise RuntimeError(f"{bundles} events were published, {rows} ({distinct}) are there")
    memory = [look.megabytes for look in looks if look.rows >= bundles / 10]
    return {
        **busy_figures("job", bundles, memory, peak, bytes_an_id),
        "job: one-event bundles/s": round(bundles / took),
    }


def _watch(job: Job, rows: Callable[[], int], until: int, deadline: float) -> list[Look]:
    """Looks at rows and memory every two seconds until all rows are there."""
    looks: list[Look] = []

    def all_there() -> bool:
        looks.append(Look(rows(), job.resident()))
        return looks[-1].rows >= until or not job.running()

    if not wait_until(all_there, deadline, _LOOK_EVERY) or looks[-1].rows < until:
        raise RuntimeError(f"{looks[-1].rows} of {until} rows are there:\n{job.logged()[-2_000:]}")
    return looks


def _idle(stack: Stack, processes: Processes) -> dict[str, object]:
    """The job on what is now an empty subscription, for as long as an hour's polls take, and more.

    Raises:
        RuntimeError: The job ended, or there were fewer polls than an idle hour has.
    """
    job = Job(processes, command_of(stack, instead=(*_ALTERED, "no_patience")))
    job.wait_ready()
    memory: list[float] = []

    def look() -> bool:
        memory.append(job.resident())
        return not job.running()

    if wait_until(look, time.monotonic() + _IDLE_SECONDS, _LOOK_EVERY):
        raise RuntimeError(f"the job ended by itself:\n{job.logged()[-2_000:]}")
    job.drain(_DRAIN_SECONDS)
    found = _POLLS.search(job.logged())
    polls = int(found[1]) if found else 0
    if polls < POLLS_AN_HOUR:
        raise RuntimeError(f"{polls} polls in {_IDLE_SECONDS:.0f} s, {POLLS_AN_HOUR} are an hour's")
    # The polls are evenly spread over the looks.
    hour = memory[max(len(memory) * POLLS_AN_HOUR // polls, 1) - 1]
    return {
        "idle: polls": polls,
        f"idle: hours of {POLLS_AN_HOUR} polls": round(polls / POLLS_AN_HOUR, 1),
        "idle: memory after an hour's polls, about, MB": round(hour),
        "idle: memory after all polls, MB": round(memory[-1]),
        "idle: memory most, MB": round(max(memory)),
        **halves("idle", memory),
    }


def _rows(client: bigquery.Client, what: str = "COUNT(*)") -> int:
    query = f"SELECT {what} FROM {DATASET}.issues_stream"  # noqa: S608
    job = client.query(query, timeout=60, retry=None, job_retry=None)
    (found,) = job.result(timeout=60, retry=None, job_retry=None)
    return int(found[0])
