"""Rows of the job's own table, made in the stream."""

from collections.abc import Iterable

import apache_beam as beam

from local.load import change
from schemas.event import decode_message
from schemas.message import event_id_of
from schemas.row import Row, Shaper
from schemas.table_file import shipped
from schemas.times import now_micros

SOURCE = "//bench/streams"


class MakeRow(beam.DoFn):  # type: ignore[misc]
    """A number becomes a row of the shipped table: one update of a document, some 4 KB as a row.

    Its `ingest_time` is now, and its `event_id` that of the number.
    """

    def setup(self) -> None:
        """Makes the row that all others are copies of."""
        shaper = Shaper(shipped())
        self._row = shaper.shape(decode_message(change(0)), now_micros())

    def process(self, number: int) -> Iterable[Row]:
        """One row."""
        values = {
            **self._row.values,
            "event_id": event_id_of(SOURCE, str(number)),
            "ingest_time": now_micros(),
        }
        yield Row(self._row.table, values, self._row.message)
