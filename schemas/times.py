"""RFC 3339 times, exactly: what CloudEvents, Firestore and BigQuery's TIMESTAMP share.

`datetime.fromisoformat` is no judge of RFC 3339 (it takes week dates, missing offsets and
bare dates), and `datetime` stops at microseconds, so the grammar is written out here.
"""

import re
import time
from datetime import date

# BigQuery: TIMESTAMP ranges from 0001-01-01 00:00:00 to 9999-12-31 23:59:59.999999 UTC
# (Google's page "Data types"); microseconds since the Unix epoch.
MIN_MICROS = -62_135_596_800_000_000
MAX_MICROS = 253_402_300_799_999_999

_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:([Zz])|([+-])(\d\d):(\d\d))",
    re.ASCII,
)
_EPOCH_DAY = date(1970, 1, 1).toordinal()


def now_micros() -> int:
    """Now, in microseconds since the Unix epoch."""
    return time.time_ns() // 1_000


def parse_rfc3339(text: str) -> int:
    """Reads an RFC 3339 time as microseconds since the Unix epoch; finer digits are cut off.

    A leap second (`:60`) counts as the first instant of the next minute, as Unix time has it.

    Raises:
        ValueError: The text is no RFC 3339 time, or lies outside the years 1 to 9999 in UTC.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:64]!r} is not an RFC 3339 time such as 2026-01-31T12:00:00Z")
    year, month, day_, hour, minute, second = (int(match[i]) for i in range(1, 7))
    if hour > 23 or minute > 59 or second > 60:
        raise ValueError(f"{text!r} is not a time of day")
    days = date(year, month, day_).toordinal() - _EPOCH_DAY  # raises ValueError for 02-30
    seconds = days * 86_400 + hour * 3_600 + minute * 60 + second
    if match[9]:
        offset_hour, offset_minute = int(match[10]), int(match[11])
        if offset_hour > 23 or offset_minute > 59:
            raise ValueError(f"{text!r} has an impossible offset")
        offset = offset_hour * 3_600 + offset_minute * 60
        seconds += -offset if match[9] == "+" else offset
    micros = seconds * 1_000_000 + int((match[7] or "")[:6].ljust(6, "0"))
    if not MIN_MICROS <= micros <= MAX_MICROS:
        raise ValueError(f"{text!r} lies outside the years 1 to 9999 in UTC")
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
    days, rest = divmod(seconds, 86_400)
    day = date.fromordinal(_EPOCH_DAY + days)
    text = (
        f"{day.year:04}-{day.month:02}-{day.day:02}"
        f"T{rest // 3_600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    )
    return f"{text}.{nanos:09}".rstrip("0") + "Z" if nanos else f"{text}Z"


def format_micros(micros: int) -> str:
    """Writes microseconds since the epoch with six decimals always, so that it sorts as text."""
    seconds, rest = divmod(micros, 1_000_000)
    return f"{format_rfc3339(seconds)[:-1]}.{rest:06}Z"
