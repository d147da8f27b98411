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

from local.account import Arrived
from local.sample import Expected


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


def differing(
    expected: Iterable[Expected], rows: Iterable[tuple[Arrived, Any, Any]]
) -> list[Expected]:
    """Those of which no row has the fields in its payload and those before in its old payload.

    A side that is not there must be NULL: the payload of a deletion, the old one of a creation.

    Args:
        expected: Those that are not `compared` (dead letters) are passed over.
        rows: Each with its payload and old payload, read as JSON.
    """
    there = list(rows)
    return [
        each
        for each in expected
        if each.compared
        and not any(
            row.answers(each)
            and same(as_json(each.fields), payload)
            and same(as_json(each.old_fields), old_payload)
            for row, payload, old_payload in there
        )
    ]


def _rfc3339(value: datetime) -> str:
    """UTC, with the decimals that are not zero; `nanosecond` where the client has it."""
    nanos = getattr(value, "nanosecond", None) or value.microsecond * 1_000
    at = value.astimezone(UTC)
    text = f"{at.year:04}-{at.month:02}-{at.day:02}T{at.hour:02}:{at.minute:02}:{at.second:02}"
    return text + (f".{nanos:09}".rstrip("0") if nanos else "") + "Z"


_UNBOUNDED = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
