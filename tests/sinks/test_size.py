"""A row as large as Storage Write takes it, and one above."""

import pytest

from pipeline.launch import DONE
from schemas.event import decode_message
from schemas.failure import ERROR, STAGE
from schemas.row import MAX_ROW_BYTES, Shaper
from schemas.shaping import RowTooLarge
from schemas.table_file import parse_table
from schemas.times import now_micros
from tests.strategies import is_same, manual_message

TABLE = "table: t\ndefault: true\ncolumns: [{path: n, type: INT64}]"
NARROW = "table: t\ndefault: true\ncolumns: [{path: s}]"


def largest(text, now):
    """The length of the field `s` with which a row is as large as can be."""
    shaper = Shaper([parse_table(text, "t.yaml")])

    def fits(length):
        try:
            shaper.shape(decode_message(message(length, now)), now)
        except RowTooLarge:
            return False
        return True

    low, high = 0, MAX_ROW_BYTES + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def message(length, now):
    return manual_message({"n": 1, "s": "x" * length}, now, ce_id=f"of-{length}")


@pytest.mark.parametrize("text", [TABLE, NARROW], ids=["once", "in its column too"])
def test_the_largest_row_and_one_above(bench, text):
    """The largest goes in whole; with one byte more it is a letter, and is never sent."""
    bench.tables(text)
    now = now_micros()
    most = largest(text, now)
    assert most > MAX_ROW_BYTES * 0.99 / (1 if text == TABLE else 2)
    small, large, too_large = message(5, now), message(most, now), message(most + 1, now)
    assert bench.run([small, large, too_large]) == DONE
    rows = {row["event_id"]: row["payload"] for row in bench.rows("t")}
    wanted = {
        small.event_id: {"n": 1, "s": "x" * 5},
        large.event_id: {"n": 1, "s": "x" * most},
    }
    assert is_same(rows, wanted)
    [letter] = bench.letters()
    assert letter.data == too_large.data
    assert (letter.attributes[STAGE], letter.attributes[ERROR]) == ("shape", "RowTooLarge")
    assert max(map(len, bench.given("t"))) <= MAX_ROW_BYTES


def test_many_large_rows(bench):
    """Rows of which two do not fit one request go in as several."""
    bench.tables(TABLE)
    now = now_micros()
    messages = [message(6_000_000 + n, now) for n in range(5)]
    assert bench.run(messages) == DONE
    rows = bench.rows("t")
    assert [row["event_id"] for row in rows] == sorted(each.event_id for each in messages)
    assert sorted(len(row["payload"]["s"]) for row in rows) == [6_000_000 + n for n in range(5)]
    assert list(bench.letters()) == []
