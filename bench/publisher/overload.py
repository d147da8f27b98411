"""`python -m bench.publisher.overload`: ten times what the publisher can take.

Capacity is measured in the same run, then offered tenfold by an open loop over at most 1,000
connections (the most that Cloud Run gives an instance), and by a closed loop of 1,900 that come
again at once; last with a broker that is slow, so that the queue is what fills. What finds no free
connection is not sent: in the cloud it waits before the instance. Exit code 1 if it does not hold:
refused at once, memory bounded, well afterwards, nothing lost, and, where Cloud Run stands before
it and the broker is well, accepted with p99 under a second.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.publisher.accounts import account, fresh
from bench.publisher.client import closed, opened, run
from bench.publisher.pinned import used
from bench.publisher.requests import Stream
from bench.publisher.servers import PUBLISHER, Service
from bench.publisher.tally import NO_ANSWER, Tally, full, taken
from bench.publisher.topic import Topic
from bench.report import save
from local.fault_proxy import FaultProxy, Faults
from local.processes import Processes

TIMES = 10
CLOUD_RUN_CONNECTIONS = 1_000
CROWD = 1_900
MAX_ACCEPTED_MS = 1_000.0
MAX_REFUSED_MS = 1_000.0
MAX_MEGABYTES = 300.0
_LOGS = Path("build/bench/logs")
_CAPACITY_SECONDS = 4.0
_SLOW = Faults(share=1.0, seconds=0.4)
_QUIET_SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class Flood:
    """What came of one flood.

    Args:
        name: Its name.
        offered: Requests that were due.
        not_sent: Of these, those without a connection.
        accepted: Answered 2xx.
        accepted_p99: Of their latency, in milliseconds.
        refused: Answered 429.
        refused_p99: The same of these.
        other: Answered 503.
        peak_mb: The most that was resident so far.
        faults: What does not hold, a sentence each.
    """

    name: str
    offered: int
    not_sent: int
    accepted: int
    accepted_p99: float
    refused: int
    refused_p99: float
    other: int
    peak_mb: float
    faults: tuple[str, ...]


def flood(
    name: str,
    service: Service,
    topic: Topic,
    load: Callable[[Stream], Tally],
    *,
    quick: bool = False,
) -> Flood:
    """One flood and its account; where it must be quick, the latency of what is accepted counts."""
    stream, found = fresh()
    tally = load(stream)
    topic.settle(stream, found, tally.taken(), _QUIET_SECONDS)
    ledger = account(name, tally, found)
    statuses = tally.statuses()
    accepted_p99 = tally.milliseconds(0.99, taken)
    refused_p99 = tally.milliseconds(0.99, full)
    peak = round(used(service.pid).peak_megabytes, 1)
    faults = []
    if not ledger.holds:
        faults.append(f"{ledger.missing} missing, {ledger.wrong} wrong, {ledger.unknown} unknown")
    if quick and accepted_p99 >= MAX_ACCEPTED_MS:
        faults.append(f"accepted p99 {accepted_p99} ms")
    if refused_p99 >= MAX_REFUSED_MS:
        faults.append(f"refused p99 {refused_p99} ms")
    if peak > MAX_MEGABYTES:
        faults.append(f"{peak} MB")
    if tally.without_retry_after or set(statuses) - {200, 204, 429, 503}:
        faults.append(f"statuses {statuses}, {tally.without_retry_after} without Retry-After")
    if statuses.get(NO_ANSWER) or tally.refused_connections:
        faults.append(f"{tally.refused_connections} connections refused")
    return Flood(
        name,
        tally.offered,
        tally.not_sent,
        ledger.taken,
        accepted_p99,
        statuses.get(429, 0),
        refused_p99,
        statuses.get(503, 0),
        peak,
        tuple(faults),
    )


def floods(seconds: float, logs: Path = _LOGS) -> list[Flood]:
    """All of them, on one service."""
    with (
        Processes(logs) as processes,
        Topic(processes) as topic,
        FaultProxy(topic.address) as slow,
    ):
        service = Service(processes, PUBLISHER, topic.address, topic.name, core=None)
        run(closed(service.address, fresh()[0], 64, _CAPACITY_SECONDS))  # warms the emulator
        topic.renew()
        capacity = run(closed(service.address, fresh()[0], 64, _CAPACITY_SECONDS)).rate()
        topic.renew()
        rate = TIMES * capacity
        print(f"it takes {capacity:,.0f} requests/s; {rate:,.0f}/s are offered", flush=True)

        def open_loop(stream: Stream) -> Tally:
            return run(opened(service.address, stream, rate, CLOUD_RUN_CONNECTIONS, seconds))

        def crowd(stream: Stream) -> Tally:
            return run(closed(service.address, stream, CROWD, seconds))

        def afterwards(stream: Stream) -> Tally:
            return run(closed(service.address, stream, 16, 1.0))

        results = [
            flood("open loop", service, topic, open_loop, quick=True),
            flood("afterwards", service, topic, afterwards),
            flood("crowd", service, topic, crowd),
            flood("after the crowd", service, topic, afterwards),
        ]
        service.stop()
        slow.faults = _SLOW
        service = Service(processes, PUBLISHER, slow.address, topic.name, core=None)
        results.append(flood("slow broker", service, topic, open_loop))
        service.stop()
    return results


def show(results: list[Flood]) -> None:
    """Prints them."""
    table = Table(title=f"{TIMES} times what it can take")
    headings = list(asdict(results[0]))
    for heading in headings:
        table.add_column(heading.replace("_", " "))
    for each in results:
        *values, faults = asdict(each).values()
        table.add_row(*(f"{value}" for value in values), "; ".join(faults) or "holds")
    Console(width=150).print(table)


def main() -> int:
    """Runs it.

    Returns:
        The exit code: 1 when something does not hold.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.publisher.overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each flood (default: 20)")
    results = floods(parser.parse_args().seconds)
    show(results)
    save("publisher-overload", {each.name: asdict(each) for each in results})
    return 1 if any(each.faults for each in results) else 0


if __name__ == "__main__":
    sys.exit(main())
