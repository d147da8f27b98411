"""The publisher beside other ways to build it, in one run, each on one core.

The load client and Pub/Sub's emulator share the other core. Rounds alternate, so that a slow
stretch of the machine falls on all; a figure is the median of its rounds. After each round what
the topic got is compared by set with what was answered 2xx.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from bench.publisher.client import closed, run
from bench.publisher.pinned import OTHER_CORE, SERVER_CORE, pin_self, used
from bench.publisher.requests import Stream, Template, event, issue
from bench.publisher.servers import EARLIER, PUBLISHER, SERVERS, Server, Service
from bench.publisher.tally import taken
from bench.publisher.topic import OnTopic, Topic
from local.processes import Processes

_LOGS = Path("build/bench/logs")
_WARM_SECONDS = 2.0
_WARM_EMULATOR_SECONDS = 15.0
_QUIET_SECONDS = 3.0
# Of the topic's quiet before a message counts as missing where nobody waited for its ack.
_QUIET_NOT_WAITING = 8.0


@dataclass(frozen=True, slots=True)
class Round:
    """One server under one load.

    Args:
        rate: Answers 2xx a second.
        p50: Of their latency, in milliseconds.
        p99: The same.
        cpu: CPU seconds for 1,000 answers, of the server's processes.
        megabytes: The most that was resident.
        other: Answers that were no 2xx, and requests without one.
        missing: Requests answered 2xx that were not on the topic.
    """

    rate: float
    p50: float
    p99: float
    cpu: float
    megabytes: float
    other: int
    missing: int


@dataclass(frozen=True, slots=True)
class Case:
    """A load that every server gets.

    Args:
        name: What tables call it.
        template: The request.
        connections: How many at once.
        rounds: How often.
    """

    name: str
    template: Template
    connections: int
    rounds: int


def cases(rounds: int) -> tuple[Case, ...]:
    """The first is the one that goals are about."""
    return (
        Case("issues, 64 connections", issue(), 64, rounds),
        Case("issues, 8 connections", issue(), 8, 1),
        Case("issues, 256 connections", issue(), 256, 1),
        Case("events of 1.7 KB, 64 connections", event(), 64, 1),
    )


def one_round(
    processes: Processes, topic: Topic, server: Server, case: Case, seconds: float
) -> Round:
    """Starts the server anew, loads it, and counts."""
    topic.renew()
    service = Service(processes, server, topic.address, topic.name, SERVER_CORE)
    try:
        warm = Stream(case.template)
        run(closed(service.address, warm, case.connections, _WARM_SECONDS))
        stream = Stream(case.template)
        before = used(service.pid)
        tally = run(closed(service.address, stream, case.connections, seconds))
        after = used(service.pid)
        answered = tally.taken()
        found = OnTopic()
        quiet = _QUIET_SECONDS if server.waits else _QUIET_NOT_WAITING
        topic.settle(stream, found, answered, quiet)
    finally:
        service.stop()
    return Round(
        rate=tally.rate(),
        p50=tally.milliseconds(0.5, taken),
        p99=tally.milliseconds(0.99, taken),
        cpu=(after.cpu_seconds - before.cpu_seconds) / max(len(answered), 1) * 1_000,
        megabytes=after.peak_megabytes,
        other=len(tally.answers) - len(answered),
        missing=len(answered - found.messages.keys()),
    )


def rounds(rounds_: int, seconds: float) -> Iterator[tuple[Case, Server, Round]]:
    """Every case, its servers in turn."""
    pin_self(OTHER_CORE)
    with Processes(_LOGS) as processes, Topic(processes, OTHER_CORE) as topic:
        # The emulator is a JVM: cold, it would be what the first rounds measure.
        one_round(processes, topic, PUBLISHER, cases(1)[0], _WARM_EMULATOR_SECONDS)
        for case in cases(rounds_):
            for _ in range(case.rounds):
                for server in SERVERS:
                    yield case, server, one_round(processes, topic, server, case, seconds)


def figures(results: list[tuple[Case, Server, Round]]) -> dict[str, dict[str, dict[str, float]]]:
    """The medians, by case and server; of what must be none, the sums."""
    table: dict[str, dict[str, dict[str, float]]] = {}
    for case, server in dict.fromkeys((case, server) for case, server, _ in results):
        own = [each for case_, server_, each in results if (case_, server_) == (case, server)]
        table.setdefault(case.name, {})[server.name] = {
            "requests_per_second": round(median(each.rate for each in own), 1),
            "p50_ms": round(median(each.p50 for each in own), 1),
            "p99_ms": round(median(each.p99 for each in own), 1),
            "cpu_seconds_per_1000": round(median(each.cpu for each in own), 3),
            "peak_mb": round(median(each.megabytes for each in own), 1),
            "not_2xx": sum(each.other for each in own),
            "missing": sum(each.missing for each in own),
        }
    return table


def faults(table: dict[str, dict[str, dict[str, float]]]) -> list[str]:
    """Which goals were missed, a sentence each."""
    found = []
    first = next(iter(table.values()))
    ours, earlier = first[PUBLISHER.name], first[EARLIER.name]
    times = ours["requests_per_second"] / max(earlier["requests_per_second"], 1e-9)
    if times < 4:
        found.append(f"{times:.2f} times the earlier way's throughput, 4 is the goal")
    if ours["p99_ms"] >= earlier["p99_ms"]:
        found.append(f"p99 {ours['p99_ms']} ms, the earlier way's is {earlier['p99_ms']} ms")
    found += [
        f"{case}: {row[PUBLISHER.name]['missing']:g} answered 2xx are not on the topic"
        for case, row in table.items()
        if row[PUBLISHER.name]["missing"]
    ]
    return found


def show(table: dict[str, dict[str, dict[str, float]]]) -> None:
    """Prints it."""
    console = Console(width=140)
    for case, rows in table.items():
        shown = Table(title=case)
        shown.add_column("server")
        for heading in next(iter(rows.values())):
            shown.add_column(heading, justify="right")
        for server, row in rows.items():
            shown.add_row(server, *(f"{value:,}" for value in row.values()))
        console.print(shown)
