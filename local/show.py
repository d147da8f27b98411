"""Prints rows and dead letters as tables, as wide as the terminal."""

import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from google.cloud import bigquery
from rich.console import Console
from rich.table import Table
from rich.text import Text

from schemas.failure import ERROR, REASON, STAGE
from schemas.message import CE_TYPE, Message

_WIDTH = 160
_LONGEST = 2_000
_SHOWN_BYTES = 60
_NARROW = 22
_QUERY_SECONDS = 30.0
NEWEST = 100

LATEST = f"SELECT * FROM issues_ds.issues_stream ORDER BY ingest_time DESC LIMIT {NEWEST}"  # noqa: S608
QUERY = "SELECT * FROM issues_ds.issues_stream ORDER BY created_at DESC"


def console() -> Console:
    """Standard output, as wide as the terminal (COLUMNS, if set), else 160 characters."""
    width = shutil.get_terminal_size((_WIDTH, 24)).columns
    return Console(width=width, highlight=False)


def newest(client: bigquery.Client, query: str = QUERY) -> list[dict[str, Any]]:
    """The first 100 rows of a query."""
    job = client.query(query, timeout=_QUERY_SECONDS, retry=None, job_retry=None)
    found = job.result(max_results=NEWEST, timeout=_QUERY_SECONDS, retry=None, job_retry=None)
    return [dict(row.items()) for row in found]


def rows_table(rows: Iterable[Mapping[str, Any]], title: str = QUERY) -> Table:
    """Rows of a structured table, by the columns that a reader looks for first."""
    return _table(
        title,
        (
            _Field("created_at", lambda row: _time(row.get("created_at"))),
            _Field("event_id", lambda row: (row.get("event_id") or "")[:8]),
            _Field("operation", lambda row: row.get("operation")),
            _Field(
                "document or issue", lambda row: row.get("document_path") or row.get("issue_id"), 3
            ),
            _Field("title", lambda row: row.get("title") or row.get("issue"), 3),
            _Field("priority", lambda row: row.get("priority")),
            _Field("status", lambda row: row.get("status")),
            _Field("labels", lambda row: ", ".join(row.get("labels") or ()), 2),
            _Field("payload", _payload, 5),
        ),
        rows,
    )


def letters_table(letters: Iterable[Message], title: str = "dead letters") -> Table:
    """Dead letters, with what was wrong; the reason is shown whole."""
    return _table(
        title,
        (
            _Field("event_id", lambda letter: letter.event_id[:8]),
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


def _table(title: str, fields: Sequence[_Field], records: Iterable[Any]) -> Table:
    table = Table(title=title, title_justify="left", expand=True)
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


def _payload(row: Mapping[str, Any]) -> str:
    payload = row.get("payload")
    shown = row.get("old_payload") if payload is None else payload
    return shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False)
