"""Times: RFC 3339's grammar, and exactness over the whole range."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.times import (
    MAX_MICROS,
    MIN_MICROS,
    format_micros,
    format_rfc3339,
    now_micros,
    parse_rfc3339,
)
from tests.strategies import micros

NEW_YEAR_2026 = 1_767_225_600_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-01-01T00:00:00Z", NEW_YEAR_2026),
        ("2026-01-01t00:00:00z", NEW_YEAR_2026),
        ("2026-01-01T00:00:00+00:00", NEW_YEAR_2026),
        ("2026-01-01T00:00:00-00:00", NEW_YEAR_2026),
        ("2026-01-01T05:30:00+05:30", NEW_YEAR_2026),
        ("2025-12-31T19:00:00-05:00", NEW_YEAR_2026),
        ("2026-01-01T23:59:00+23:59", NEW_YEAR_2026),
        ("2026-01-01T00:00:00.5Z", NEW_YEAR_2026 + 500_000),
        ("2026-01-01T00:00:00.000001Z", NEW_YEAR_2026 + 1),
        ("2026-01-01T00:00:00.123456789Z", NEW_YEAR_2026 + 123_456),
        ("2026-01-01T00:00:00.9999999999999999Z", NEW_YEAR_2026 + 999_999),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000_000),
        ("2024-02-29T00:00:00Z", 1_709_164_800_000_000),
        ("2000-02-29T00:00:00Z", 951_782_400_000_000),
        ("0001-01-01T00:00:00Z", MIN_MICROS),
        ("9999-12-31T23:59:59.999999Z", MAX_MICROS),
        ("0001-01-01T01:00:00+01:00", MIN_MICROS),
    ],
)
def test_what_rfc_3339_allows_is_read(text, expected):
    """Every form of section 5.6 is read; digits below a microsecond are cut, never rounded."""
    assert parse_rfc3339(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-01-01",
        "2026-01-01T00:00:00",  # no offset
        "2026-01-01 00:00:00Z",  # a space
        "2026-01-01T00:00Z",  # no seconds
        "20260101T000000Z",
        "2026-W01-1T00:00:00Z",
        "2026-001T00:00:00Z",
        "2026-1-1T00:00:00Z",
        "26-01-01T00:00:00Z",
        "+2026-01-01T00:00:00Z",
        "12026-01-01T00:00:00Z",
        "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00,5Z",
        "2026-01-01T00:00:00+0530",
        "2026-01-01T00:00:00+5:30",
        "2026-01-01T00:00:00+05",
        "2026-01-01T00:00:00+24:00",
        "2026-01-01T00:00:00+05:60",
        "2026-01-01T24:00:00Z",
        "2026-01-01T23:60:00Z",
        "2026-01-01T23:59:61Z",
        "2026-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:60Z",
        "9999-12-31T23:59:59-00:01",
        " 2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00Z\n",
        "2026-01-01T00:00:00UTC",
        "\uff12\uff10\uff12\uff16-01-01T00:00:00Z",  # digits, yet not ASCII
        "now",
    ],
)
def test_what_rfc_3339_does_not_allow_is_refused(text):
    """Neighbouring grammars (ISO 8601's week dates, basic form) and impossible days are refused."""
    with pytest.raises(ValueError):
        parse_rfc3339(text)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-01-01T00:00:00.", "+24:00"),
        ("0001-01-01T00:00:00.", "+00:01"),
        ("9999-12-31T23:59:59.", "-00:01"),
        ("2026-01-01T00:00:00.", "UTC"),
        ("2026-02-29T00:00:00.", "Z"),
    ],
)
def test_a_refusal_quotes_no_more_than_its_start(start, end):
    """A value of a million digits is not repeated in the error that it causes."""
    with pytest.raises(ValueError) as refused:
        parse_rfc3339(start + "1" * 1_000_000 + end)
    assert len(str(refused.value)) < 200


@given(micros)
def test_every_microsecond_of_bigquerys_range_comes_back(value):
    """parse(format(x)) is x for the two ways in which a time is written."""
    assert parse_rfc3339(format_micros(value)) == value
    seconds, rest = divmod(value, 1_000_000)
    assert parse_rfc3339(format_rfc3339(seconds, rest * 1_000)) == value


@given(micros, st.integers(0, 6))
def test_a_plain_time_is_read_as_any_other(value, digits):
    """The short way for what nearly all senders write, and the long one, give the same."""
    text = format_micros(value)[: 20 + digits].rstrip(".")
    cut = value - value % 10 ** (6 - digits)
    assert parse_rfc3339(f"{text}Z") == parse_rfc3339(f"{text}+00:00") == cut


@pytest.mark.parametrize(
    "text", ["2026-02-30T00:00:00", "0000-01-01T00:00:00", "2026-13-01T00:00:00"]
)
def test_a_day_that_no_calendar_has_is_refused_in_both_ways(text):
    """With the same words."""
    said = []
    for zone in ("Z", "+00:00"):
        with pytest.raises(ValueError) as error:
            parse_rfc3339(text + zone)
        said.append(str(error.value))
    assert said[0] == said[1]


@given(micros, micros)
def test_times_of_fixed_width_sort_as_text(left, right):
    """`format_micros` orders as its numbers do, since a flat table's column is sorted as text."""
    assert (format_micros(left) < format_micros(right)) == (left < right)
    assert len(format_micros(left)) == 27


@given(
    st.integers(MIN_MICROS // 1_000_000 + 86_400, MAX_MICROS // 1_000_000 - 86_400),
    st.integers(-23 * 60 - 59, 23 * 60 + 59),
)
def test_an_offset_names_the_same_instant(seconds, offset):
    """A local time with its offset is the UTC time that it stands for."""
    local = format_rfc3339(seconds + offset * 60)[:-1]
    sign = "-" if offset < 0 else "+"
    text = f"{local}{sign}{abs(offset) // 60:02}:{abs(offset) % 60:02}"
    assert parse_rfc3339(text) == seconds * 1_000_000


@pytest.mark.parametrize(
    ("seconds", "nanos", "text"),
    [
        (0, 0, "1970-01-01T00:00:00Z"),
        (-1, 999_999_999, "1969-12-31T23:59:59.999999999Z"),
        (0, 1, "1970-01-01T00:00:00.000000001Z"),
        (0, 120_000_000, "1970-01-01T00:00:00.12Z"),
        (-62_135_596_800, 0, "0001-01-01T00:00:00Z"),
        (253_402_300_799, 999_999_999, "9999-12-31T23:59:59.999999999Z"),
    ],
)
def test_a_protobuf_time_is_written_exactly(seconds, nanos, text):
    """All nine decimals are kept, those that are zero at the end left out."""
    assert format_rfc3339(seconds, nanos) == text


@pytest.mark.parametrize(
    ("seconds", "nanos"),
    [
        (-62_135_596_801, 0),
        (253_402_300_800, 0),
        (2**62, 0),
        (-(2**63), 0),
        (0, -1),
        (0, 1_000_000_000),
    ],
)
def test_a_protobuf_time_out_of_range_is_refused(seconds, nanos):
    """A time that no RFC 3339 text can say is a ValueError, however far away it is."""
    with pytest.raises(ValueError):
        format_rfc3339(seconds, nanos)


def test_now_is_a_time_of_this_age():
    """`now_micros` counts microseconds, neither milliseconds nor nanoseconds."""
    assert NEW_YEAR_2026 - 10**14 < now_micros() < NEW_YEAR_2026 + 10**16
