"""ShapeRows: events to rows of the tables that take them."""

from collections.abc import Sequence
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from schemas.event import Event, RestoredRow
from schemas.routing import DEFAULT_TABLE
from schemas.row import Row, Shaper
from schemas.shaping import Unshapeable
from schemas.table import Table
from schemas.times import now_micros
from transforms.attempt import FAILED, Attempt
from transforms.decode import message_of_event

ROWS = "rows"


class ShapeRows(beam.PTransform):
    """Shapes each Event into a Row.

    Outputs: `rows` (Row), and `failed` (Failure of stage `shape`) for what BigQuery would refuse
    for its content.

    Args:
        tables: Of the job, exactly one of them the default.
        unmatched: Where documents go that no table's collections match (`schemas.routing`).
    """

    def __init__(self, tables: Sequence[Table], unmatched: str = DEFAULT_TABLE) -> None:
        super().__init__()
        self._tables = tuple(tables)
        self._unmatched = unmatched

    def expand(self, events: Any) -> Any:
        """PCollection[Event] to a DoOutputsTuple of `rows` and `failed`."""
        step = Attempt(
            "shape", _Shape(self._tables, self._unmatched), (Unshapeable,), message_of_event
        )
        return events | "Shape" >> beam.ParDo(step).with_outputs(FAILED, main=ROWS)


class _Shape:
    """The pure function with its clock and its counter; pickles with the tables alone."""

    def __init__(self, tables: tuple[Table, ...], unmatched: str = DEFAULT_TABLE) -> None:
        self._given = tables, unmatched
        self._shaper = Shaper(tables, unmatched)
        self._type_errors = Metrics.counter("shape", "type_errors")

    def __reduce__(self) -> tuple[type["_Shape"], tuple[tuple[Table, ...], str]]:
        return type(self), self._given

    def __call__(self, event: Event | RestoredRow) -> Row:
        row = self._shaper.shape(event, now_micros())
        if row.values.get("type_errors"):
            self._type_errors.inc()
        return row
