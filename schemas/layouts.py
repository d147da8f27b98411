"""The layouts: how an event becomes the columns of a table. The one list of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas import changelog, flat, structured
from schemas.event import Event
from schemas.shaping import Plan
from schemas.table import Column, Table


@dataclass(frozen=True, slots=True)
class Layout:
    """One layout.

    Args:
        columns: From the columns of path parameters and the declared ones to the table's.
        shape: From an event, the table's plan, the parameters and the time of now (microseconds)
            to a value for each column but `raw`; raises `shaping.Unshapeable`.
        declares: Whether the file may declare columns by path.
        parameters: Whether the parameters of path patterns are columns.
        raw: Whether the table can keep the whole message.
        partition: The TIMESTAMP column by whose day the table is partitioned; '' for none.
        clustering: Columns by which the table is clustered, unless its file says otherwise.
        views: Kinds of its views, as `schemas.views.LAYOUT_VIEWS` derives them.
        has_event_id: Whether rows are known by `event_id`, so that repeats can be told.
    """

    columns: Callable[[Sequence[Column], Sequence[Column]], tuple[Column, ...]]
    shape: Callable[[Event, Plan, Mapping[str, str], int], dict[str, Any]]
    declares: bool
    parameters: bool
    raw: bool
    partition: str
    clustering: tuple[str, ...]
    views: tuple[str, ...]
    has_event_id: bool


LAYOUTS: Mapping[str, Layout] = {
    "structured": Layout(
        columns=structured.columns,
        shape=structured.shape,
        declares=True,
        parameters=True,
        raw=True,
        partition=structured.PARTITION,
        clustering=structured.CLUSTERING,
        views=("latest", "changes", "daily"),
        has_event_id=True,
    ),
    "changelog": Layout(
        columns=changelog.columns,
        shape=changelog.shape,
        declares=True,
        parameters=False,
        raw=True,
        partition=changelog.PARTITION,
        clustering=changelog.CLUSTERING,
        views=("raw_latest", "schema_changelog", "schema_latest"),
        has_event_id=True,
    ),
    "flat": Layout(
        columns=flat.columns,
        shape=flat.shape,
        declares=False,
        parameters=False,
        raw=False,
        partition="",
        clustering=(),
        views=(),
        has_event_id=False,
    ),
}


def layout_of(table: Table) -> Layout:
    """The layout of a table."""
    return LAYOUTS[table.layout]
