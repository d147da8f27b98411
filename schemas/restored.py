"""A row as the data of a dead letter, and back: for a sink that gives rows back without messages.

`{"table": ..., "values": {column: value}}`, bytes as base64, everything else as JSON has it
(TIMESTAMP as microseconds since the epoch). Written with `dead_letter_data: row`.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from schemas.failure import DATA, DATA_ROW
from schemas.message import DEDUP_ID, EVENT_ID, Message
from schemas.table import Table, Type

_WORDS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


def message_of_row(table: str, values: Mapping[str, Any]) -> Message:
    """The message that stands in for the one that the sink did not give back.

    Args:
        table: The table's name inside the dataset.
        values: A value for each column, by `schemas.table.Type`.
    """
    data = json.dumps(
        {"table": table, "values": {name: _to_json(value) for name, value in values.items()}},
        ensure_ascii=False,
    ).encode()
    event_id = str(values.get("event_id") or "")
    attributes = {DATA: DATA_ROW}
    if event_id:
        attributes |= {EVENT_ID: event_id, DEDUP_ID: event_id}
    return Message(data, attributes)


def _to_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):  # noqa: PLR0124
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"  # noqa: PLR0124
    if isinstance(value, (list, tuple)):
        return [_to_json(item) for item in value]
    return value


def row_values(data: bytes, tables: Sequence[Table]) -> tuple[str, dict[str, Any]]:
    """Reads a row back: the table's name, and a value for each of its columns.

    Raises:
        ValueError: The data are not such a row of one of the tables.
    """
    document = json.loads(data)
    if not isinstance(document, dict) or set(document) != {"table", "values"}:
        raise ValueError("a row letter is an object of `table` and `values`")
    name, given = document["table"], document["values"]
    table = next((table for table in tables if table.name == name), None)
    if table is None or not isinstance(given, dict):
        raise ValueError(f"no table of this job is called {name!r}, or `values` is no object")
    if unknown := sorted(set(given) - {column.name for column in table.columns}):
        raise ValueError(f"table {name} has no column {unknown[0]!r}")
    values: dict[str, Any] = {}
    for column in table.columns:
        value = given.get(column.name)
        try:
            values[column.name] = (
                [_from_json(item, column.type) for item in value or []]
                if column.repeated
                else None
                if value is None
                else _from_json(value, column.type)
            )
        except (TypeError, ValueError) as error:
            raise ValueError(f"$.values.{column.name}: {error}") from error
    return name, values


def _from_json(value: Any, type_: Type) -> Any:
    if type_ is Type.BYTES:
        return base64.b64decode(value, validate=True)
    if type_ is Type.FLOAT64:
        return _WORDS[value] if isinstance(value, str) and value in _WORDS else float(value)
    expected: type = {Type.INT64: int, Type.TIMESTAMP: int, Type.BOOL: bool}.get(type_, str)
    if type(value) is not expected:
        raise ValueError(f"{value!r} is no {type_}")
    return value
