"""A Markdown page: each Firestore type, its JSON text, and what of BigQuery holds it, by layout.

Nothing of it is written down here but the examples: each is made an event, decoded, and shaped for
a table of every layout, and the page says what stands in the rows.
"""

import sys
from collections.abc import Iterator
from typing import Any

from schemas.document_change import Document, DocumentChange
from schemas.event import decode_message
from schemas.firestore_values import GeoPoint, Reference, Timestamp, Vector
from schemas.message import CE_ID, CE_SOURCE, CE_TIME, CE_TYPE, Message
from schemas.row import Shaper
from schemas.table import Table, Type
from schemas.table_file import parse_tables
from schemas.times import parse_rfc3339

_TIME = "2026-11-01T00:00:00Z"
_DOCUMENTS = "projects/p/databases/(default)/documents"
_FIELD = "x"

EXAMPLES: tuple[tuple[str, str, Any], ...] = (
    ("null", "None", None),
    ("boolean", "True", True),
    ("integer", "2**53 + 1", 2**53 + 1),
    ("double", "0.1", 0.1),
    ("double, a whole one", "3.0", 3.0),
    ("double, minus zero", "-0.0", -0.0),
    ("double, not finite", 'float("nan")', float("nan")),
    ("double, infinite", 'float("-inf")', float("-inf")),
    ("timestamp", "Timestamp(1_709_168_523, 123_456_000)", Timestamp(1_709_168_523, 123_456_000)),
    ("string", '"text"', "text"),
    ("bytes", r'b"\x00\xff"', b"\x00\xff"),
    ("reference", 'Reference(".../a/b")', Reference(f"{_DOCUMENTS}/a/b")),
    ("geo point", "GeoPoint(47.5, 8.5)", GeoPoint(47.5, 8.5)),
    ("array of integers", "[1, None]", [1, None]),
    ("array of strings", '["a", "b"]', ["a", "b"]),
    ("array of several types", '[1, "a"]', [1, "a"]),
    ("map", '{"a": {"b": 1}}', {"a": {"b": 1}}),
    ("vector", "Vector((1.0, -0.5))", Vector((1.0, -0.5))),
)
"""What the page shows of each type: its name, the exact Python value as it is written, and it."""

_HEAD = """# Firestore's values in BigQuery

Made by `make docs` from the code (`schemas/values_page.py`): each example is decoded and shaped as
the job does it. Python is `schemas.firestore_values`. Columns are the types that a table file can
declare for the field and that hold the example; of another type the column is NULL (or `[]`), the
row is kept, and `type_errors` names the field.

| layout | the document's fields | before the event | declared fields |
|---|---|---|---|
{layouts}

| Firestore | Python | JSON in `payload` (structured, flat) | columns in `structured` | JSON in `data` (changelog) |
|---|---|---|---|---|
{rows}

`payload` is exact: two values of a type never have the same text; a double keeps its sign at zero, a
timestamp its nanoseconds. `data` is what the Firebase extension writes
([its page](changelog-layout.md)).
A manual issue's body is in `payload` as it came; a number that BigQuery's JSON would round is a
string there and named in `type_errors`.
"""  # noqa: E501 - a table's row is one line


def page() -> str:
    """The whole page."""
    tables = _tables()
    rows = "\n".join(_row(Shaper(tables), example) for example in EXAMPLES)
    return _HEAD.format(layouts="\n".join(_layouts(tables)), rows=rows)


def _tables() -> tuple[Table, ...]:
    """A table for each layout, the structured one with a column of every type and mode."""
    columns = ", ".join(
        f"{{path: {_FIELD}, name: {mode}_{type_}, type: {type_}, mode: {mode}}}"
        for mode in ("NULLABLE", "REPEATED")
        for type_ in Type
    )
    return parse_tables(
        (
            ("structured", f"{{table: structured, default: true, columns: [{columns}]}}"),
            ("flat", "{table: flat, layout: flat, collections: [flat]}"),
            ("changelog", "{table: changelog, layout: changelog, collections: [changelog]}"),
        )
    )


def _layouts(tables: tuple[Table, ...]) -> Iterator[str]:
    sides = {
        "structured": ("payload", "old_payload", "columns of the table"),
        "flat": ("payload", "", "none"),
        "changelog": ("data", "old_data", "columns of a typed view"),
    }
    for table in tables:
        types = {column.name: column.type for column in table.columns}
        now, before, declared = sides[table.layout]
        shown = [f"`{name}` {types[name]}" if name else "not kept" for name in (now, before)]
        yield f"| `{table.layout}` | {shown[0]} | {shown[1]} | {declared} |"


def _row(shaper: Shaper, example: tuple[str, str, Any]) -> str:
    name, python, value = example
    structured = _values(shaper, "issues", value)
    payload = _text(structured["payload"])
    if _text(_values(shaper, "flat", value)["payload"]) != payload:
        raise AssertionError(f"the flat payload of {name} is not the structured one")
    holds = [
        f"{type_}" if mode == "NULLABLE" else f"REPEATED {type_}"
        for mode in ("NULLABLE", "REPEATED")
        for type_ in Type
        if structured[f"{mode}_{type_}"] not in (None, [])
    ]
    data = _text(_values(shaper, "changelog", value)["data"])
    columns = ", ".join(holds) or "all, as NULL"
    return f"| {name} | `{python}` | `{payload}` | {columns} | `{data}` |"


def _values(shaper: Shaper, collection: str, value: Any) -> Any:
    document = Document(f"{_DOCUMENTS}/{collection}/1", {_FIELD: value})
    attributes = {
        CE_ID: "1",
        CE_SOURCE: "//page",
        CE_TYPE: "google.cloud.firestore.document.v1.created",
        CE_TIME: _TIME,
    }
    message = Message(DocumentChange(document).to_protobuf(), attributes)
    return shaper.shape(decode_message(message), parse_rfc3339(_TIME)).values


def _text(document: str) -> str:
    return document.removeprefix(f'{{"{_FIELD}":').removesuffix("}")


if __name__ == "__main__":
    sys.stdout.write(page())
