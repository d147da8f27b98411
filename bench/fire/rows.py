"""The rows that are given to the sink: good ones, large ones, and bad ones of each kind."""

import itertools
from dataclasses import dataclass
from typing import Any

from bench.fire.ledger import Key
from pipeline.append_stream import MAX_REQUEST_BYTES, Encoded
from schemas.encode import Encoder
from schemas.table_file import parse_table
from schemas.times import MAX_MICROS, now_micros

_FILE = "layout: structured\ndefault: true\ncolumns: [{path: n, type: INT64}]"
TABLES = tuple(parse_table(f"table: {name}\n{_FILE}", f"{name}.yaml") for name in ("a", "b"))
ENCODERS = {table.name: Encoder(table) for table in TABLES}
_ENCODER = ENCODERS["a"]  # both tables have the same columns

# So many to a request that is as large as one may be.
LARGE_ROWS = 10
_LARGE = (MAX_REQUEST_BYTES - 20_000) // LARGE_ROWS - 100

GOOD, LARGE = "good", "large"
BAD = ("not JSON", "late in time", "not protobuf")
_BAD_VALUES: dict[str, dict[str, Any]] = {
    "not JSON": {"payload": "{not JSON"},
    "late in time": {"publish_time": MAX_MICROS + 1},
}


@dataclass(frozen=True, slots=True)
class Given:
    """A row handed to the sink.

    Args:
        encoded: As the sink takes it.
        key: As it is known in the table.
        bad: Whether BigQuery refuses it.
    """

    encoded: Encoded
    key: Key
    bad: bool


class Rows:
    """Makes rows, none of them twice."""

    def __init__(self) -> None:
        self._numbers = itertools.count()

    def make(self, kind: str) -> Given:
        """A row of a kind: `good`, `large` or one of `BAD`."""
        number = next(self._numbers)
        return row(number, kind)


def row(number: int, kind: str = GOOD) -> Given:
    """The row of that number."""
    name, now = f"row-{number}", now_micros()
    padding = _LARGE if kind == LARGE else number % 50
    values = {"event_id": name, "created_at": now, "n": number, "auth_id": "x" * padding}
    data = _ENCODER.encode({**values, **_BAD_VALUES.get(kind, {})})
    if kind == "not protobuf":
        data = data[:-1]  # ends in the middle of its last field
    return Given(Encoded(data, name, now), (name, number, padding), kind in BAD)
