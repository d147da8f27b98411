"""Prints rows and dead letters as tables, as wide as the terminal."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table as Printed
from rich.text import Text

from local.resources import DATASET
from local.rows import READINGS, Reading
from schemas.failure import ERROR, REASON, STAGE
from schemas.layouts import layout_of
from schemas.message import CE_TYPE, Message
from schemas.table import RAW, Column, Table, Type

_WIDTH = 160
_LONGEST = 2_000
_SHOWN_BYTES = 60
_NARROW = 28
_SHORT_ID = 8
_MOST_FIELDS = 5
NEWEST = 100


def console() -> Console:
    """Standard output, as wide as the terminal (COLUMNS, if set), else 160 characters."""
    width = shutil.get_terminal_size((_WIDTH, 24)).columns
    return Console(width=width, highlight=False)


def query_of(table: Table) -> str:
    """What a reader would ask of a table."""
    return f"SELECT * FROM {DATASET}.{table.name} ORDER BY {READINGS[table.layout].time} DESC"  # noqa: S608


def latest_of(table: Table) -> str:
    """What arrived last in a table."""
    order = READINGS[table.layout].arrival
    return f"SELECT * FROM {DATASET}.{table.name} ORDER BY {order} DESC LIMIT {NEWEST}"  # noqa: S608


def rows_table(table: Table, rows: Sequence[Mapping[str, Any]], title: str) -> Printed:
    """Rows of a table, by the columns that a reader looks for first."""
    reading = READINGS[table.layout]
    names = {column.name for column in table.columns}
    return _table(
        title,
        (
            _Field(reading.time, lambda row: _time(row.get(reading.time))),
            *_identity(table, reading),
            *(_PICKED if names >= _PICKED_FROM else _declared(table)),
            _Field(reading.new, lambda row: _side(row, reading), 5),
        ),
        rows,
    )


def _identity(table: Table, reading: Reading) -> Iterator["_Field"]:
    """Which event a row is of, as far as the layout has it."""
    if layout_of(table).has_event_id:
        yield _Field("event_id", lambda row: (row.get("event_id") or "")[:_SHORT_ID])
    if reading.operation:
        yield _Field("operation", lambda row: row.get(reading.operation))
    yield _Field(
        "document or issue" if reading.document else reading.issue_id,
        lambda row: reading.path(row.get(reading.document) or "") or row.get(reading.issue_id),
        3,
    )


def _declared(table: Table) -> Iterator["_Field"]:
    """The first columns that take a part of the path or a field of the document."""
    named = [column for column in table.columns if column.parameter or column.path]
    yield from map(_column, named[:_MOST_FIELDS])
    if table.raw:
        yield _Field(RAW.name, lambda row: f"{len(row.get(RAW.name) or b'')} bytes")


def _column(column: Column) -> "_Field":
    wide = column.repeated or column.type in (Type.STRING, Type.JSON)
    return _Field(column.name, lambda row: _value(row.get(column.name)), 2 if wide else 0)


def letters_table(letters: Iterable[Message], title: str = "dead letters") -> Printed:
    """Dead letters, with what was wrong; the reason is shown whole."""
    return _table(
        title,
        (
            _Field("event_id", lambda letter: letter.event_id[:_SHORT_ID]),
            _Field("stage", lambda letter: letter.attribute(STAGE)),
            _Field("error", lambda letter: letter.attribute(ERROR)),
            _Field("reason", lambda letter: letter.attribute(REASON), 4, whole=True),
            _Field("ce-type", lambda letter: letter.attribute(CE_TYPE), 2),
            _Field("data", lambda letter: repr(letter.data[:_SHOWN_BYTES])[1:], 2),
        ),
        letters,
    )


@dataclass(frozen=True, slots=True)
class _Field:
    """A column of a printed table: its share of the width (0: what it needs), cut or whole."""

    name: str
    value: Callable[[Any], Any]
    share: int = 0
    whole: bool = False


def _table(title: str, fields: Sequence[_Field], records: Iterable[Any]) -> Printed:
    table = Printed(title=title, title_justify="left", expand=True)
    for field in fields:
        table.add_column(
            field.name,
            no_wrap=not field.whole,
            overflow="fold" if field.whole else "ellipsis",
            ratio=field.share or None,
            max_width=None if field.share else _NARROW,
        )
    for record in records:
        table.add_row(*(_cell(field.value(record)) for field in fields))
    return table


def _cell(value: Any) -> Text:
    """One line of plain text: no markup is read in it, and control characters are shown as such.

    A row's content is a stranger's: it must not steer the terminal, nor turn its line around.
    """
    text = "" if value is None else str(value)[:_LONGEST]
    return Text("".join(c if c.isprintable() else repr(c)[1:-1] for c in text))


def _time(value: Any) -> str:
    return value.strftime("%m-%d %H:%M:%S") if isinstance(value, datetime) else str(value or "")


def _value(value: Any) -> str:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M")
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def _side(row: Mapping[str, Any], reading: Reading) -> str:
    """The document as it is, or as it was before it went."""
    new = row.get(reading.new)
    shown = row.get(reading.old) if new is None else new
    return shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False)


# What a reader looks for first in the shipped table, or one that declares the same.
_PICKED_FROM = {"title", "issue", "priority", "status", "labels"}
_PICKED = (
    _Field("title", lambda row: row.get("title") or row.get("issue"), 3),
    _Field("priority", lambda row: row.get("priority")),
    _Field("status", lambda row: row.get("status")),
    _Field("labels", lambda row: _value(row.get("labels")), 2),
)
