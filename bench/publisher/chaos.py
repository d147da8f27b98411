"""`python -m bench.publisher.chaos`: the publisher under load and faults, accounted for by set.

The real service, between it and Pub/Sub's emulator a TCP proxy (refuses, resets) and a gRPC proxy
(delays, UNAVAILABLE before or after the call). Each phase is a load over 64 connections, half
issues with an Idempotency-Key and half events, with harm in its middle; then all is well again and
what the topic got is compared with what was answered. Exit code 1 if a phase does not hold.
"""

import argparse
import asyncio
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.publisher.accounts import Account, account, fresh
from bench.publisher.client import ClosedLoop, run
from bench.publisher.pinned import resident_megabytes
from bench.publisher.requests import Stream, large
from bench.publisher.servers import PUBLISHER, Service
from bench.publisher.tally import NO_ANSWER, Tally
from bench.publisher.topic import OnTopic, Topic
from bench.report import save
from local.fault_proxy import FaultProxy, Faults
from local.processes import Processes
from local.proxy import Proxy

CONNECTIONS = 64
# More than the room takes, so that an outage finds it full: the others are told so, 429.
FULL_LOAD = 1_000
# What the process may hold at the most: 75 MB idle, some 130 MB for a full room.
MAX_MEGABYTES = 300.0
# Cloud Run kills an instance 10 s after SIGTERM.
MAX_STOP_SECONDS = 10.0
_LOGS = Path("build/bench/logs")
_BEFORE_SECONDS = 1.0
_AFTER_SECONDS = 0.5
_HEALED_SECONDS = 15.0
_QUIET_SECONDS = 4.0
_SAMPLE_SECONDS = 0.2


@dataclass(slots=True)
class Stage:
    """All parts of a run, and what harm can do to them.

    Args:
        topic: The emulator.
        grpc: Before it.
        tcp: Before that; the service finds Pub/Sub here.
        service: The publisher.
        stream: The phase's requests.
        found: What its topic got.
        notes: What a phase has seen.
        faults: And what must not have been.
    """

    topic: Topic
    grpc: FaultProxy
    tcp: Proxy
    service: Service
    stream: Stream
    found: OnTopic
    notes: dict[str, float]
    faults: list[str]


Harm = Callable[[Stage, float], None]


def grpc_faults(faults: Faults) -> Harm:
    """Calls fail or are late for a while."""

    def harm(stage: Stage, seconds: float) -> None:
        before = stage.grpc.hit
        stage.grpc.faults = faults
        _wait(stage, seconds)
        stage.grpc.faults = Faults()
        stage.notes["calls hit"] = stage.grpc.hit - before

    return harm


