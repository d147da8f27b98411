"""The limits that the cases of bad content are made of are those of Google's pages, as figures.

`bad_content` takes them from the code, so that a wrong one there would move the cases with it.
"""

from datetime import UTC, datetime, timedelta

from pipeline.append_stream import MAX_REQUEST_BYTES
from schemas.json_text import MAX_JSON_DEPTH
from schemas.message import MAX_ATTRIBUTES, MAX_KEY_BYTES, MAX_MESSAGE_BYTES, MAX_VALUE_BYTES
from schemas.row import MAX_ROW_BYTES
from schemas.shaping import DAY, PARTITION_DAYS_AHEAD, PARTITION_DAYS_BACK
from schemas.times import MAX_MICROS, MIN_MICROS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def test_append_request():
    """BigQuery's "Quotas and limits", Storage Write API: an AppendRows request of 10 MB at most.

    A row with the request's own share fits a request, and none is kept far below what is taken.
    """
    assert 9_900_000 <= MAX_ROW_BYTES < MAX_REQUEST_BYTES < 10_000_000


def test_partitions():
    """BigQuery's "Partitioned tables": 1,825 days back, here a day less, and 366 ahead."""
    assert (PARTITION_DAYS_BACK + 1, PARTITION_DAYS_AHEAD) == (1_825, 366)
    assert timedelta(microseconds=DAY) == timedelta(days=1)


def test_json():
    """BigQuery's "Work with JSON data", limitations: 500 levels."""
    assert MAX_JSON_DEPTH == 500


def test_timestamps():
    """GoogleSQL's "Data types": from 0001-01-01 to 9999-12-31 23:59:59.999999 UTC."""
    first = datetime(1, 1, 1, tzinfo=UTC)
    last = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    assert (first - _EPOCH) // _MICROSECOND == MIN_MICROS
    assert (last - _EPOCH) // _MICROSECOND == MAX_MICROS


def test_messages():
    """Pub/Sub's "Quotas and limits": 10 MB, 100 attributes of 256 and 1,024 bytes."""
    found = (MAX_MESSAGE_BYTES, MAX_ATTRIBUTES, MAX_KEY_BYTES, MAX_VALUE_BYTES)
    assert found == (10_000_000, 100, 256, 1_024)
