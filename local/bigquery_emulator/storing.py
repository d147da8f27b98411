"""Rows into DuckDB: stored as a whole, or the rows at fault named."""

import sys
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import duckdb
import grpc
from bqemulator.storage.sql_identifiers import quoted_table_ref, register_name

from local.bigquery_emulator.refusals import Code, Refused, not_found
from local.bigquery_emulator.rows import BAD_ROW, Batch, faults
from local.bigquery_emulator.storage import CursorEngine

_PROBE = "temp.__probe"


def store(engine: CursorEngine, batch: Batch, stream: Any, keep: Callable[[Any, Any], None]) -> Any:
    """Stores a batch, and returns it as an Arrow table in the target's columns.

    The good way costs one insert. Only when that fails is each part tried on an empty copy of
    the table, to name the rows at fault as the service does. The stock server names none, and
    on BUFFERED and PENDING streams finds out at the flush.

    Args:
        engine: The database.
        batch: The rows.
        stream: The stream that they are for.
        keep: Given stream and table: inserts the rows, or proves them on a stream that holds
            them back.

    Raises:
        Refused: With `row_errors`; INTERNAL when the rows are not at fault; NOT_FOUND when the
            table was dropped meanwhile.
    """
    try:
        rows = batch.table(0, len(batch))
        if rows.num_rows:
            keep(stream, rows)
    except (*BAD_ROW, duckdb.Error) as error:
        cause: Exception = error
    else:
        return rows

    connection = engine.connection
    try:
        _make_probe(connection, stream)
    except duckdb.CatalogException as error:
        name = stream.name.partition("/streams/")[0]
        raise not_found(name, Code.TABLE_NOT_FOUND) from error

    def fault(start: int, end: int) -> str | None:
        try:
            _insert(connection, _PROBE, batch.table(start, end))
        except (*BAD_ROW, duckdb.Error) as error:
            return str(error)
        return None

    errors = faults(len(batch), fault)
    if not errors:
        what = f"{type(cause).__name__}: {cause}"
        print(f"{stream.name}: {what}", file=sys.stderr)
        raise Refused(grpc.StatusCode.INTERNAL, what, entity=stream.name) from cause
    raise Refused(
        grpc.StatusCode.INVALID_ARGUMENT,
        "Errors found while processing rows. Please refer to the row_errors field for details. "
        "The list may not be complete because of the size limitations.",
        entity=stream.name,
        row_errors=errors,
    ) from cause


def insert(engine: CursorEngine, stream: Any, rows: Any) -> None:
    """Inserts rows into the stream's table, by name; committed and flushed on return."""
    with engine.writes:
        _insert(engine.connection, _table(stream), rows)


def probe(engine: CursorEngine, stream: Any, rows: Any) -> None:
    """Inserts rows into an empty copy of the table; raises what the table itself would."""
    _make_probe(engine.connection, stream)
    _insert(engine.connection, _PROBE, rows)


def _make_probe(connection: Any, stream: Any) -> None:
    """Makes this thread's copy anew, in the table's shape of now."""
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {_PROBE} AS FROM {_table(stream)} LIMIT 0")


def _table(stream: Any) -> str:
    name: str = quoted_table_ref(stream.project_id, stream.dataset_id, stream.table_id)
    return name


def _insert(connection: Any, table: str, rows: Any) -> None:
    name = register_name(f"__bqemu_rows_{uuid4().hex[:12]}")
    connection.register(name, rows)
    try:
        connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM {name}")  # noqa: S608
    finally:
        connection.unregister(name)
