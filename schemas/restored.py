"""A row as the data of a dead letter, and back: for a sink that gives rows back without messages.

`{"table": ..., "values": {column: value}}`, bytes as base64, everything else as JSON has it
(TIMESTAMP as microseconds since the epoch). Written with `dead_letter_data: row`.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from schemas.exact_json import check_json
from schemas.failure import DATA, DATA_ROW
from schemas.message import DEDUP_ID, EVENT_ID, Message
from schemas.table import Column, Table, Type
from schemas.times import MAX_MICROS, MIN_MICROS

_WORDS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_INT64 = (-(2**63), 2**63 - 1)
_JSON_TYPES = {Type.INT64: int, Type.TIMESTAMP: int, Type.BOOL: bool, Type.FLOAT64: float}


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


def row_values(data: bytes, tables: Sequence[Table]) -> tuple[Table, dict[str, Any]]:
    """Reads a row back: its table, and a value for each of its columns.

    Raises:
        ValueError: The data are not such a row of one of the tables.
    """
    try:
        document = json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if not isinstance(document, dict) or set(document) != {"table", "values"}:
        raise ValueError("a row letter is an object of `table` and `values`")
    name, given = document["table"], document["values"]
    table = next((table for table in tables if table.name == name), None)
    if table is None or not isinstance(given, dict):
        raise ValueError(f"no table of this job is called {name!r}, or `values` is no object")
    if unknown := sorted(set(given) - {column.name for column in table.columns}):
        raise ValueError(f"table {table.name} has no column {unknown[0]!r}")
    values: dict[str, Any] = {}
    for column in table.columns:
        try:
            values[column.name] = _column(given.get(column.name), column)
        except ValueError as error:
            raise ValueError(f"$.values.{column.name}: {error}") from error
    return table, values


def _column(value: Any, column: Column) -> Any:
    if not column.repeated:
        return None if value is None else _from_json(value, column.type)
    if value is None:
        return []
    if type(value) is not list:
        raise ValueError(f"a list is expected, not {value!r:.80}")
    return [_from_json(item, column.type) for item in value]


def _from_json(value: Any, type_: Type) -> Any:
    """The value, where a row could hold it: a stranger's letter must not reach a sink."""
    kind = type(value)
    if type_ is Type.FLOAT64 and (kind is float or (kind is str and value in _WORDS)):
        return _WORDS.get(value, value)
    if kind is not _JSON_TYPES.get(type_, str):
        raise ValueError(f"{value!r:.80} is no {type_}")
    if kind is int:
        low, high = (MIN_MICROS, MAX_MICROS) if type_ is Type.TIMESTAMP else _INT64
        if not low <= value <= high:
            raise ValueError(f"{value!r:.80} is outside the range of {type_}")
    elif kind is str:
        value.encode()  # half of a surrogate pair is a UnicodeEncodeError, so a ValueError
        if type_ is Type.BYTES:
            return base64.b64decode(value, validate=True)
        if type_ is Type.JSON:
            check_json(value)
    return value
