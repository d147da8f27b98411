"""What both sinks need on one machine: Pub/Sub, BigQuery's stand-in, the gateway, Java's worker.

For tests and benches of the sinks. Both write through the gateway: Java's client knows no other
way, and what reaches the service can be looked at there.
"""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from local.certificate import make_certificate
from local.emulators import PUBSUB_EMULATOR_HOST, find
from local.expansion import ExpansionService
from local.gateway import Appended, Called, Gateway, parse_addresses
from local.layout import Addresses, Options, bigquery_command, port_of
from local.ports import HOST, Ports, listens
from local.processes import Child, Command, Processes
from local.web import serving
from schemas import live

_READY_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Running:
    """What runs, and where.

    Args:
        project: Of all of it.
        expansion: `host:port` for the job's `--expansion_service`.
        environment: What aims Google's clients at it.
        bigquery: BigQuery's stand-in.
        worker: Beam's expansion service with its Java worker.
        gateway: The gateway; None where it runs in this process.
        processes: What started them, for a job beside them.
    """

    project: str
    expansion: str
    environment: dict[str, str]
    bigquery: Child
    worker: Child
    gateway: Child | None
    processes: Processes


class SinkStack:
    """Starts it all, on free ports, and stops it; it ends with this process, however that ends.

    Args:
        folder: For data, logs and certificate.
        appended: Told of every append; with it the gateway runs in this process, without it in
            one of its own.
        called: Told of every call of Storage Write, where the gateway is in this process.
        project: Project id of everything.
        late: Seconds for which Storage Write does not know a new table or column.
    """

    def __init__(
        self,
        folder: Path,
        appended: Appended | None = None,
        project: str = Options().project,
        late: float = 0.0,
        called: Called = lambda method: None,  # noqa: ARG005
    ) -> None:
        self._folder = folder
        self._appended = appended
        self._project = project
        self._late = late
        self._called = called
        self._parts = ExitStack()

    def __enter__(self) -> Running:
        with ExitStack() as parts:
            running = self._start(parts)
            self._parts = parts.pop_all()
        return running

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._parts.__exit__(kind, error, trace)

    def _start(self, parts: ExitStack) -> Running:
        ports = Ports()
        pubsub = f"{HOST}:{ports.take(0)}"
        addresses = Addresses(
            publisher="",
            bigquery=f"http://{HOST}:{ports.take(0)}",
            bigquery_grpc=f"{HOST}:{ports.take(0)}",
            pubsub=pubsub,
            firestore="",
            project=self._project,
        )
        found = find(own=True)
        processes = parts.enter_context(Processes(self._folder / "logs"))
        certificate = make_certificate(self._folder)
        targets = addresses.bigquery_address, addresses.bigquery_grpc
        child: Child | None = None
        if self._appended is not None:
            gateway = parts.enter_context(
                Gateway(*targets, certificate, self._appended, self._called)
            )
            front, plain = gateway.address, gateway.plain_address
        else:
            child = processes.start(_gateway_command(*targets, self._folder))
            child.wait_ready(lambda each: bool(parse_addresses(each.logged())), _READY_SECONDS)
            front, plain = parse_addresses(child.logged())
        service = ExpansionService(found.java, ports.take(0), front, certificate, self._project)
        options = Options(project=self._project, folder=self._folder, usual_ports=False)
        datasets = f"bigquery/v2/projects/{self._project}/datasets"
        pubsub_command = Command("Pub/Sub emulator", tuple(found.pubsub_command(port_of(pubsub))))
        _, bigquery, worker = _started(
            processes,
            [
                (pubsub_command, serving(pubsub)),
                (
                    bigquery_command(options, addresses, self._late),
                    serving(addresses.bigquery_address, datasets),
                ),
                (service.command(), lambda _: listens(HOST, service.port)),
            ],
        )
        environment = {
            "GOOGLE_CLOUD_PROJECT": self._project,
            PUBSUB_EMULATOR_HOST: pubsub,
            live.BIGQUERY_EMULATOR_HOST: addresses.bigquery,
            live.BIGQUERY_STORAGE_EMULATOR_HOST: plain,
        }
        return Running(
            self._project, service.address, environment, bigquery, worker, child, processes
        )


def _gateway_command(rest: str, grpc: str, folder: Path) -> Command:
    argv = (sys.executable, "-m", "local.gateway", "--rest", rest, "--grpc", grpc)
    return Command("gateway", (*argv, "--folder", str(folder)))


def _started(
    processes: Processes, commands: list[tuple[Command, Callable[[Child], bool]]]
) -> list[Child]:
    """Starts them all at once, and waits until each is ready."""
    children = [(processes.start(command), ready) for command, ready in commands]
    with ThreadPoolExecutor(len(children)) as pool:
        waits = [pool.submit(child.wait_ready, ready, _READY_SECONDS) for child, ready in children]
        for each in waits:
            each.result()
    return [child for child, _ in children]
