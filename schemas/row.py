"""A row: what goes into a table, and how an event becomes one."""

from collections.abc import Mapping, Sequence
from typing import Any

from schemas.checked import frozen
from schemas.event import Event, RestoredRow
from schemas.layouts import layout_of
from schemas.message import Message
from schemas.raw import to_raw
from schemas.restored import row_values
from schemas.routing import DEFAULT_TABLE, Router
from schemas.shaping import InvalidRow, Plan, RowTooLarge, check_partition
from schemas.table import RAW, Table

# https://cloud.google.com/bigquery/quotas#write-api-limits: a request of at most 10 MB, of which
# the descriptor and the stream's name take a share.
MAX_ROW_BYTES = 9_900_000
# An event's data grow at most ninefold as JSON (an empty geo point is 4 bytes of protobuf and 33 of
# JSON), in `payload` and in each declared column; names and changed fields stand there as text.
_GROWTH = 9
_TEXT_COPIES = 8


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
        paths = sum(map(len, event.changed_fields))  # each repeats those above it
        if table.raw or len(event.message.data) + paths > self._surely_small[table.name]:
            _check_size(values)
        return Row(table.name, values, event.message)

    def _restored(self, message: Message, now: int) -> Row:
        try:
            table, values = row_values(message.data, self._tables)
        except ValueError as error:
            raise InvalidRow(f"the data are no row as JSON: {error}") from error
        if table.partition and values[table.partition] is not None:
            check_partition(table.partition, values[table.partition], now)
        _check_size(values)
        return Row(table.name, values, message)


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
