"""The local stack: throughput of the job, and the time from publish to a queryable row.

Throughput: a backlog is published, then the job is started; events by the time between their first
and their last `ingest_time`, so without the start of Python. Latency: events at 500/s while a
reader asks every 50 ms which rows it can see; an event's latency is the time from the broker's
answer to the end of the first query that returned it, so the reader's own interval is in it.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from google.cloud import bigquery

from bench.report import quantile
from local import load
from local.layout import Options, job_command
from local.resources import DATASET, TOPIC, topic_path
from local.stack import Stack
from schemas import live
from schemas.message import Message
from schemas.times import now_micros

BACKLOG = 50_000
RATE = 500.0
LATENCY_SECONDS = 20
_EVERY = 0.05
_DEADLINE = 300.0
_MICROS = 1e6


class _Job:
    """The job as a process of our own, so that the kernel tells its peak memory."""

    def __init__(self, stack: Stack, *arguments: str) -> None:
        command = job_command(stack.options, stack.addresses.pubsub)
        self._log = stack.options.folder / "bench-job.log"
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [*command.argv, *arguments], env=os.environ | dict(command.env), stderr=output
            )

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + _DEADLINE
        while text not in self._log.read_text():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the job did not say {text!r}:\n{self._log.read_text()}")
            time.sleep(0.1)

    def drain(self) -> int:
        """Tells it to stop; see `wait`."""
        self._process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Waits for its end, which must be a good one; its peak memory in MB."""
        _, status, usage = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        if self._process.returncode != 0:
            raise RuntimeError(f"the job ended badly:\n{self._log.read_text()}")
        return usage.ru_maxrss // 1024


def run() -> dict[str, object]:
    """Both figures on one stack."""
    options = Options(folder=Path("build/bench/stack").resolve(), job=False)
    with Stack(options, lambda _: None) as stack:
        client = live.bigquery_client(stack.addresses.project)
        return _latency(stack, client) | _throughput(stack, client)


def _latency(stack: Stack, client: bigquery.Client) -> dict[str, object]:
    job = _Job(stack)
    job.wait_for("event ids known")
    sent: dict[str, float] = {}
    seen: dict[str, float] = {}

    def published(batch: Sequence[Message]) -> None:
        now = time.monotonic()
        sent.update((message.event_id, now) for message in batch)

    count = int(RATE * LATENCY_SECONDS)
    topic = topic_path(stack.addresses.project, TOPIC)
    feeder = threading.Thread(
        target=load.publish,
        args=(live.publisher_client(), topic, load.changes(count, f"latency-{now_micros()}")),
        kwargs={"rate": RATE, "published": published},
    )
    feeder.start()
    deadline = time.monotonic() + LATENCY_SECONDS + _DEADLINE
    since = now_micros()
    while len(seen) < count and time.monotonic() < deadline:
        rows = _ask(
            client,
            f"SELECT event_id, ingest_time FROM {DATASET}.issues_stream "  # noqa: S608
            f"WHERE ingest_time > TIMESTAMP_MICROS({since})",
        )
        now = time.monotonic()
        for event_id, ingest_time in rows:
            seen.setdefault(event_id, now)
            # Looks back a second: a bundle's rows are stamped before they can be seen.
            since = max(since, int(ingest_time.timestamp() * _MICROS) - 1_000_000)
        time.sleep(_EVERY)
    feeder.join()
    peak = job.drain()
    if set(sent) != set(seen):
        raise RuntimeError(f"{len(sent)} events were published, {len(seen)} rows were seen")
    times = [seen[event_id] - at for event_id, at in sent.items()]
    return {
        "events at 500/s": count,
        "publish to queryable row, p50 ms": round(quantile(times, 0.5) * 1e3),
        "publish to queryable row, p99 ms": round(quantile(times, 0.99) * 1e3),
        "peak memory of the job, MB": peak,
    }


def _throughput(stack: Stack, client: bigquery.Client) -> dict[str, object]:
    topic = topic_path(stack.addresses.project, TOPIC)
    messages = load.changes(BACKLOG, f"backlog-{now_micros()}")
    load.publish(live.publisher_client(), topic, messages)
    since = now_micros()
    peak = _Job(stack, "--stop_when_idle", "5").wait()
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
        "backlog, peak memory of the job, MB": peak,
    }


def _ask(client: bigquery.Client, query: str) -> list[tuple[object, ...]]:
    job = client.query(query, timeout=60, retry=None, job_retry=None)
    return [tuple(row.values()) for row in job.result(timeout=60, retry=None, job_retry=None)]


if __name__ == "__main__":
    sys.stdout.write(f"{run()}\n")
