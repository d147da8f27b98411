r"""Firestore's values as JSON, and the bytes of a document event read as one.

| Firestore | Python (`schemas.firestore_values`) | JSON in `payload` | note |
|---|---|---|---|
| null | `None` | `null` | a value, not absence |
| boolean | `bool` | `true`, `false` | |
| integer | `int` | number | all 64 bits |
| double | `float` | number | shortest text that reads back the same; `-0.0` keeps its sign |
| double NaN, infinities | `float` | `"NaN"`, `"Infinity"`, `"-Infinity"` | as in protobuf's JSON |
| timestamp | `Timestamp(seconds, nanos)` | string | RFC 3339 in UTC, nine decimals at most |
| string | `str` | string | |
| bytes | `bytes` | string | standard base64, padded |
| reference | `Reference(name)` | string | full name, `projects/P/databases/D/documents/...` |
| geo point | `GeoPoint(latitude, longitude)` | `{"latitude": number, "longitude": number}` | |
| array | `list` | array | |
| map | `dict` | object | any key |
| vector | `Vector(numbers)` | array of numbers | a map of `__type__: __vector__` and `value` |

Python is exact, there and back: `to_value` and `from_value` of `schemas.firestore_values`, and for
whole events `schemas.document_change`. JSON is what a table holds: there types that JSON lacks are
told by the reader. NaN and infinities in a geo point are the words that a double has. Protobuf and
its JSON are read to `schemas.event_data.MAX_LEVELS` levels.

The message types are those of google-events (`google/events/cloud/firestore/v1/data.proto`), used
as plain protobuf (upb): its proto-plus wrappers are a hundred times slower.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import google.events.cloud.firestore_v1 as firestore_events
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from schemas import event_data
from schemas.field_path import Segment, field_path
from schemas.json_text import unique_object
from schemas.times import format_rfc3339

DocumentEventData: Any = event_data.DocumentEventData
Value: Any = firestore_events.Value.pb()

Json = Any
"""What orjson writes: None, bool, int (64 bit), float (finite), str, list, dict with str keys."""

_BYTES_START = frozenset(b"\x0a\x12\x1a")  # the tags of value, old_value and update_mask
# protobuf's JSON takes both alphabets, padded or not.
_JSON_BYTES = re.compile(r"[A-Za-z0-9+/_-]*={0,2}", re.ASCII)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_FINITE_LIMIT = float("inf")


class InvalidEventData(Exception):
    """The bytes are no whole DocumentEventData."""


class InvalidValue(Exception):
    """A value of the event has no meaning here; the text begins with its path."""


def parse_event_data(data: bytes, content_type: str) -> Any:
    """Reads the bytes of an event as a DocumentEventData.

    Production Eventarc sends protobuf, the Firestore emulator the same in base64, and
    structured CloudEvents JSON. A protobuf of this type starts with one of three tag bytes,
    none of them in base64's alphabet, so that the content tells, not a header.

    Raises:
        InvalidEventData: Neither of the three, or with fields that the type does not know
            (another type's bytes, such as a Datastore entity event, may parse otherwise).
    """
    if not data:
        raise InvalidEventData("there are no data, so no DocumentEventData")
    if "json" in content_type.lower() or data[:1] == b"{":
        return _parse_json(data)
    if data[0] not in _BYTES_START:
        try:
            data = base64.b64decode(data, validate=True)
        except binascii.Error as error:
            raise InvalidEventData(
                f"data begins with byte 0x{data[0]:02x}: neither a protobuf DocumentEventData, "
                f"nor base64 of one ({error}), nor a JSON object"
            ) from error
    try:
        event = event_data.read_protobuf(data)
    except DecodeError as error:
        raise InvalidEventData(f"data is no whole protobuf DocumentEventData: {error}") from error
    except event_data.TooDeep as error:
        raise InvalidEventData(str(error)) from error
    for name in ("data", "value", "old_value", "update_mask"):
        part = event if name == "data" else getattr(event, name)
        if unknown := UnknownFieldSet(part):
            raise InvalidEventData(
                f"{name} has field number {unknown[0].field_number}, which no DocumentEventData has"
            )
    return event


def _parse_json(data: bytes) -> Any:
    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_json_object)
        if not isinstance(document, dict):
            raise InvalidEventData("data is JSON, yet no object, so no DocumentEventData")
        if _SURROGATE.search(data):
            # Half of a pair is a ValueError here; in a name upb would answer it by SystemError.
            json.dumps(document, ensure_ascii=False).encode()
        return event_data.read_json(document)
    except (json_format.ParseError, ValueError, RecursionError) as error:
        raise InvalidEventData(f"data is no JSON DocumentEventData: {error}") from error


def _json_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuses what protobuf's own parser takes and half reads: keys twice, bytes of no base64."""
    found = unique_object(pairs)
    for key in ("bytesValue", "bytes_value"):
        text = found.get(key)  # a field of that name holds an object, never a string
        if isinstance(text, str) and (
            not _JSON_BYTES.fullmatch(text) or len(text.rstrip("=")) % 4 == 1
        ):
            raise ValueError(f"{key} {text[:80]!r} is not base64")
    return found


def fields_to_json(fields: Mapping[str, Any]) -> dict[str, Json]:
    """A document's fields (or a map's) as a JSON object, by the table above.

    Raises:
        InvalidValue: A value of a kind that is not known here, or a time out of range.
    """
    try:
        return _object(fields)
    except (KeyError, ValueError, OverflowError) as error:
        raise InvalidValue(_explain(fields, ()) or str(error)) from error


def _object(fields: Mapping[str, Any]) -> dict[str, Json]:
    # In order, since protobuf's maps have none: the same event is the same text in each run.
    # The hottest loop there is: upb's own iterator and index rather than `items()`, which is
    # Python's, and no call for strings, which most values are.
    found: dict[str, Json] = {}
    for name in sorted(fields):
        value = fields[name]
        kind = value.WhichOneof("value_type")
        found[name] = value.string_value if kind == "string_value" else _GETTERS[kind](value)
    return found


def _explain(fields: Mapping[Any, Any], path: tuple[Segment, ...]) -> str:
    """Walks again, slowly, to say where the value stands that could not be read."""
    for name, value in fields.items():
        here = (*path, name)
        kind = value.WhichOneof("value_type")
        if kind == "map_value":
            found = _explain(value.map_value.fields, here)
        elif kind == "array_value":
            found = _explain(dict(enumerate(value.array_value.values)), here)
        elif kind is None:
            found = f"{field_path(here)}: a value without a type that this version knows"
        else:
            try:
                _GETTERS[kind](value)
                found = ""
            except (ValueError, OverflowError) as error:
                found = f"{field_path(here)}: {kind}: {error}"
        if found:
            return found
    return ""


def _double(value: Any) -> Json:
    number = value.double_value
    if -_FINITE_LIMIT < number < _FINITE_LIMIT:
        return number
    return _word(number)


def _word(number: float) -> str:
    return "NaN" if number != number else "Infinity" if number > 0 else "-Infinity"  # noqa: PLR0124


def _timestamp(value: Any) -> str:
    stamp = value.timestamp_value
    return format_rfc3339(stamp.seconds, stamp.nanos)


def _geo_point(value: Any) -> Json:
    point = value.geo_point_value
    latitude, longitude = point.latitude, point.longitude
    limit = _FINITE_LIMIT
    if -limit < latitude < limit and -limit < longitude < limit:
        return {"latitude": latitude, "longitude": longitude}
    # No place on Earth, yet protobuf carries it; orjson would write null.
    pair = (("latitude", latitude), ("longitude", longitude))
    return {name: each if abs(each) < limit else _word(each) for name, each in pair}


def _array(value: Any) -> Json:
    return [_GETTERS[item.WhichOneof("value_type")](item) for item in value.array_value.values]


def _map(value: Any) -> Json:
    fields = value.map_value.fields
    if is_vector(fields):
        return _array(fields["value"])
    return _object(fields)


def is_vector(fields: Mapping[str, Any]) -> bool:
    """Whether a map's fields are those by which Firestore stores a vector."""
    # Look before reaching: indexing a protobuf map of messages adds the missing key.
    return (
        len(fields) == 2
        and "__type__" in fields
        and "value" in fields
        and fields["__type__"].string_value == "__vector__"
        and fields["value"].HasField("array_value")
    )


_GETTERS: dict[str, Callable[[Any], Json]] = {
    "null_value": lambda value: None,  # noqa: ARG005
    "boolean_value": lambda value: value.boolean_value,
    "integer_value": lambda value: value.integer_value,
    "double_value": _double,
    "timestamp_value": _timestamp,
    "string_value": lambda value: value.string_value,
    "bytes_value": lambda value: base64.b64encode(value.bytes_value).decode(),
    "reference_value": lambda value: value.reference_value,
    "geo_point_value": _geo_point,
    "array_value": _array,
    "map_value": _map,
}
