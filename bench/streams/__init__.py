"""The Java sink as a stream: what its write streams and its triggering frequency cost and bring.

    python -m bench streams

Beam on Flink runs the job's own sink over rows that are made at a rate, into BigQuery's stand-in,
one setting after the other. The stand-in and all of it share this machine's processors, so rows a
second at saturation say what a setting costs here, and not what BigQuery takes; how far rows lag
behind at a modest rate, and what is asked of the service meanwhile, hold elsewhere too.

Lag is the time from a row's `ingest_time` until a query sees it. Its mean is the backlog's mean
over the rate (Little's law), by the rows that a query counts four times a second.
"""

import sys
import threading
import time
import uuid
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

from bench.cpu import clock
from bench.streams import flink
from local.emulators import find
from local.environment import Environment
from local.ports import wait_until
from local.processes import Command, NotReadyError
from local.sink_stack import Running, SinkStack
from schemas import live
from schemas.apply import apply
from schemas.table_file import shipped

_FOLDER = Path("build/bench/streams").resolve()
_FIRST_SECONDS = 180.0
_SECONDS = 60.0
_WARM_SECONDS = 10.0
_EVERY = 0.25
_MILLION = 1_000_000
_WRITE = "/google.cloud.bigquery.storage.v1.BigQueryWrite/"

MODEST, FLOOD = 200, 20_000
"""Rows a second: well below what this machine takes, and far above."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What is tried.

    Args:
        seconds: Triggering frequency.
        streams: Of the table; `AUTO` lets the runner choose.
        rate: Rows that are made a second.
    """

    seconds: int
    streams: int
    rate: int

    def __str__(self) -> str:
        streams = f"{self.streams} streams" if self.streams else "auto-sharding"
        return f"{streams}, {self.seconds} s, {'flood' if self.rate == FLOOD else self.rate}"


AUTO = 0
SETTINGS = (
    *(Setting(seconds, 2, MODEST) for seconds in (1, 2, 5, 10)),
    *(Setting(5, streams, MODEST) for streams in (1, 4, 8, AUTO)),
    *(Setting(5, streams, FLOOD) for streams in (1, 2, 4, 8, AUTO)),
    *(Setting(seconds, 2, FLOOD) for seconds in (1, 10)),
)


