r"""Firestore's values as JSON, and the bytes of a document event read as one.

| Firestore | JSON here | note |
|---|---|---|
| null | `null` | a value, not absence |
| boolean | `true`, `false` | |
| integer | number | all 64 bits |
| double | number | shortest text that reads back as the same double; `-0.0` keeps its sign |
| double NaN, infinities | `"NaN"`, `"Infinity"`, `"-Infinity"` | as protobuf's own JSON has them |
| timestamp | string | RFC 3339 in UTC, with as many of its nine decimals as are not zero |
| string | string | |
| bytes | string | standard base64, padded |
| reference | string | the full name, `projects/P/databases/D/documents/...` |
| geo point | object | `{"latitude": number, "longitude": number}` |
| array | array | |
| map | object | any key |
| vector | array of numbers | Firestore stores a map of `__type__: __vector__` and `value` |

The message types are those of google-events (`google/events/cloud/firestore/v1/data.proto`), used
as plain protobuf (upb): its proto-plus wrappers are a hundred times slower.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import google.events.cloud.firestore_v1 as firestore_events
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from schemas.times import format_rfc3339

DocumentEventData: Any = firestore_events.DocumentEventData.pb()
Value: Any = firestore_events.Value.pb()

Json = Any
"""What orjson writes: None, bool, int (64 bit), float (finite), str, list, dict with str keys."""

_BYTES_START = frozenset(b"\x0a\x12\x1a")  # the tags of value, old_value and update_mask
_SIMPLE_SEGMENT = re.compile(r"[A-Za-z_][A-Za-z_0-9]*", re.ASCII)
# protobuf's JSON takes both alphabets, padded or not.
_JSON_BYTES = re.compile(r"[A-Za-z0-9+/_-]*={0,2}", re.ASCII)
_FINITE_LIMIT = float("inf")

Segment = str | int
"""A step of a path: a field's name, or an element's index in an array."""


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
        event = DocumentEventData.FromString(data)
    except DecodeError as error:
        raise InvalidEventData(f"data is no whole protobuf DocumentEventData: {error}") from error
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
        return json_format.ParseDict(document, DocumentEventData())
    except (json_format.ParseError, ValueError, RecursionError) as error:
        raise InvalidEventData(f"data is no JSON DocumentEventData: {error}") from error


def _json_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuses what protobuf's own parser takes and half reads: keys twice, bytes of no base64."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"the key {repeated_key(pairs)[:200]!r} stands twice in one object")
    for key in ("bytesValue", "bytes_value"):
        text = found.get(key)  # a field of that name holds an object, never a string
        if isinstance(text, str) and (
            not _JSON_BYTES.fullmatch(text) or len(text.rstrip("=")) % 4 == 1
        ):
            raise ValueError(f"{key} {text[:80]!r} is not base64")
    return found


def repeated_key(pairs: list[tuple[str, Any]]) -> str:
    """The first key that comes a second time; in linear time, since input chooses the length."""
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            return name
        seen.add(name)
    raise ValueError("no key comes twice")


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
    # The hottest loop there is: upb's own iterator and index rather than `items()`, which is
    # Python's, and no call for strings, which most values are.
    found: dict[str, Json] = {}
    for name in fields:
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
    return "NaN" if number != number else "Infinity" if number > 0 else "-Infinity"  # noqa: PLR0124


def _timestamp(value: Any) -> str:
    stamp = value.timestamp_value
    return format_rfc3339(stamp.seconds, stamp.nanos)


def _geo_point(value: Any) -> Json:
    point = value.geo_point_value
    return {"latitude": point.latitude, "longitude": point.longitude}


def _array(value: Any) -> Json:
    return [_GETTERS[item.WhichOneof("value_type")](item) for item in value.array_value.values]


def _map(value: Any) -> Json:
    fields = value.map_value.fields
    if _is_vector(fields):
        return _array(fields["value"])
    return _object(fields)


def _is_vector(fields: Mapping[str, Any]) -> bool:
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


def changed_paths(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Leaf paths that differ between two documents' protobuf fields, sorted, Firestore-quoted.

    Maps are compared field by field; everything else, arrays and vectors too, as a whole.
    """
    return sorted(field_path(path) for path in _differences(old, new, ()))


def _differences(
    old: Mapping[str, Any], new: Mapping[str, Any], path: tuple[str, ...]
) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name in old.keys() | new.keys():
        here = (*path, name)
        if name not in old or name not in new:
            found.append(here)
            continue
        before, after = old[name], new[name]
        if before == after:
            continue
        if _is_plain_map(before) and _is_plain_map(after):
            found += _differences(before.map_value.fields, after.map_value.fields, here)
        # NaN is unequal to itself; its bytes are not.
        elif before.SerializeToString(deterministic=True) != after.SerializeToString(
            deterministic=True
        ):
            found.append(here)
    return found


def _is_plain_map(value: Any) -> bool:
    return value.HasField("map_value") and not _is_vector(value.map_value.fields)


def field_path(segments: Sequence[Segment]) -> str:
    r"""Joins segments as Firestore writes a field path: odd names in backticks, `\` escapes.

    An index stands in brackets, `labels[1]`: not Firestore's, whose paths end at an array.
    """
    text = ""
    for segment in segments:
        if isinstance(segment, int):
            text += f"[{segment}]"
            continue
        quoted = segment
        if not _SIMPLE_SEGMENT.fullmatch(segment):
            quoted = "`" + segment.replace("\\", "\\\\").replace("`", "\\`") + "`"
        text += ("." if text else "") + quoted
    return text


def parse_field_path(text: str) -> tuple[str, ...]:
    r"""Splits a field path in Firestore's quoting: `a.b`, `` a.`b.c` ``.

    Raises:
        ValueError: The text is no such path.
    """
    segments: list[str] = []
    rest = text
    while True:
        match = _QUOTED_OR_SIMPLE.match(rest)
        if match is None:
            raise ValueError(
                f"{text!r} is not a field path; write odd names in backticks, as in a.`b c`"
            )
        plain, quoted = match[1], match[2]
        segments.append(plain if plain is not None else re.sub(r"\\(.)", r"\1", quoted))
        rest = rest[match.end() :]
        if not rest:
            return tuple(segments)
        if rest[0] != "." or len(rest) == 1:
            raise ValueError(f"{text!r} is not a field path: unexpected {rest!r}")
        rest = rest[1:]


_QUOTED_OR_SIMPLE = re.compile(
    r"([A-Za-z_][A-Za-z_0-9]*)|`((?:[^`\\]|\\.)*)`", re.ASCII | re.DOTALL
)
