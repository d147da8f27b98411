"""Proposes table files for recorded messages: what the fields hold decides the columns' types.

One table a collection, one more for events without a document. What is proposed is a start: it
passes `check`, and every recorded value fits its column.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from schemas.bigquery_rules import MAX_COLUMNS, column_name_faults
from schemas.event import DELETE, Event, RestoredRow, Undecodable, decode_message
from schemas.firestore import parse_event_data
from schemas.firestore_values import Exact, read_fields
from schemas.message import CONTENT_TYPE
from schemas.observed import Observed, leaves
from schemas.recorded import from_line
from schemas.routing import parse_collection
from schemas.structured import END, START
from schemas.table import RAW, Column, Type

LEVELS = 3
"""How many levels of maps are flattened, the document's own fields among them."""

WITHOUT_DOCUMENT = "manual_issues"
_DEFAULT_COLLECTION = "issues"
# Of the file that ships, which comes before files without a default table.
_TAKEN_TABLES = ("issues_stream", "issues_latest", "issues_changes", "issues_daily")
_FIXED = frozenset(column.name for column in (*START, *END, RAW))
_NAME_LENGTH = 300
_Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Inferred:
    """A proposed column.

    Args:
        column: As the table file declares it.
        observed: What was seen at its path.
        events: Of how many.
    """

    column: Column
    observed: Observed
    events: int

    @property
    def missing(self) -> int:
        """In how many events the field was not there."""
        return self.events - self.observed.seen()

    @property
    def null_share(self) -> float:
        """Of the rows, the share in which the column is NULL, or [] for want of the field."""
        return (self.missing + self.observed.kinds["null"]) / self.events


@dataclass(frozen=True, slots=True)
class Proposal:
    """A proposed table.

    Args:
        table: Its name.
        collection: Whose documents it takes; None for events without a document.
        default: Whether it takes what no other does.
        events: How many there were.
        shapes: Where the collection's documents stood: `teams/{}/members/{}`.
        columns: Its columns.
        only_null: Fields that were never anything but null.
        left_out: Fields for which BigQuery has no room.
    """

    table: str
    collection: str | None
    default: bool
    events: int
    shapes: tuple[str, ...]
    columns: tuple[Inferred, ...]
    only_null: tuple[_Path, ...]
    left_out: tuple[_Path, ...]


@dataclass(slots=True)
class Unread:
    """Lines that say nothing about columns.

    Args:
        counts: How many, by the error's name.
        first: The first of each: where it stands, and the reason.
    """

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, tuple[str, str]] = field(default_factory=dict)

    def add(self, name: str, where: str, reason: str) -> None:
        """Counts one."""
        self.counts[name] += 1
        self.first.setdefault(name, (where, reason))


@dataclass(slots=True)
class _Seen:
    events: int = 0
    fields: Observed = field(default_factory=Observed)
    shapes: dict[str, None] = field(default_factory=dict)


def infer(
    lines: Iterable[tuple[str, str]], collections: Collection[str] = (), levels: int = LEVELS
) -> tuple[tuple[Proposal, ...], Unread]:
    """Reads recorded messages and proposes tables.

    Args:
        lines: Where each stands, and the line as `schemas.recorded` writes it; an empty one
            counts for nothing.
        collections: The only ones to propose tables for; () for all, and for what has no document.
        levels: How many levels of maps are flattened.

    Returns:
        The proposals in order of their collections' names, what has no document at the end; and
        what was not read.
    """
    seen: dict[str | None, _Seen] = {}
    unread = Unread()
    for where, line in lines:
        if not line.strip():
            continue
        try:
            event = _event(line)
            fields = _fields(event)
        except (Undecodable, ValueError) as error:
            name = type(error).__name__ if isinstance(error, Undecodable) else "NoEvent"
            unread.add(name, where, str(error))
            continue
        if collections and event.collection not in collections:
            continue
        found = seen.setdefault(event.collection, _Seen())
        found.events += 1
        found.fields.see(fields, levels)
        if event.document_path:
            found.shapes[_shape(event.document_path)] = None
    return _proposals(seen, unread), unread


