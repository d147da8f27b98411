"""A row: what goes into a table, and how an event becomes one."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from schemas.changelog_json import json_text
from schemas.checked import frozen
from schemas.event import Event, RestoredRow
from schemas.json_text import JsonNumber, refuse_constant, unique_object
from schemas.layouts import layout_of
from schemas.message import Message
from schemas.raw import to_raw
from schemas.restored import row_values
from schemas.routing import DEFAULT_TABLE, Router
from schemas.shaping import InvalidRow, Plan, RowTooLarge, check_partition
from schemas.table import RAW, Column, Table, Type

# https://cloud.google.com/bigquery/quotas#write-api-limits: a request of at most 10 MB, of which
# the descriptor and the stream's name take a share.
MAX_ROW_BYTES = 9_900_000
# An event's data grow at most ninefold as JSON (an empty geo point is 4 bytes of protobuf and 33 of
# JSON), in `payload` and in each declared column; names and changed fields stand there as text.
_GROWTH = 9
_TEXT_COPIES = 8

# Columns that hold field paths, and STRING columns that hold a document as JSON, by layouts' names.
_PATHS = ("changed_fields", "type_errors")
_DOCUMENTS = ("payload", "data", "old_data")


@frozen
class Row:
    """What goes into a table.

    Args:
        table: The table's name inside the dataset.
        values: A value for each column, by `schemas.table.Type`; never mutated.
        message: The message that it came from, which rides along.
    """

    table: str
    values: Mapping[str, Any]
    message: Message


class Shaper:
    """Turns events into rows of the tables that take them.

    Args:
        tables: Of one job; exactly one is the default (`parse_tables` sees to it).
        unmatched: Where documents go that no table's collections match (`schemas.routing`).
    """

    def __init__(self, tables: Sequence[Table], unmatched: str = DEFAULT_TABLE) -> None:
        self._tables = tuple(tables)
        self._router = Router(tables, unmatched)
        self._plans = {table.name: Plan.of(table) for table in tables}
        # Below so many bytes of data no row can be too large, so that few rows need measuring.
        self._surely_small = {
            table.name: MAX_ROW_BYTES // (_GROWTH * (1 + len(table.declared)) + _TEXT_COPIES)
            for table in tables
        }

    def shape(self, event: Event | RestoredRow, now: int) -> Row:
        """Shapes an event for the table that takes it.

        Args:
            event: What happened.
            now: Microseconds since the epoch; becomes `ingest_time`.

        Raises:
            Unshapeable: One of its classes (`schemas.shaping`).
        """
        if isinstance(event, RestoredRow):
            return self._restored(event.message, now)
        table, parameters = self._router.route(event)
        values = layout_of(table).shape(event, self._plans[table.name], parameters, now)
        if table.raw:
            values[RAW.name] = to_raw(event.message)
        # Each path repeats the names above it, so that all are longer than the data.
        paths = sum(map(len, event.changed_fields)) + sum(map(len, event.inexact))
        if table.raw or len(event.message.data) + paths > self._surely_small[table.name]:
            _check_size(values)
        return Row(table.name, values, event.message)

    def _restored(self, message: Message, now: int) -> Row:
        try:
            table, values = row_values(message.data, self._tables)
        except ValueError as error:
            raise InvalidRow(f"the data are no row as JSON: {error}") from error
        if layout_of(table).has_event_id and not values["event_id"]:
            raise InvalidRow(
                f"$.values.event_id: none, by which table {table.name} tells repeats (give the "
                "letter's own event_id, or publish the original message instead)"
            )
        if table.partition:
            time = values[table.partition]
            if time is None:
                raise InvalidRow(
                    f"$.values.{table.partition}: none, so no partition for the row (give the "
                    "event's time in microseconds since the epoch)"
                )
            check_partition(table.partition, time, now)
        plan = self._plans[table.name]
        if plan.dropped:
            values = {
                column.name: _kept(values[column.name], column, plan) for column in table.columns
            }
        _check_size(values)
        return Row(table.name, values, message)


def _kept(value: Any, column: Column, plan: Plan) -> Any:
    """A restored column's value without dropped fields: its row can be older than the policy."""
    if column.name in _PATHS and not column.path:
        return plan.kept_paths(value)
    holds_json = column.type is Type.JSON or (column.name in _DOCUMENTS and not column.path)
    if not holds_json or value is None:
        return value
    texts = value if column.repeated else [value]
    try:
        kept = [_kept_text(text, column.path, plan) for text in texts]
    except (ValueError, RecursionError) as error:
        raise InvalidRow(
            f"$.values.{column.name}: whether it holds a field whose policy is drop cannot be "
            f"told: {error}"
        ) from error
    return kept if column.repeated else kept[0]


def _kept_text(text: str, path: Sequence[str], plan: Plan) -> str:
    """JSON text without dropped fields, its numbers as they were; the very text if none is there.

    Raises:
        ValueError: It is no JSON, or has a key twice, of which only one would be looked at.
        RecursionError: It is nested too deep.
    """
    found = json.loads(
        text,
        parse_int=JsonNumber,
        parse_float=JsonNumber,
        parse_constant=refuse_constant,
        object_pairs_hook=unique_object,
    )
    kept = plan.kept_at(path, found)
    if kept == found:
        return text
    rest = json_text(kept)
    rest.encode()  # half of a surrogate pair, escaped in JSON, is a UnicodeEncodeError
    return rest


def _check_size(values: Mapping[str, Any]) -> None:
    sizes = {name: _size(value) for name, value in values.items()}
    total = sum(sizes.values())
    if total > MAX_ROW_BYTES:
        largest = sorted(sizes, key=lambda name: -sizes[name])[:3]
        parts = ", ".join(f"{name} {sizes[name]}" for name in largest)
        raise RowTooLarge(f"{total} bytes, Storage Write takes {MAX_ROW_BYTES} ({parts})")


def _size(value: Any) -> int:
    """Bytes of a value in the written row, never fewer than protobuf takes."""
    if isinstance(value, str):
        return len(value.encode()) + 8
    if isinstance(value, bytes):
        return len(value) + 8
    if isinstance(value, list):
        return sum(_size(item) for item in value)
    return 16
