"""The stack: emulators, resources, publisher, relay and job on one machine.

    with Stack(Options()) as stack:
        print(stack.addresses.publisher)

`python -m local run` is made of this class; tests and benches use it for its control of single
parts: kill the job, kill BigQuery and start it on its data again, make Pub/Sub unreachable.
"""

import contextlib
import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict
from types import TracebackType
from typing import IO, Any, Self

from local import identity, ports, relay, state
from local.emulators import Emulators, find
from local.environment import Environment
from local.keeper import Keeper
from local.layout import (
    Addresses,
    Options,
    bigquery_command,
    choose,
    exported,
    job_command,
    port_of,
    publisher_command,
    write_exports,
)
from local.ports import HOST, Ports
from local.processes import Child, Command, NotReadyError, Processes
from local.proxy import Proxy
from local.relay import Relay
from local.resources import DATASET, PIPELINE_SUBSCRIPTION, create, delete_subscription
from local.steps import in_thread, wait_for
from local.table_files import read_tables
from local.web import serving
from schemas import live
from schemas.apply import apply
from schemas.table import Table

_EMULATOR_SECONDS = 90.0
_PUBLISHER_SECONDS = 60.0
_JOB_SECONDS = 120.0
_ENDING_SECONDS = 60.0
_REQUEST_SECONDS = 30.0
# What the job logs on standard error once Pub/Sub takes its pulls. Its banner comes before, and
# says only what it is going to read.
_CONNECTED = "connected to "