def _event(line: str) -> Event:
    event = decode_message(from_line(line))
    if isinstance(event, RestoredRow):
        raise ValueError("a dead letter that holds a row")  # noqa: TRY004
    if event.fields is None and event.operation != DELETE:
        raise ValueError("a flat message whose payload is no JSON object")
    return event


def _fields(event: Event) -> Exact:
    """The fields that become columns: in a DELETE those of before, as in a row."""
    if event.document_name is None:
        return event.fields
    data = parse_event_data(event.message.data, event.message.attribute(CONTENT_TYPE))
    return read_fields((data.old_value if event.operation == DELETE else data.value).fields)


def _shape(path: str) -> str:
    return "/".join(f"{collection}/{{}}" for collection in path.split("/")[::2])


def _proposals(seen: dict[str | None, _Seen], unread: Unread) -> tuple[Proposal, ...]:
    default = None if None in seen else _DEFAULT_COLLECTION
    taken = {name.lower() for name in _TAKEN_TABLES}
    found = []
    for collection in sorted(seen, key=lambda name: (name is None, name or "")):
        try:
            parse_collection(collection or "x")
        except ValueError as error:
            unread.add("NoName", "collection", str(error))
            continue
        name = _unique(_word(collection or WITHOUT_DOCUMENT, "t", "table"), taken)
        found.append(_proposal(name, collection, seen[collection], collection == default))
    return tuple(found)


def _proposal(name: str, collection: str | None, seen: _Seen, default: bool) -> Proposal:
    columns: list[tuple[_Path, Observed, Type, bool]] = []
    only_null = []
    for path, observed in leaves(seen.fields):
        kind = observed.column_type()
        if kind is None:
            only_null.append(path)
        else:
            columns.append((path, observed, *kind))
    room = MAX_COLUMNS - len(_FIXED)
    kept = sorted(columns, key=lambda each: each[1].kinds["null"] - each[1].seen())[:room]
    paths = {each[0] for each in kept}
    names = _names([each[0] for each in columns if each[0] in paths])
    return Proposal(
        table=name,
        collection=collection,
        default=default,
        events=seen.events,
        shapes=tuple(seen.shapes),
        columns=tuple(
            Inferred(Column(names[path], kind, repeated, path=path), observed, seen.events)
            for path, observed, kind, repeated in columns
            if path in paths
        ),
        only_null=tuple(only_null),
        left_out=tuple(each[0] for each in columns if each[0] not in paths),
    )


def _names(paths: Sequence[_Path]) -> dict[_Path, str]:
    """A name for each path: its own where BigQuery takes it, else one like it.

    The shorter path is named first: `a_b` keeps its name beside `a.b`.
    """
    paths = sorted(paths, key=lambda path: (len(path), path))
    taken = {name.lower() for name in _FIXED}
    names: dict[_Path, str] = {}
    for path in paths:  # a path that has its own name does not lose it to one that has none
        name = "_".join(path)
        if not column_name_faults(name) and name.lower() not in taken:
            names[path] = name
            taken.add(name.lower())
    for path in paths:
        if path not in names:
            names[path] = _unique(_word("_".join(path), "f", "field"), taken)
    return names


def _word(text: str, lead: str, otherwise: str) -> str:
    """A name like the text: `lead` before it where that makes it one, `otherwise` for none."""
    word = re.sub(r"[^A-Za-z0-9_]", "_", text)[: _NAME_LENGTH - 10]
    if not word.strip("_"):
        return otherwise
    return f"{lead}_{word}" if column_name_faults(word) else word


def _unique(word: str, taken: set[str]) -> str:
    name, number = word, 1
    while name.lower() in taken:
        number += 1
        name = f"{word}_{number}"
    taken.add(name.lower())
    return name
