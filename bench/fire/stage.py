"""BigQuery's stand-in as a process, with what stands between it and the sink.

The sink's Storage Write goes through a TCP proxy, which can reset its connections, and a gRPC
proxy, which places the faults; its REST calls go through a TCP proxy that drops connections. The
account of what is in the tables is asked for past all of them.
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from google.api_core import exceptions
from google.cloud import bigquery
from requests.exceptions import ConnectionError as RestConnectionError

from bench.fire.faults import DEADLINE
from bench.fire.ledger import Key
from bench.fire.rows import TABLES
from local.layout import Addresses, Options, bigquery_command
from local.ports import HOST, Ports
from local.processes import Processes
from local.proxy import Proxy
from local.web import answers
from local.write_faults import WriteFaultProxy
from pipeline import append_stream, outages
from schemas import live
from schemas.apply import bigquery_table

PROJECT = "demo-project"
OUTAGE_SECONDS = 1.2
DROPPED = "lookup: connection dropped"
_READY_SECONDS = 60.0
_CALL_SECONDS = 30.0
_SETTLE_SECONDS = 60.0
# In production 0.1 and 10 s: here the waits are as short as the outages.
_FIRST_WAIT, _LONGEST_WAIT = 0.02, 0.3


class RestProxy(Proxy):
    """A TCP proxy that drops as many of the next connections as it is told to."""

    def __init__(self, target: str, hits: Counter[str]) -> None:
        super().__init__(target)
        self._hits = hits
        self._left = 0

    def drop(self, count: int) -> None:
        """Resets what is open, and the next so many connections."""
        self._left = count
        self.refuse()
        self.resume()

    def forget(self) -> None:
        """Drops no more."""
        self._left = 0

    def _choose(self, client: Any) -> tuple[str, int]:
        if self._left > 0:
            self._left -= 1
            self._hits[DROPPED] += 1
            raise ConnectionResetError("dropped")
        return super()._choose(client)


class Stage:
    """Everything, up while it is entered; it aims the environment of this process at itself.

    Args:
        folder: For the data and the logs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open = ExitStack()
        self._killing = threading.Lock()
        self._datasets = 0
        ports = Ports()
        self._addresses = Addresses(
            publisher="",
            bigquery=f"http://{HOST}:{ports.take(0)}",
            bigquery_grpc=f"{HOST}:{ports.take(0)}",
            pubsub="",
            firestore="",
            project=PROJECT,
        )
        self.write = WriteFaultProxy(self._addresses.bigquery_grpc)
        self.rest = RestProxy(self._addresses.bigquery_address, self.write.hits)

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            self._processes = opened.enter_context(Processes(self._folder / "logs"))
            self._start()
            self.connection = Proxy(opened.enter_context(self.write).address)
            opened.enter_context(self.connection)
            opened.enter_context(self.rest)
            self.write.reset, self.write.kill = self._reset, self._kill
            self._client = self._rest_client(self._addresses.bigquery)
            opened.callback(self._aim(self._environment()))
            opened.callback(_hurry())
            self._open = opened.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def dataset(self) -> str:
        """A new dataset with empty tables."""
        self._datasets += 1
        name = f"fire_{self._datasets}"
        self._client.create_dataset(name, timeout=_CALL_SECONDS, retry=None)
        for table in TABLES:
            made = bigquery_table(table, f"{PROJECT}.{name}")
            self._client.create_table(made, timeout=_CALL_SECONDS, retry=None)
        return f"{PROJECT}.{name}"

    def rows(self, dataset: str, table: str) -> list[Key]:
        """What the table holds, each row as the model knows it."""
        query = f"SELECT event_id, n, LENGTH(auth_id) FROM `{dataset}.{table}`"  # noqa: S608
        deadline = time.monotonic() + _SETTLE_SECONDS
        while True:
            try:
                job = self._client.query(query, timeout=_CALL_SECONDS, retry=None, job_retry=None)
                found = job.result(timeout=_CALL_SECONDS, retry=None, job_retry=None)
                return [(str(name), int(n), int(size)) for name, n, size in found]
            except (RestConnectionError, exceptions.ServerError):  # it is starting again
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def settle(self) -> None:
        """Waits until nothing is on its way any more, to the server or back.

        Raises:
            TimeoutError: Something still is, after a minute.
        """
        deadline = time.monotonic() + _SETTLE_SECONDS
        while self.write.busy:
            if time.monotonic() > deadline:
                raise TimeoutError("a request is still on its way")
            time.sleep(0.02)

    def outage(self) -> None:
        """Refuses every connection for a while, and resets those that are open."""
        self.connection.refuse()
        timer = threading.Timer(OUTAGE_SECONDS, self.connection.resume)
        timer.daemon = True
        timer.start()

    def environment(self) -> dict[str, str]:
        """This process's, for a child."""
        return dict(os.environ)

    def _environment(self) -> dict[str, str]:
        return {
            live.BIGQUERY_EMULATOR_HOST: f"http://{self.rest.address}",
            live.BIGQUERY_STORAGE_EMULATOR_HOST: self.connection.address,
        }

    def _start(self) -> None:
        options = Options(folder=self._folder, project=PROJECT)
        self._child = self._processes.start(bigquery_command(options, self._addresses))
        place = f"{self._addresses.bigquery_address}/bigquery/v2/projects/{PROJECT}/datasets"
        self._child.wait_ready(lambda _: answers(place), _READY_SECONDS)

    def _kill(self) -> None:
        with self._killing:
            self._processes.kill(self._child)
            self._start()

    def _reset(self) -> None:
        self.connection.refuse()
        self.connection.resume()

    def _rest_client(self, address: str) -> bigquery.Client:
        put_back = self._aim({live.BIGQUERY_EMULATOR_HOST: address})
        try:
            return live.bigquery_client(PROJECT)
        finally:
            put_back()

    @staticmethod
    def _aim(names: dict[str, str]) -> Any:
        """Sets variables of the environment; returns what puts them back."""
        before = {name: os.environ.get(name) for name in names}
        os.environ.update(names)

        def put_back() -> None:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value

        return put_back


def _hurry() -> Any:
    """Makes the sink's deadline and waits short; returns what puts them back."""
    values: Iterable[tuple[Any, str, float]] = (
        (append_stream, "_DEADLINE", DEADLINE),
        (outages, "FIRST_WAIT", _FIRST_WAIT),
        (outages, "LONGEST_WAIT", _LONGEST_WAIT),
    )
    before = [(module, name, getattr(module, name)) for module, name, _ in values]
    for module, name, value in values:
        setattr(module, name, value)

    def put_back() -> None:
        for module, name, value in before:
            setattr(module, name, value)

    return put_back
