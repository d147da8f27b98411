"""Whether a document reads back from BigQuery as it was written through Firestore's client.

The values are turned into JSON here from the client's Python types, by the table in
`schemas/firestore.py` and none of its code, so that the codec is judged by something else.
"""

import base64
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from google.cloud.firestore import DocumentReference, GeoPoint
from google.cloud.firestore_v1.vector import Vector

from local.expected import Expected
from local.rows import Found
from local.table_documents import CONFIDENTIAL
from schemas.raw import from_raw
from schemas.table import RAW


def as_json(value: Any) -> Any:
    """A value of Firestore's Python client, as the table has it in JSON.

    Raises:
        TypeError: A type that the client does not give.
    """
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else _UNBOUNDED[str(value)]
        case bytes():
            return base64.b64encode(value).decode()
        case datetime():
            return _rfc3339(value)
        case GeoPoint():
            return {"latitude": value.latitude, "longitude": value.longitude}
        case DocumentReference():
            return value._document_path  # noqa: SLF001  # the full name; `path` is the inner one
        case Vector():
            return list(value.to_map_value()["value"])
        case list() | tuple():
            return [as_json(item) for item in value]
        case Mapping():
            return {name: as_json(item) for name, item in value.items()}
    raise TypeError(f"{type(value).__name__} is no type of Firestore's")


def same(left: Any, right: Any) -> bool:
    """Whether two JSON values are equal; unlike `==`, true is not 1, and -0.0 is not 0.0."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[name], right[name]) for name in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, int | float) and isinstance(right, int | float):
        # An integer has no sign at zero: that of a double must not be lost for one.
        return left == right and math.copysign(1, left) == math.copysign(1, right)
    return type(left) is type(right) and bool(left == right)


def comparable(expected: Iterable[Expected], rows: Iterable[Found]) -> list[Expected]:
    """Those whose content can be compared: the tables that have it keep every value exactly."""
    inexact = {row.table.name for row in rows if not row.reading.exact}
    return [each for each in expected if each.compared and each.table not in inexact]


def differing(expected: Iterable[Expected], rows: Iterable[Found]) -> list[Expected]:
    """Those of which no row has the fields in its payload and those before in its old payload.

    A side that is not there must be NULL: the payload of a deletion, the old one of a creation.

    Args:
        expected: Those that are not `comparable` (dead letters) are passed over.
        rows: Whole, JSON columns read.
    """
    there = list(rows)
    return [
        each
        for each in comparable(expected, there)
        if not any(
            row.arrived.answers(each)
            and same(as_json(each.fields), row.new)
            and same(as_json(each.old_fields), row.old)
            for row in there
        )
    ]


def faults(expected: Iterable[Expected], rows: Iterable[Found]) -> list[str]:
    """What is wrong with rows beside the document's content, a sentence each.

    Parameters of the path that are not the ids in it; a dropped field that shows in
    any column, be it by its name in `changed_fields`; a `raw` column without the event's message.

    Args:
        expected: What must have arrived, without what tables drop.
        rows: Whole; one that nothing expected is judged by its `raw` alone.
    """
    wanted = list(expected)
    found = []
    for row in rows:
        answered = [each for each in wanted if row.arrived.answers(each)]
        for name, value in (answered[0].parameters or {}).items() if answered else ():
            if (has := row.parameter(name)) != value:
                found.append(f"{name} is {has!r}, not {value!r}: {row.arrived}")
        told = any(CONFIDENTIAL in f"{each.fields} {each.old_fields}" for each in answered)
        if answered and not told:
            found += [
                f"{name} shows a dropped field: {row.arrived}"
                for name, value in row.values.items()
                if CONFIDENTIAL in str(value)
            ]
        if row.table.raw and _event_in(row.values.get(RAW.name)) != row.arrived.event_id:
            found.append(f"{RAW.name} is not the event's message: {row.arrived}")
    return found


def _event_in(raw: bytes | None) -> str | None:
    """The event_id of the message in a `raw` column; None where there is none."""
    try:
        return from_raw(raw).event_id if raw else None
    except ValueError:
        return None


def _rfc3339(value: datetime) -> str:
    """UTC, with the decimals that are not zero; `nanosecond` where the client has it."""
    nanos = getattr(value, "nanosecond", None) or value.microsecond * 1_000
    at = value.astimezone(UTC)
    text = f"{at.year:04}-{at.month:02}-{at.day:02}T{at.hour:02}:{at.minute:02}:{at.second:02}"
    return text + (f".{nanos:09}".rstrip("0") if nanos else "") + "Z"


_UNBOUNDED = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
