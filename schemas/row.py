"""A row: what goes into a table, and how an event becomes one.

Two layouts: `structured` (the table's fixed columns, its declared ones, and the whole as JSON) and
`flat` (four STRING columns, the older contract).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.event import DELETE, FLAT_KEYS, Event, RestoredRow
from schemas.flatten import Slot, flatten, json_text, slots
from schemas.message import Message
from schemas.restored import row_values
from schemas.table import Table
from schemas.times import format_micros

# Streaming into a partition further away is refused by BigQuery (its page "Partitioned tables",
# limits of streaming into partitions).
DAY = 86_400_000_000
PARTITION_DAYS_BACK = 1_825
PARTITION_DAYS_AHEAD = 366
# https://cloud.google.com/bigquery/quotas#write-api-limits: a request of at most 10 MB, of which
# the descriptor and the stream's name take a share.
MAX_ROW_BYTES = 9_900_000
# An event's data grow at most ninefold as JSON (an empty geo point is 4 bytes of protobuf and 33 of
# JSON), in `payload` and in each declared column; names and changed fields stand there as text.
_GROWTH = 9
_TEXT_COPIES = 8


@dataclass(frozen=True, slots=True)
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


class Unshapeable(Exception):
    """An event that no row can hold; the class's name is the error's."""


class NoTime(Unshapeable):
    """Nothing says when the event happened."""


class OutsidePartitionRange(Unshapeable):
    """BigQuery takes no row for the day of the event's created_at."""


class InvalidPayload(Unshapeable):
    """A flat message whose payload is no JSON object cannot stand in a JSON column."""


class RowTooLarge(Unshapeable):
    """The row is larger than one Storage Write request."""


class InvalidRow(Unshapeable):
    """A letter that says it holds a row does not."""


class Shaper:
    """Turns events into rows of the tables that take them.

    Args:
        tables: Of one job; exactly one is the default (`parse_tables` sees to it).
    """

    def __init__(self, tables: Sequence[Table]) -> None:
        self._tables = tuple(tables)
        self._by_collection = {name: table for table in tables for name in table.collections}
        self._default = next(table for table in tables if table.default)
        self._slots = {table.name: slots(table.declared) for table in tables}
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
            Unshapeable: One of its classes above.
        """
        if isinstance(event, RestoredRow):
            return self._restored(event.message, now)
        table = self._default
        if event.collection is not None:
            table = self._by_collection.get(event.collection, table)
        values = _LAYOUTS[table.layout](event, self._slots[table.name], now)
        paths = sum(map(len, event.changed_fields))  # each repeats those above it
        if len(event.message.data) + paths > self._surely_small[table.name]:
            _check_size(values)
        return Row(table.name, values, event.message)

    def _restored(self, message: Message, now: int) -> Row:
        try:
            table, values = row_values(message.data, self._tables)
        except ValueError as error:
            raise InvalidRow(f"the data are no row as JSON: {error}") from error
        if table.partition and values[table.partition] is not None:
            _check_partition(values[table.partition], now)
        _check_size(values)
        return Row(table.name, values, message)


def _structured(event: Event, declared: Sequence[Slot], now: int) -> dict[str, Any]:
    if event.fields is None and event.operation != DELETE:
        raise InvalidPayload("$.payload: the flat message's payload is no JSON object")
    created_at = _time(event)
    _check_partition(created_at, now)
    values = {
        "event_id": event.event_id,
        "issue_id": event.issue_id,
        "issue_key": event.issue_key,
        "source": event.source,
        "created_at": created_at,
        "update_time": event.update_time,
        "event_type": event.event_type,
        "operation": event.operation,
        "document_name": event.document_name,
        "document_path": event.document_path,
        "document_id": event.document_id,
        "collection": event.collection,
        "changed_fields": list(event.changed_fields),
        "payload": None if event.fields is None else json_text(event.fields),
        "old_payload": None if event.old_fields is None else json_text(event.old_fields),
        "auth_type": event.auth_type,
        "auth_id": event.auth_id,
        "publish_time": event.message.publish_time or None,
        "ingest_time": now,
    }
    fields = event.old_fields if event.fields is None else event.fields
    errors = flatten(fields or {}, declared, values)
    if event.flat is not None and event.created_at is None:
        errors.append("created_at")
    values["type_errors"] = [*errors, *event.inexact]
    return values


def _flat(event: Event, declared: Sequence[Slot], now: int) -> dict[str, Any]:  # noqa: ARG001
    if event.flat is not None:
        return {key: event.flat[key] for key in FLAT_KEYS}
    fields = event.old_fields if event.fields is None else event.fields
    return {
        "issue_id": event.issue_id,
        "source": event.source,
        "created_at": format_micros(_time(event)),
        "payload": json_text(fields or {}),
    }


_LAYOUTS: dict[str, Callable[[Event, Sequence[Slot], int], dict[str, Any]]] = {
    "structured": _structured,
    "flat": _flat,
}


def _time(event: Event) -> int:
    if event.created_at is not None:
        return event.created_at  # 1970-01-01T00:00:00Z, which is 0, is a time too
    if not event.message.publish_time:
        raise NoTime("neither ce-time, nor the document's update time, nor a publish time is there")
    return event.message.publish_time


def _check_partition(created_at: int, now: int) -> None:
    if not now - PARTITION_DAYS_BACK * DAY < created_at < now + PARTITION_DAYS_AHEAD * DAY:
        raise OutsidePartitionRange(
            f"created_at {format_micros(created_at)} is more than {PARTITION_DAYS_BACK} days back "
            f"or {PARTITION_DAYS_AHEAD} ahead, where BigQuery takes no streamed rows"
        )


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
