"""RFC 3339 times, exactly: what CloudEvents, Firestore and BigQuery's TIMESTAMP share.

`datetime.fromisoformat` is no judge of RFC 3339 (it takes week dates, missing offsets and
bare dates), and `datetime` stops at microseconds, so the grammar is written out here.
"""

import re
import time
from datetime import datetime, timedelta
from functools import lru_cache

# BigQuery: TIMESTAMP ranges from 0001-01-01 00:00:00 to 9999-12-31 23:59:59.999999 UTC
# (Google's page "Data types"); microseconds since the Unix epoch.
MIN_MICROS = -62_135_596_800_000_000
MAX_MICROS = 253_402_300_799_999_999

_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d[Tt](?:[01]\d|2[0-3]):[0-5]\d):([0-5]\d|60)"
    r"(?:\.(\d+))?(?:([Zz])|([+-])(\d\d):(\d\d))",
    re.ASCII,
)
# What nearly every sender writes, and `datetime` reads exactly, but for digits below 1 us.
_PLAIN = re.compile(r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?Z", re.ASCII)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - UTC throughout; naive is faster
_SECOND = timedelta(seconds=1)


def now_micros() -> int:
    """Now, in microseconds since the Unix epoch."""
    return time.time_ns() // 1_000


def parse_rfc3339(text: str) -> int:
    """Reads an RFC 3339 time as microseconds since the Unix epoch; finer digits are cut off.

    A leap second (`:60`) counts as the first instant of the next minute, as Unix time has it.

    Raises:
        ValueError: The text is no RFC 3339 time, or lies outside the years 1 to 9999 in UTC.
    """
    if _PLAIN.fullmatch(text):  # in half the time of what follows
        since = datetime.fromisoformat(text[:-1]) - _EPOCH
        return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:64]!r} is not an RFC 3339 time such as 2026-01-31T12:00:00Z")
    stamp, second, fraction, sign = match[1], match[2], match[3], match[5]
    # `fromisoformat` does the calendar; 24:00 and :60 are this module's own to judge.
    leap = second == "60"
    day = datetime.fromisoformat(f"{stamp.upper()}:{'59' if leap else second}")
    seconds = (day - _EPOCH) // _SECOND + leap
    if sign:
        offset_hour, offset_minute = int(match[6]), int(match[7])
        if offset_hour > 23 or offset_minute > 59:
            raise ValueError(f"{text[:64]!r} has an impossible offset")
        offset = offset_hour * 3_600 + offset_minute * 60
        seconds += -offset if sign == "+" else offset
    micros = seconds * 1_000_000 + (int(fraction[:6].ljust(6, "0")) if fraction else 0)
    if not MIN_MICROS <= micros <= MAX_MICROS:
        raise ValueError(f"{text[:64]!r} lies outside the years 1 to 9999 in UTC")
    return micros


def format_rfc3339(seconds: int, nanos: int = 0) -> str:
    """Writes a protobuf Timestamp (seconds since the epoch, 0..999999999 nanos) in UTC.

    The fraction has as few digits as keep it exact: none, or one to nine.

    Raises:
        ValueError: The time lies outside the years 1 to 9999, or nanos outside a second.
    """
    if not 0 <= nanos < 1_000_000_000:
        raise ValueError(f"{nanos} nanos are not within a second")
    if not MIN_MICROS <= seconds * 1_000_000 <= MAX_MICROS:
        raise ValueError(f"{seconds} seconds since 1970 lie outside the years 1 to 9999")
    text = (_EPOCH + timedelta(seconds=seconds)).isoformat()
    return f"{text}.{nanos:09}".rstrip("0") + "Z" if nanos else f"{text}Z"


def format_micros(micros: int) -> str:
    """Writes microseconds since the epoch with six decimals always, so that it sorts as text."""
    seconds, rest = divmod(micros, 1_000_000)
    return f"{_whole(seconds)}.{rest:06}Z"


@lru_cache(maxsize=16)
def _whole(seconds: int) -> str:
    """Without fraction and zone; kept, since what happens at a time has the same second."""
    return format_rfc3339(seconds)[:-1]