def resets(every: float) -> Harm:
    """Connections to Pub/Sub are reset again and again."""

    def harm(stage: Stage, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            stage.tcp.refuse()
            stage.tcp.resume()
            _wait(stage, every)

    return harm


def outage(stage: Stage, seconds: float) -> None:
    """Pub/Sub refuses every connection; memory must stay bounded."""
    stage.tcp.refuse()
    _wait(stage, seconds)
    stage.tcp.resume()


def emulator_killed(stage: Stage, seconds: float) -> None:
    """The emulator is killed and started anew.

    What it holds is gone with it, which Pub/Sub's own promise excludes: so the service is cut off
    first, under load, and what was acknowledged until then is taken from the topic.
    """
    stage.tcp.refuse()
    _drain(stage)
    stage.topic.kill()
    _wait(stage, seconds)
    stage.topic.start()
    stage.tcp.resume()


def killed(stage: Stage, seconds: float) -> None:
    """SIGKILL to the publisher, and a new one."""
    stage.service.kill()
    stage.service.start()
    _wait(stage, seconds)


def terminated(stage: Stage, seconds: float) -> None:
    """SIGTERM to the publisher, and a new one."""
    began = time.monotonic()
    how = stage.service.stop()
    took = time.monotonic() - began
    stage.notes["seconds to its end"] = round(took, 2)
    if took > MAX_STOP_SECONDS or "ended" not in how:
        stage.faults.append(f"SIGTERM: {how} after {took:.1f} s")
    stage.service.start()
    _wait(stage, seconds)


@dataclass(frozen=True, slots=True)
class Phase:
    """One load and its harm.

    Args:
        name: What the ledger calls it.
        harm: What is done.
        seconds: For how long.
        connections: Of the load.
        large: Bytes of each request, which are events then; 0 is the usual load.
    """

    name: str
    harm: Harm
    seconds: float
    connections: int = CONNECTIONS
    large: int = 0


def _wait(stage: Stage, seconds: float) -> None:
    """Lets it be for a while, and looks how much the publisher holds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(_SAMPLE_SECONDS)
        held = round(resident_megabytes(stage.service.pid), 1)
        stage.notes["peak MB"] = max(held, stage.notes.get("peak MB", 0.0))


def _drain(stage: Stage) -> None:
    """Takes what is on the topic until nothing comes any more."""
    last = time.monotonic()
    while time.monotonic() - last < 1.0:
        if stage.topic.drain(stage.stream, stage.found):
            last = time.monotonic()


def _share(share: float) -> str:
    return f"{share:.0%}"


def plan(seconds: float, outage_seconds: float) -> tuple[Phase, ...]:
    """Every fault, for so long each."""
    kinds = (
        ("late by 0.3 s", {"seconds": 0.3}),
        ("UNAVAILABLE before", {"before": True}),
        ("UNAVAILABLE after", {"after": True}),
    )
    return (
        *(
            Phase(f"{_share(share)} {name}", grpc_faults(Faults(share=share, **more)), seconds)
            for name, more in kinds
            for share in (0.1, 1.0)
        ),
        Phase("resets now and then", resets(1.0), seconds),
        Phase("resets all the time", resets(0.05), seconds),
        Phase("refused", outage, seconds),
        Phase("refused, events of 4 MB", outage, seconds, 8, 4_000_000),
        Phase("emulator killed", emulator_killed, seconds),
        Phase("SIGKILL", killed, seconds),
        Phase("SIGTERM", terminated, seconds),
        Phase(f"outage of {outage_seconds:g} s", outage, outage_seconds, FULL_LOAD),
    )


async def _load(
    address: str, stream: Stream, tally: Tally, connections: int, stop: threading.Event
) -> None:
    """A closed loop until it is told to stop."""
    tally.began = time.monotonic()
    load = ClosedLoop(address, stream, tally)
    for _ in range(connections):
        load.connect()
    await asyncio.to_thread(stop.wait)
    await load.finish()


def _healed(stage: Stage, tally: Tally) -> None:
    """Waits until a request that was sent after the harm is taken, and a while longer."""
    over = time.monotonic()
    seen = len(tally.answers)
    while not any(each.taken and each.due > over for each in tally.answers[seen:]):
        if time.monotonic() - over > _HEALED_SECONDS:
            stage.faults.append(f"nothing was taken {_HEALED_SECONDS:g} s after the harm was over")
            return
        _wait(stage, _SAMPLE_SECONDS)
    stage.notes["seconds to the next 2xx"] = round(time.monotonic() - over, 1)
    _wait(stage, _AFTER_SECONDS)


def one(stage: Stage, phase: Phase) -> Account:
    """A phase: load, harm, healing, and the account."""
    stage.stream, stage.found = fresh()
    if phase.large:
        stage.stream = Stream(large(phase.large))
    stage.notes, stage.faults = {}, []
    stop, tally = threading.Event(), Tally()
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(
            lambda: run(_load(stage.service.address, stage.stream, tally, phase.connections, stop))
        )
        try:
            _wait(stage, _BEFORE_SECONDS)
            phase.harm(stage, phase.seconds)
            _healed(stage, tally)
        finally:
            stop.set()
        load.result()
    stage.topic.settle(stage.stream, stage.found, tally.taken(), _QUIET_SECONDS)
    if stage.notes["peak MB"] > MAX_MEGABYTES:
        stage.faults.append(f"it held {stage.notes['peak MB']} MB, {MAX_MEGABYTES:g} is the bound")
    if tally.without_retry_after:
        stage.faults.append(f"{tally.without_retry_after} answers 429 or 503 without Retry-After")
    if strange := set(tally.statuses()) - {NO_ANSWER, 200, 204, 429, 503}:
        stage.faults.append(f"statuses {sorted(strange)}")
    return account(phase.name, tally, stage.found, stage.notes, tuple(stage.faults))


def phases(chosen: Sequence[Phase], logs: Path = _LOGS) -> Iterator[Account]:
    """Carries the phases out, one after the other, on one service."""
    with (
        Processes(logs) as processes,
        Topic(processes) as topic,
        FaultProxy(topic.address) as grpc,
        Proxy(grpc.address) as tcp,
    ):
        service = Service(processes, PUBLISHER, tcp.address, topic.name, core=None)
        stage = Stage(topic, grpc, tcp, service, *fresh(), {}, [])
        for phase in chosen:
            yield one(stage, phase)
        service.stop()


def show(accounts: Sequence[Account]) -> None:
    """Prints the ledger."""
    table = Table(title="the publisher under faults")
    headings = ("phase", "answers", "2xx", "on topic", "repeats", "missing", "wrong", "notes", "")
    for heading in headings:
        table.add_column(heading)
    for each in accounts:
        answers = " ".join(f"{status or 'none'}:{count}" for status, count in each.statuses.items())
        counts = (each.taken, each.on_topic, each.repeats, each.missing, each.wrong + each.unknown)
        notes = "; ".join(f"{name} {value:g}" for name, value in each.notes.items())
        end = "holds" if each.holds else "; ".join(("does NOT hold", *each.faults))
        table.add_row(each.phase, answers, *(f"{count:,}" for count in counts), notes, end)
    Console(width=170).print(table)


def main() -> int:
    """Runs the long form.

    Returns:
        The exit code: 1 when a phase does not hold.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.publisher.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each harm (default: 8)")
    parser.add_argument("--outage", type=float, default=60.0, help="the long one (default: 60)")
    given = parser.parse_args()
    accounts = []
    for each in phases(plan(given.seconds, given.outage)):
        print(f"{each.phase}: {'holds' if each.holds else 'does NOT hold'}", flush=True)
        accounts.append(each)
    show(accounts)
    save("publisher-chaos", {each.phase: asdict(each) for each in accounts})
    return 0 if all(each.holds for each in accounts) else 1


if __name__ == "__main__":
    sys.exit(main())
