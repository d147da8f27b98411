"""DuckDB underneath: a cursor for each thread, and nothing fetched from the network."""

import asyncio
import importlib.resources
import threading
from typing import Any

import duckdb
from bqemulator.domain.errors import InternalError
from bqemulator.storage.engine import DuckDBEngine


class CursorEngine(DuckDBEngine):  # type: ignore[misc]
    """The engine, with a cursor of its own for each thread but the main one.

    The stock engine gives its one connection to all threads. Whoever runs a query holds that
    connection's lock without the GIL and needs the GIL to read an Arrow table; whoever waits
    for the lock holds the GIL: a query during an append stops the process for good. Cursors of
    one database share its tables and are as separate as connections.

    `writes` is held by whoever changes tables, so that an ALTER and the inserts of many streams
    never meet as conflicting transactions.
    """

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.writes = threading.RLock()
        self._own = threading.local()
        self._cursors: list[Any] = []
        self._counting = threading.Lock()
        self._running = 0
        self._ending = False

    @property
    def connection(self) -> Any:
        """The calling thread's own connection to the database.

        Raises:
            InternalError: The engine is not started, or stopped already.
        """
        root = self._connection
        if root is None:
            raise InternalError("DuckDBEngine not started")
        if threading.current_thread() is threading.main_thread():
            return root
        cursor = getattr(self._own, "cursor", None)
        if cursor is None:
            cursor = self._own.cursor = root.cursor()
            cursor.execute("SET TimeZone = 'UTC'")
            self._cursors.append(cursor)
        return cursor

    def fetch_arrow(self, sql: str, parameters: list[Any] | None = None) -> Any:
        """Runs a query and returns its result as an Arrow table.

        Raises:
            InternalError: The engine is being stopped.
        """
        with self._counting:
            if self._ending:
                raise InternalError("the server is being stopped")
            self._running += 1
        try:
            return super().fetch_arrow(sql, parameters)
        finally:
            with self._counting:
                self._running -= 1

    async def end_queries(self) -> None:
        """Ends the queries that run, and lets no other begin: the process waits for them.

        Again and again, since an interrupt of a query that is just about to start is lost.
        """
        with self._counting:
            self._ending = True
        while self._running:
            for cursor in self._cursors:
                cursor.interrupt()
            await asyncio.sleep(0.02)

    def _load_spatial(self) -> None:
        """Loads the spatial extension from its Python package.

        The stock engine installs it from DuckDB's repository on the network, into the user's
        home. The file in `duckdb-extension-spatial` is the same one, signed.

        Raises:
            InternalError: The package is not installed, or for another version of DuckDB.
        """
        version = f"v{duckdb.__version__}"
        name = "duckdb_extension_spatial"
        try:
            folder = importlib.resources.files(name)
        except ModuleNotFoundError as error:
            raise InternalError(f"{name} is not installed, and DuckDB needs it") from error
        file = folder / "extensions" / version / "spatial.duckdb_extension"
        if not file.is_file():
            raise InternalError(f"{name} has no extension for DuckDB {version}: install the same")
        self._connection.execute("SET autoinstall_known_extensions = false")
        self._connection.load_extension(str(file))
