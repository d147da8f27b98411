"""Beam's Java sink beside the native one: the job's own graph over the same recorded messages.

Everything is on this machine and shares its processors: the job, Java's worker, the gateway that
both sinks write through, and BigQuery's stand-in. Rows a second are of all of them together; the
CPU seconds are told apart. Figures are of the second run less the first, shorter one: what a start
costs is in neither. The job reads, decodes and shapes too, alike on both.

Bounded, Beam's sink uses neither its streams nor its triggering frequency, and commits once.
"""

import resource
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

from bench.cpu import clock
from bench.job import Job
from local.environment import Environment
from local.load import changes
from local.processes import Command
from local.resources import create
from local.sink_stack import Running, SinkStack
from schemas import live
from schemas.apply import apply
from schemas.recorded import to_line
from schemas.table_file import shipped

SINKS = ("native", "storage_write")
WARM, FIRST, SECOND = 2_000, 20_000, 120_000
"""Events of a run that only warms what stays, and of the two that are compared."""

_FOLDER = Path("build/bench/sinks").resolve()
_SECONDS = 60.0
_RUN_SECONDS = 900.0
_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run took.

    Args:
        seconds: From the job's start to its end.
        cpu: CPU seconds by process.
    """

    seconds: float
    cpu: dict[str, float]

    def less(self, other: "Cost") -> "Cost":
        """What it took more than another run."""
        return Cost(
            self.seconds - other.seconds,
            {name: value - other.cpu[name] for name, value in self.cpu.items()},
        )


def run() -> dict[str, object]:
    """Starts everything, and runs the job on either sink."""
    return measure(WARM, FIRST, SECOND)


def measure(warm: int, first: int, second: int) -> dict[str, object]:
    """The figures, by runs of so many events.

    Raises:
        NotReadyError: Something did not start, or the job ended badly.
        RuntimeError: A table does not hold every event once.
    """
    rmtree(_FOLDER, ignore_errors=True)
    _FOLDER.mkdir(parents=True)
    recordings = {count: _record(count) for count in (warm, first, second)}
    environment = Environment()
    figures: dict[str, object] = {}
    try:
        with SinkStack(_FOLDER) as running:
            environment.set(running.environment)
            create(live.publisher_client(), live.subscriber_client(), running.project)
            for sink in SINKS:
                _run(running, sink, recordings[warm], warm)
                short = _run(running, sink, recordings[first], first)
                long = _run(running, sink, recordings[second], second)
                figures |= _figures(sink, long.less(short), second - first)
    finally:
        environment.restore()
    return figures


def _figures(sink: str, cost: Cost, rows: int) -> dict[str, object]:
    found: dict[str, object] = {f"{sink}: rows/s": round(rows / cost.seconds)}
    for name, seconds in cost.cpu.items():
        found[f"{sink}: CPU s of a million rows, {name}"] = round(seconds / rows * _MILLION, 1)
    return found


def _record(count: int) -> Path:
    path = _FOLDER / f"{count}.jsonl"
    with path.open("w") as file:
        file.writelines(f"{to_line(message)}\n" for message in changes(count, uuid.uuid4().hex))
    return path


def _run(running: Running, sink: str, recording: Path, count: int) -> Cost:
    dataset = f"ds_{uuid.uuid4().hex[:12]}"
    client = live.bigquery_client(running.project)
    apply(client, dataset, shipped(), _SECONDS)
    command = Command(
        f"job {sink} {count}",
        (
            *(sys.executable, "run_dataflow.py", "--project", running.project),
            *("--input_files", str(recording), "--output_dataset", dataset, "--sink", sink),
            *(("--expansion_service", running.expansion) if sink != SINKS[0] else ()),
        ),
    )
    others = {"Java's worker": running.worker, "stand-in": running.bigquery}
    if running.gateway is not None:
        others["gateway"] = running.gateway
    clocks: dict[str, Callable[[], float]] = {"job": _children} | {
        name: clock(child.pid) for name, child in others.items()
    }
    before = {name: read() for name, read in clocks.items()}
    began = time.monotonic()
    Job(running.processes, command).wait(_RUN_SECONDS)
    seconds = time.monotonic() - began
    cpu = {name: read() - before[name] for name, read in clocks.items()}
    query = f"SELECT COUNT(*), COUNT(DISTINCT event_id) FROM {dataset}.issues_stream"  # noqa: S608
    job = client.query(query, timeout=_SECONDS, retry=None, job_retry=None)
    found = tuple(next(iter(job.result(timeout=_SECONDS, retry=None, job_retry=None))))
    if found != (count, count):
        raise RuntimeError(f"{count} events were given to {sink}, {found} rows are there")
    return Cost(seconds, cpu)


def _children() -> float:
    """CPU seconds of this process's children that have ended: of the runs of the job alone."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