class Heard:
    """What the gateway saw go to Storage Write."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def appended(self, stream: str, rows: Sequence[bytes]) -> None:  # noqa: ARG002
        """Notes an append request."""
        with self._lock:
            self._counts["appends"] += 1
            self._counts["rows"] += len(rows)

    def called(self, method: str) -> None:
        """Notes a call."""
        with self._lock:
            self._counts[method.removeprefix(_WRITE)] += 1

    def counts(self) -> Counter[str]:
        """So far."""
        with self._lock:
            return self._counts.copy()


def run() -> dict[str, object]:
    """Every setting, on one stack."""
    return measure(SETTINGS, 40.0)


def measure(settings: Sequence[Setting], window: float) -> dict[str, object]:
    """The figures of settings, each over so many seconds.

    Raises:
        NotReadyError: Something did not start, or did not end.
    """
    if not flink.JAR.is_file():
        raise NotReadyError(f"{flink.JAR} is missing: make flink")
    rmtree(_FOLDER, ignore_errors=True)
    _FOLDER.mkdir(parents=True)
    heard = Heard()
    environment = Environment()
    figures: dict[str, object] = {}
    try:
        with SinkStack(_FOLDER, heard.appended, called=heard.called) as running:
            environment.set(running.environment)
            cluster = flink.start(running.processes, find(own=True).java, _FOLDER / "flink")
            _measure(Setting(2, AUTO, MODEST), running, cluster, heard, window)  # warms it all
            for setting in settings:
                found = _measure(setting, running, cluster, heard, window)
                sys.stderr.write(f"{setting}: {found}\n")
                figures |= {f"{setting}: {name}": value for name, value in found.items()}
    finally:
        environment.restore()
    return figures


def _measure(
    setting: Setting, running: Running, cluster: flink.Cluster, heard: Heard, window: float
) -> dict[str, object]:
    dataset = f"ds_{uuid.uuid4().hex[:12]}"
    client = live.bigquery_client(running.project)
    apply(client, dataset, shipped(), _SECONDS)
    table = f"`{dataset}.{shipped()[0].name}`"
    command = Command(
        f"job {dataset}",
        (
            *(sys.executable, "-m", "bench.streams.job", "--rate", str(setting.rate)),
            *("--seconds", str(setting.seconds), "--streams", str(setting.streams)),
            *("--dataset", f"{running.project}.{dataset}", "--expansion", running.expansion),
            *cluster.flags,
        ),
    )
    child = running.processes.start(command)
    try:
        child.wait_ready(lambda _: _count(client, table) > 0, _FIRST_SECONDS)
        _polled(client, table, _WARM_SECONDS)
        clocks = {
            "TaskManager": clock(cluster.task_manager.pid),
            "Java's worker": clock(running.worker.pid),
            "Python": clock(cluster.python.pid),
            "stand-in": clock(running.bigquery.pid),
        }
        began, before = heard.counts(), {name: read() for name, read in clocks.items()}
        seen = _polled(client, table, window)
        after, cpu = heard.counts(), {name: read() - before[name] for name, read in clocks.items()}
        if setting.rate != FLOOD:
            _polled(client, table, 3.0 * setting.seconds + 5.0)
        made = _made(client, table)
    finally:
        cluster.cancel()
        if not wait_until(cluster.idle, time.monotonic() + _SECONDS, _EVERY):
            raise NotReadyError(f"{setting} did not end")
        running.processes.reap(child)
    seconds = seen[-1][0] - seen[0][0]
    rows = seen[-1][1] - seen[0][1]
    asked = after - began
    found: dict[str, object] = {"rows/s": round(rows / seconds)}
    if setting.rate != FLOOD:
        found |= lag(seen, made)
    found["rows of an append"] = round(asked["rows"] / max(1, asked["appends"]))
    for name, method in (("appends", "appends"), ("flushes", "FlushRows"),
                         ("streams opened", "CreateWriteStream")):  # fmt: skip
        found[f"{name} a minute"] = round(asked[method] / seconds * 60)
    for name, used in cpu.items():
        found[f"CPU s of a million rows, {name}"] = round(used / max(1, rows) * _MILLION)
    return found


def lag(seen: Sequence[tuple[float, int]], made: Sequence[float]) -> dict[str, object]:
    """How far what is seen lags behind what is made, in seconds.

    Args:
        seen: Times, and how many rows a query saw then; at least two.
        made: When each row was made, in order.
    """
    behind = [bisect_right(made, at) - count for at, count in seen]
    span = seen[-1][0] - seen[0][0]
    rate = (bisect_right(made, seen[-1][0]) - bisect_right(made, seen[0][0])) / span
    return {
        "mean lag, s": round(sum(behind) / len(behind) / rate, 1),
        "most behind, s": round(max(behind) / rate, 1),
    }


def _polled(client: Any, table: str, seconds: float) -> list[tuple[float, int]]:
    """Counts the rows again and again."""
    until = time.monotonic() + seconds
    seen = []
    while time.monotonic() < until:
        at = time.time()
        seen.append((at, _count(client, table)))
        time.sleep(max(0.0, at + _EVERY - time.time()))
    return seen


def _count(client: Any, table: str) -> int:
    [[count]] = _ask(client, f"SELECT COUNT(*) FROM {table}")  # noqa: S608
    return int(count)


def _made(client: Any, table: str) -> list[float]:
    rows = _ask(client, f"SELECT ingest_time FROM {table} ORDER BY ingest_time")  # noqa: S608
    return [row[0].timestamp() for row in rows]


def _ask(client: Any, query: str) -> list[Any]:
    job = client.query(query, timeout=_SECONDS, retry=None, job_retry=None)
    return list(job.result(timeout=_SECONDS, retry=None, job_retry=None))
