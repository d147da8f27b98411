"""What every layout needs: an event's time, what is dropped of it, and what no row can hold."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.event import DELETE, Event
from schemas.field_path import field_path, parse_field_path
from schemas.firestore import Json
from schemas.flatten import Slot, slots
from schemas.table import Table
from schemas.times import format_micros

# Streaming into a partition further away is refused by BigQuery (its page "Partitioned tables",
# limits of streaming into partitions).
DAY = 86_400_000_000
# One day less back than BigQuery takes: a row that waits before a sink grows older, and one with a
# time that is refused wedges Beam's (docs/guarantees.md, beam#40110).
PARTITION_DAYS_BACK = 1_824
PARTITION_DAYS_AHEAD = 366

_QUOTED = r"`(?:[^`\\]|\\.)*`"
_INDEX_OR_QUOTED = re.compile(rf"({_QUOTED})|\[[0-9]+\](?=[.\[]|$)", re.DOTALL)
_NAMES = re.compile(rf"{_QUOTED}|[^.`]+", re.DOTALL)


class Unshapeable(Exception):
    """An event that no row can hold; the class's name is the error's."""


class NoTime(Unshapeable):
    """Nothing says when the event happened."""


class OutsidePartitionRange(Unshapeable):
    """BigQuery takes no row for the day of the event's created_at."""


class InvalidPayload(Unshapeable):
    """A flat message whose payload is no JSON object cannot stand in a JSON column."""


class Unmatched(Unshapeable):
    """No table's collections match the document, and such ones are not for the default table."""


class RowTooLarge(Unshapeable):
    """The row is larger than one Storage Write request."""


class InvalidRow(Unshapeable):
    """A letter that says it holds a row does not."""


Dropped = Mapping[str, "Dropped | None"]
"""The dropped fields as a tree: a name leads to what is dropped below it, or None for all."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is known of a table before an event comes.

    Args:
        table: The table.
        slots: Of its declared columns.
        parameters: Names of the columns that take parameters of a path pattern.
        dropped: Its dropped fields; empty where all is kept.
    """

    table: Table
    slots: tuple[Slot, ...]
    parameters: tuple[str, ...]
    dropped: Dropped

    @classmethod
    def of(cls, table: Table) -> "Plan":
        """The plan of a table."""
        return cls(
            table,
            slots(table.declared),
            tuple(column.name for column in table.columns if column.parameter),
            _tree(table.dropped),
        )

    def kept(self, fields: Mapping[str, Json]) -> Mapping[str, Json]:
        """A document's fields without the dropped ones; the given ones are not touched.

        A path goes through arrays as through maps: `items.password` is dropped of every map in
        `items`, however many arrays lie between.
        """
        return _without(fields, self.dropped) if self.dropped else fields

    def kept_at(self, path: Sequence[str], value: Json) -> Json:
        """What is found at a path of a document, without what is dropped below it."""
        below = self.dropped
        for segment in path:
            further = below.get(segment)
            if further is None:
                return value  # a column for what is dropped itself is refused with the file
            below = further
        return _within(value, below)

    def kept_paths(self, paths: Sequence[str]) -> list[str]:
        """Field paths without those of dropped fields and of what is below these.

        Indexes are passed over: `a[0].b` is dropped with `a.b`. A path that breaks Firestore's
        quoting, such as `a b.c` in a sender's mask, is dropped where it could be meant.
        """
        if not self.dropped:
            return list(paths)
        return [path for path in paths if not self._drops(path)]

    def _drops(self, path: str) -> bool:
        text = _INDEX_OR_QUOTED.sub(lambda match: match[1] or "", path)
        try:
            return self._drops_segments(parse_field_path(text))
        except ValueError:
            pass  # a sender's own spelling
        names = [
            parse_field_path(name)[0] if name[0] == "`" else name for name in _NAMES.findall(text)
        ]
        if self._drops_segments(names):
            return True
        plain = [".".join(dropped) for dropped in self.table.dropped]
        quoted = [field_path(dropped) for dropped in self.table.dropped]
        return any(
            path == name or path.startswith((f"{name}.", f"{name}[")) for name in (*plain, *quoted)
        )

    def _drops_segments(self, segments: Sequence[str]) -> bool:
        below = self.dropped
        for segment in segments:
            if segment not in below:
                return False
            further = below[segment]
            if further is None:
                return True
            below = further
        return False  # what is dropped is a part of it only


def _tree(paths: Iterable[tuple[str, ...]]) -> Dropped:
    tree: dict[str, Any] = {}
    for path in sorted(paths, key=len):
        below = tree
        for segment in path[:-1]:
            found = below.setdefault(segment, {})
            if found is None:
                break  # all of it is dropped already
            below = found
        else:
            below[path[-1]] = None
    return tree


def _without(fields: Mapping[str, Json], dropped: Dropped) -> dict[str, Json]:
    kept = dict(fields)
    for name, below in dropped.items():
        if below is None:
            kept.pop(name, None)
        elif name in kept:
            kept[name] = _within(kept[name], below)
    return kept


def _within(value: Json, dropped: Dropped) -> Json:
    """One of Python's frames a level of arrays, of which a manual issue can have 500."""
    kind = type(value)
    if kind is dict:
        return _without(value, dropped)
    if kind is not list:
        return value
    found = []
    for item in value:
        found.append(_within(item, dropped))  # noqa: PERF401 - a comprehension is a frame of its own
    return found


def event_time(event: Event) -> int:
    """When the event happened, in microseconds since the epoch.

    Raises:
        NoTime: Nothing says so.
    """
    if event.created_at is not None:
        return event.created_at  # 1970-01-01T00:00:00Z, which is 0, is a time too
    if not event.message.publish_time:
        raise NoTime("neither ce-time, nor the document's update time, nor a publish time is there")
    return event.message.publish_time


def check_partition(name: str, time: int, now: int) -> None:
    """Refuses a time for whose day BigQuery takes no streamed rows.

    Args:
        name: Of the partitioning column.
        time: Microseconds since the epoch, as `now`.
        now: What the days are counted from.

    Raises:
        OutsidePartitionRange: It is too far away.
    """
    if not now - PARTITION_DAYS_BACK * DAY < time < now + PARTITION_DAYS_AHEAD * DAY:
        raise OutsidePartitionRange(
            f"{name} {format_micros(time)} is more than {PARTITION_DAYS_BACK} days back "
            f"or {PARTITION_DAYS_AHEAD} ahead, where BigQuery takes no streamed rows"
        )


def require_fields(event: Event) -> None:
    """Refuses a flat message whose payload no JSON column can hold.

    Raises:
        InvalidPayload: It is no JSON object.
    """
    if event.fields is None and event.operation != DELETE:
        raise InvalidPayload("$.payload: the flat message's payload is no JSON object")
