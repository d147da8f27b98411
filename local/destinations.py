"""In which table a document of the sample belongs, and what that table keeps of it.

By what table files say of `collections` and of `policy: drop` (the tables of `schemas/routing.py`
and docs/schema.md), with none of the code that the job runs, so that the job is judged by
something else.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from local.expected import Expected
from local.rows import READINGS
from schemas.table import Table

_ID = "[^/]+"
_PAIR = 2  # a collection and a document
_AFTER_PATTERNS = 2


def aimed(expected: Iterable[Expected], tables: Sequence[Table]) -> tuple[Expected, ...]:
    """The same, each row with its table, its parameters, and without what the table has not."""
    return tuple(_aimed(each, tables) if each.outcome == "row" else each for each in expected)


def _aimed(each: Expected, tables: Sequence[Table]) -> Expected:
    table, parameters = destination(each.document_path, tables)
    return replace(
        each,
        table=table.name,
        parameters=parameters,
        issue_id=each.issue_id if READINGS[table.layout].issue_id else "",
        fields=None if each.fields is None else kept(each.fields, table.dropped),
        old_fields=None if each.old_fields is None else kept(each.old_fields, table.dropped),
    )


def destination(path: str, tables: Sequence[Table]) -> tuple[Table, dict[str, str]]:
    """The table that takes a document, and the columns that its path fills.

    Args:
        path: The document's, inside its database; '' for a manual issue.
        tables: Of one job; what none of them names goes to the default one.
    """
    default = next(table for table in tables if table.default)
    found = [
        (_rank(text), table, _parameters(match, table))
        for table in tables
        for text in table.collections
        if (match := _expression(text).fullmatch(path))
    ]
    _, table, parameters = min(found, key=lambda each: each[0], default=((), default, {}))
    return table, parameters


def _parameters(match: re.Match[str], table: Table) -> dict[str, str]:
    """The ids of the parameters; as JSON a layout has them without the document's own."""
    names = match.groupdict()
    if READINGS[table.layout].parameters:
        return {name: id_ for name, id_ in names.items() if match.end(name) < match.end()}
    return names


def kept(fields: Mapping[str, Any], dropped: Collection[tuple[str, ...]]) -> dict[str, Any]:
    """A document's fields without the dropped ones, whose paths are tuples of names."""
    return {
        name: kept(value, [path[1:] for path in dropped if path[0] == name])
        if isinstance(value, Mapping)
        else value
        for name, value in fields.items()
        if (name,) not in dropped
    }


def _expression(text: str) -> re.Pattern[str]:
    """A collection's id, at any depth, or a path pattern, as a regular expression of paths."""
    if "/" not in text:
        return re.compile(f"(?:{_ID}/{_ID}/)*{re.escape(text)}/{_ID}")
    parts = [
        f"(?P<{part[1:-1]}>{_ID})" if part.startswith("{") else re.escape(part)
        for part in text.split("/")
    ]
    return re.compile("/".join(parts if len(parts) % _PAIR == 0 else [*parts, _ID]))


def _rank(text: str) -> tuple[int, ...]:
    """Of two that match the lower one counts: a pattern, literal as far to the left as can be."""
    if "/" not in text:
        return (_AFTER_PATTERNS,)
    parts = text.split("/")
    free = [int(part.startswith("{")) for part in parts]
    return tuple(free if len(parts) % _PAIR == 0 else [*free, 1])
