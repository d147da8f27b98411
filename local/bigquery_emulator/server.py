"""The server with all mends in place."""

import asyncio
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import bqemulator.server as stock
import duckdb
import grpc
from bqemulator.config import LogLevel, Settings
from bqemulator.grpc_api import interceptors
from bqemulator.grpc_api.read_servicer import BigQueryReadHandler
from grpc_health.v1 import health, health_pb2, health_pb2_grpc  # type: ignore[import-untyped, unused-ignore]

from local.bigquery_emulator import catalog, queries
from local.bigquery_emulator.catalog import SteadyCatalog
from local.bigquery_emulator.history import NoHistory
from local.bigquery_emulator.lateness import Lateness
from local.bigquery_emulator.storage import CursorEngine
from local.bigquery_emulator.writing import Writing

# Each open AppendRows call holds a thread for as long as it is open.
APPEND_THREADS = 256
QUERY_THREADS = 64

# Requests beyond the application's own limit still reach it, to be refused in words.
_HEADROOM_BYTES = 1024 * 1024


class MendedServer(stock.EmulatorServer):  # type: ignore[misc]
    """REST and gRPC on 127.0.0.1 over one DuckDB file.

    Args:
        settings: As the stock server has them.
        lateness: What Storage Write does not know yet.
    """

    def __init__(self, settings: Settings, lateness: Lateness) -> None:
        super().__init__(settings)
        self._engine = CursorEngine(settings)
        self._catalog = SteadyCatalog(self._engine, lateness)

    async def start(self) -> None:
        """Starts it, and says on standard error where it listens."""
        began = time.monotonic()
        queries.install(self._engine)
        catalog.install()
        # `start` makes these two itself, by these names.
        stock.SnapshotManager = NoHistory
        stock.build_grpc_server = grpc_server
        pool = ThreadPoolExecutor(QUERY_THREADS, thread_name_prefix="query")
        asyncio.get_running_loop().set_default_executor(pool)
        await super().start()
        print(
            f"bqemulator {stock.__version__}, mended: ready after "
            f"{time.monotonic() - began:.1f} s: REST {self.rest_url}, gRPC {self.grpc_endpoint}, "
            f"data in {self._settings.data_dir}",
            file=sys.stderr,
            flush=True,
        )

    async def stop(self) -> None:
        """Stops it; a query that is running is ended, not waited for."""
        await self._engine.end_queries()
        await super().stop()


def grpc_server(context: Any) -> tuple[Any, int]:
    """The gRPC server and its port.

    The stock one leaves the threads to grpc.aio, which has a few more than the machine has
    processors: that many open append calls, and every further call waits for ever.
    """
    size = context.settings.write_api_max_request_bytes + _HEADROOM_BYTES
    server = grpc.aio.server(
        migration_thread_pool=ThreadPoolExecutor(APPEND_THREADS, thread_name_prefix="append"),
        interceptors=(
            interceptors.CorrelationInterceptor(),
            interceptors.LoggingInterceptor(),
            interceptors.MetricsInterceptor(context.metrics),
            interceptors.DomainErrorTranslationInterceptor(),
        ),
        options=[
            ("grpc.max_send_message_length", size),
            ("grpc.max_receive_message_length", size),
            # Two servers on one port would each get some of the calls.
            ("grpc.so_reuseport", 0),
        ],
    )
    servicer = health.HealthServicer()
    servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    server.add_generic_rpc_handlers([BigQueryReadHandler(context), Writing(context)])
    settings = context.settings
    return server, server.add_insecure_port(f"{settings.grpc_host}:{settings.grpc_port}")


def run(*, project: str, rest_port: int, grpc_port: int, data_dir: Path, late: float = 0.0) -> None:
    """Runs the server until SIGINT or SIGTERM.

    Args:
        project: The project of calls that name none.
        rest_port: The REST port on 127.0.0.1; 0 for any free one.
        grpc_port: The gRPC port on 127.0.0.1; 0 for any free one.
        data_dir: The folder of the data, made if need be; one server at a time.
        late: Seconds for which Storage Write does not know a new table or column.

    Raises:
        SystemExit: A port is taken, or the data in use by another process or unreadable.
    """
    for port in (rest_port, grpc_port):
        if _taken(port):
            sys.exit(f"port {port} on 127.0.0.1 is taken")
    settings = Settings(
        default_project_id=project,
        rest_port=rest_port,
        grpc_port=grpc_port,
        persistence_mode="persistent",
        data_dir=data_dir,
        log_level=LogLevel.WARNING,
        # The service's own bound: "MessageSize is too large. Max allow: 10000000".
        write_api_max_request_bytes=10_000_000,
        # Avro's extension would be fetched from the network.
        enable_format_extensions=False,
        tracing_enabled=False,
    )
    try:
        MendedServer(settings, Lateness(late)).run_forever()
    except duckdb.IOException as error:
        sys.exit(f"The data in {data_dir} can't be opened: {error}")


def _taken(port: int) -> bool:
    with closing(socket.socket()) as probe:
        # As the servers do: connections of a killed predecessor linger and do no harm.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
        return False