class Stack:
    """Everything on one machine, from `start` to `stop`.

    While it is up, this process's environment points Google's clients at it.

    Args:
        options: How to run it.
        say: Told what is going on, a line at a time, by several threads.

    Attributes:
        addresses: Where the parts listen.
        tables: Those of the job, once it is started.
        pubsub_proxy: What publisher and job reach Pub/Sub through, if they do.
        job: The job, kept running.
        publisher: The publisher, kept running.
        relay: What brings Firestore's events to the publisher.
    """

    def __init__(
        self, options: Options | None = None, say: Callable[[str], None] | None = None
    ) -> None:
        self.options = options or Options()
        self.addresses = Addresses("", "", "", "", "", self.options.project)
        self.tables: tuple[Table, ...] = ()
        self.pubsub_proxy: Proxy | None = None
        self.job: Keeper | None = None
        self.publisher: Keeper | None = None
        self.relay: Relay | None = None
        self._told = say or to_stderr
        self._lock: IO[Any] | None = None
        self._owner, self._make = identity.own(), identity.make_above()
        self._processes = Processes(self.options.folder / "logs", self._remember)
        self._emulators: dict[str, Child] = {}
        self._environment = Environment()
        self._state: tuple[state.Process, ...] = ()
        self._up = self._stopping = False

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Starts everything and waits until all serve.

        Raises:
            AlreadyRunningError: A stack runs in this folder.
            ProblemsFound: With everything that is missing on this machine, or wrong in the
                table files.
            NotReadyError: A part did not get ready; what had started is for `stop` to end.
        """
        folder = self.options.folder
        self.tables = read_tables(self.options.schemas)
        self._lock = state.claim(folder, _ENDING_SECONDS, self._say)
        last = state.read(folder)
        for name in state.kill_leftovers(last.children if last else ()):
            self._say(f"killed the {name} that an earlier stack left running")
        found = find(stale=exported(folder))
        if not self.options.keep and self.options.data.exists():
            shutil.rmtree(self.options.data)
        self._choose_addresses(found)
        self._remember([])
        self._processes.open()
        self._start_all(found)
        self._up = True
        write_exports(folder, self.addresses)
        self._write_state()

    def stop(self) -> None:
        """Stops all that was started, the job first, and gives the folder up."""
        if self._lock is None:
            return
        self._stopping = True
        for name, keeper in (("job", self.job), ("publisher", self.publisher)):
            if keeper is not None:
                self._told(f"stopping {name} ... {keeper.stop()}")
        if self._emulators:
            self._told(f"stopping {', '.join(self._emulators)}")
        self._processes.close()
        for part in (self.relay, self.pubsub_proxy):
            if part is not None:
                part.__exit__(None, None, None)
        self._environment.restore()
        state.remove(self.options.folder)
        lock, self._lock = self._lock, None
        lock.close()

    def check(self) -> None:
        """Looks whether the emulators still run.

        Raises:
            NotReadyError: One has ended by itself, and with it what only its memory held.
        """
        for name, child in list(self._emulators.items()):
            if not child.running() and self._emulators.get(name) is child:
                raise NotReadyError(
                    f"{name} ended by itself ({self._processes.reap(child)}); "
                    f"the end of {child.log}:\n{child.tail()}"
                )

    def kill_bigquery(self) -> None:
        """SIGKILL to BigQuery's emulator, as a crash; its data stay."""
        name = bigquery_command(self.options, self.addresses).name
        self._processes.kill(self._emulators.pop(name))

    def start_bigquery(self) -> float:
        """Starts BigQuery's emulator, again on the data and ports that it had.

        Returns:
            The seconds until it served.
        """
        datasets = f"bigquery/v2/projects/{self.options.project}/datasets"
        command = bigquery_command(self.options, self.addresses)
        return self._start_emulator(command, serving(self.addresses.bigquery_address, datasets))

    # How it is put together.

    def _choose_addresses(self, found: Emulators) -> None:
        given = Ports()
        self.addresses = choose(self.options, found, given.take)
        usual = ports.RELAY if self.options.usual_ports else 0
        self.relay = Relay(given.take(usual), self.addresses.publisher_address)
        self.relay.open()
        # gRPC and others would take http_proxy for 127.0.0.1, too.
        direct = ",".join(filter(None, (os.environ.get("no_proxy"), HOST, "localhost")))
        self._environment.set(
            self.addresses.environment() | {"no_proxy": direct, "NO_PROXY": direct}
        )

    def _start_all(self, found: Emulators) -> None:
        """What depends on nothing starts at once, the rest as soon as what it needs is there."""
        pubsub = in_thread(lambda: self._start_pubsub(found))
        tables = in_thread(self._start_tables)
        firestore = in_thread(lambda: self._start_firestore(found))
        publisher = in_thread(lambda: self._start_publisher(pubsub))
        steps = [pubsub, tables, firestore, publisher]
        if self.options.job:
            steps.append(in_thread(lambda: self._start_job(pubsub, tables)))
        wait_for(steps)

    def _start_pubsub(self, found: Emulators) -> None:
        address = self.addresses.pubsub
        if found.pubsub:
            self._say(f"using the Pub/Sub emulator at {address}")
        else:
            command = Command("Pub/Sub emulator", tuple(found.pubsub_command(port_of(address))))
            self._start_emulator(command, serving(address))
        subscriber, project = live.subscriber_client(), self.options.project
        # What an earlier stack left there would be rows that no event of this one accounts for.
        if delete_subscription(subscriber, project, PIPELINE_SUBSCRIPTION):
            self._say(f"{PIPELINE_SUBSCRIPTION} is made anew: what was left in it is not read")
        made = create(live.publisher_client(), subscriber, project)
        self._say(f"created {len(made)} topics and subscriptions")
        if self.options.pubsub_proxy:
            self.pubsub_proxy = Proxy(address)
            self.pubsub_proxy.resume()

    def _start_tables(self) -> None:
        self.start_bigquery()
        client = live.bigquery_client(self.options.project)
        done = apply(client, DATASET, self.tables, _REQUEST_SECONDS)
        if not self.options.keep:  # all of it is new, and each table has half a dozen views
            names = ", ".join(table.name for table in self.tables)
            done = [f"created dataset {DATASET} with {names}, and their views"]
        for sentence in done:
            self._say(sentence)

    def _start_firestore(self, found: Emulators) -> None:
        address = self.addresses.firestore
        functions = self.relay.address if self.relay else ""
        if found.firestore:
            self._say(
                f"using the Firestore emulator at {address}: its changes come through only if "
                f"it was started with --functions_emulator={functions}"
            )
        else:
            argv = found.firestore_command(port_of(address), functions)
            command = Command("Firestore emulator", tuple(argv))
            self._start_emulator(command, serving(address))
        relay.register(address, self.options.project)

    def _start_publisher(self, pubsub: "Future[None]") -> None:
        pubsub.result()
        command = publisher_command(self.addresses, self._pubsub_of_parts())
        ready = serving(self.addresses.publisher_address, "ready")
        self.publisher = self._keep(command, ready, _PUBLISHER_SECONDS)

    def _start_job(self, pubsub: "Future[None]", tables: "Future[None]") -> None:
        pubsub.result()
        tables.result()
        command = job_command(self.options, self._pubsub_of_parts())
        self.job = self._keep(command, connected, _JOB_SECONDS)

    def _pubsub_of_parts(self) -> str:
        return self.pubsub_proxy.address if self.pubsub_proxy else self.addresses.pubsub

    def _start_emulator(self, command: Command, ready: Callable[[Child], bool]) -> float:
        self._say(f"starting {command.name} ...")
        child = self._processes.start(command)
        took = child.wait_ready(ready, _EMULATOR_SECONDS, self._say)
        self._emulators[command.name] = child
        self._say(f"{command.name} is ready after {took:.1f} s")
        return took

    def _keep(self, command: Command, ready: Callable[[Child], bool], seconds: float) -> Keeper:
        keeper = Keeper(self._processes, command, ready=ready, seconds=seconds, say=self._say)
        self._say(f"starting {command.name} ...")
        took = keeper.start()
        self._say(f"{command.name} is ready after {took:.1f} s")
        return keeper

    def _say(self, line: str) -> None:
        # What threads still say while all is being stopped is of no use to anyone.
        if not self._stopping:
            self._told(line)

    def _remember(self, children: list[Child]) -> None:
        self._state = tuple(state.Process(c.command.name, c.identity) for c in children)
        self._write_state()

    def _write_state(self) -> None:
        addresses = asdict(self.addresses) if self._up else None
        state.write(
            self.options.folder, state.State(self._owner, self._make, self._state, addresses)
        )


def connected(job: Child) -> bool:
    """Whether the job, since this start of it, has logged that it is connected to Pub/Sub."""
    return _CONNECTED in job.logged()


def to_stderr(line: str) -> None:
    """Says a line on standard error, or to nobody if whoever read it is gone.

    Ctrl-C ends the `tee` behind a pipe first: that must not break off the stopping.
    """
    with contextlib.suppress(BrokenPipeError):
        print(line, file=sys.stderr, flush=True)
