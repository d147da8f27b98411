"""A document's fields as the JSON text that the Firebase extension writes for them.

| Firestore | JSON text |
|---|---|
| null | `null` |
| boolean | `true`, `false` |
| integer | all its digits (1) |
| double | as JavaScript prints it: `3` for 3.0, `0` for -0.0, `1e+21`, `1e-7` |
| double NaN, infinities | `null` |
| timestamp | `{"_seconds":1709168523,"_nanoseconds":123456000}` |
| string | string; only `"`, a backslash and what is below U+0020 are escaped |
| bytes | string of standard base64, padded (2) |
| reference | string: the path inside its database, `issues/1` |
| geo point | `{"_latitude":47.3769,"_longitude":8.5417}` |
| array | array |
| map | object |
| vector | `{"_values":[1,-0.5]}` |

Two rows differ from the extension, which loses what came: (1) it rounds integers beyond 2^53 to a
double, and (2) leaves bytes out, and with them elements that follow in an array. The rest is what
JavaScript's `JSON.stringify` makes of the classes of Firestore's Node client; `make judge` asks the
extension's own packages.

Keys stand as the extension has them: in the order of the event's bytes, those that JavaScript takes
for indexes of an array first, by number (ECMAScript, OrdinaryOwnPropertyKeys). An event that came
as JSON, one deeper than protobuf's own parser goes, one of more than a mebibyte that is mostly
repeats of keys, and one with fields that its type does not know have them in order of names; the
extension gets none of them.
"""

import base64
import functools
import json
import re
from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from schemas.event_data import DocumentEventData
from schemas.firestore import parse_event_data
from schemas.json_text import JsonNumber, unique_object
from schemas.message import CONTENT_TYPE, Message

Tree = Any
"""None, bool, int, float, str, JsonNumber, list, dict with str keys."""

_INDEX = re.compile(r"0|[1-9][0-9]{0,9}", re.ASCII)
_INDEXES = 2**32 - 1
_REFERENCE = re.compile(r"projects/[^/]*/databases/[^/]*/documents/(.+)", re.DOTALL)
_NOT_FINITE = frozenset(("inf", "-inf", "nan"))
_PROTOBUF_STARTS = (b"\x0a", b"\x12", b"\x1a")  # the tags of the event's three fields
_ORDERED = "schemas.ordered"
_LARGE = 2**20  # bytes of a document: https://cloud.google.com/firestore/quotas
_string = json.encoder.encode_basestring


def sides(message: Message) -> tuple[dict[str, Tree], dict[str, Tree]]:
    """The fields of an event's `value` and `old_value`, for `json_text`; {} for one that is absent.

    Args:
        message: Of a document event that `schemas.event` decoded.
    """
    content_type = message.attribute(CONTENT_TYPE)
    event = _in_order(message.data, content_type)
    if event is None:
        event = parse_event_data(message.data, content_type)
    return _side(event.value), _side(event.old_value)


def body(text: str | bytes) -> dict[str, Tree]:
    """A JSON object for `json_text`, its numbers by their literal text.

    Args:
        text: Of a JSON object without NaN and infinities.
    """
    found: dict[str, Tree] = json.loads(
        text, parse_int=JsonNumber, parse_float=JsonNumber, object_pairs_hook=unique_object
    )
    return found


def json_text(value: Tree) -> str:
    """Compact JSON text; takes one of Python's frames a level, of which there are a thousand."""
    kind = type(value)
    if kind is str:
        return _string(value)
    if kind is dict:
        members = []
        for name, each in value.items():
            members.append(f"{_string(name)}:{json_text(each)}")
        return f"{{{','.join(members)}}}"
    if kind is list:
        elements = []
        for each in value:
            elements.append(json_text(each))  # noqa: PERF401
        return f"[{','.join(elements)}]"
    if kind is float:
        return number_text(value)
    if value is None:
        return "null"
    if kind is bool:
        return "true" if value else "false"
    return str(value)  # an integer, or a number's literal text


def number_text(number: float) -> str:
    """A double as JavaScript's `JSON.stringify` has it (ECMAScript, Number::toString).

    Python's digits are the same, the shortest that read back; the places differ at which decimal
    notation gives way to an exponent: 1e-6 and 1e21 there, 1e-4 and 1e16 here.
    """
    text = repr(number)
    mantissa, _, exponent = text.partition("e")
    if not exponent:
        if text in _NOT_FINITE:
            return "null"
        return text.removesuffix(".0") if number else "0"
    sign = "-" if number < 0 else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    digits, point = whole + fraction, int(exponent) + 1
    if len(digits) <= point <= 21:
        return f"{sign}{digits}{'0' * (point - len(digits))}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    decimals = f".{fraction}" if fraction else ""
    return f"{sign}{whole}{decimals}e{point - 1:+d}"


def _side(document: Any) -> dict[str, Tree]:
    """What `schemas.event` takes for a side: one without a name is absent, whatever it holds."""
    return _object(document.fields) if document.name else {}


def _object(fields: Any) -> dict[str, Tree]:
    """A map's fields, from protobuf's map or from its entries in the order of the bytes.

    Of entries of one key only the last counts, at the place of the first; the others are not read,
    since protobuf's map, by which the event was judged, has not kept them.
    """
    found: dict[str, Any]
    if hasattr(fields, "keys"):
        found = {name: fields[name] for name in sorted(fields)}
    else:
        found = {entry.key: entry for entry in fields}
        for name, entry in found.items():
            found[name] = entry.value
    indexed = False
    for name, value in found.items():
        found[name] = _tree(value)
        indexed = indexed or name[:1].isdigit()
    return _indexes_first(found) if indexed else found


def _indexes_first(fields: dict[str, Tree]) -> dict[str, Tree]:
    indexes = [name for name in fields if _INDEX.fullmatch(name) and int(name) < _INDEXES]
    first = {name: fields[name] for name in sorted(indexes, key=int)}
    return first | fields


def _tree(value: Any) -> Tree:
    kind = value.WhichOneof("value_type")
    if kind == "map_value":
        fields = _object(value.map_value.fields)
        if len(fields) == 2 and fields.get("__type__") == "__vector__":
            numbers = fields.get("value")
            if type(numbers) is list:
                return {"_values": numbers}
        return fields
    if kind == "array_value":
        found = []
        for each in value.array_value.values:
            found.append(_tree(each))  # noqa: PERF401 - a comprehension is a frame of its own
        return found
    if kind == "null_value":
        return None
    content = getattr(value, kind)
    convert = _CONVERT.get(kind)
    return content if convert is None else convert(content)


def _reference(name: str) -> str:
    match = _REFERENCE.fullmatch(name)
    return match[1] if match else name


_CONVERT: Mapping[str, Any] = {
    "timestamp_value": lambda time: {"_seconds": time.seconds, "_nanoseconds": time.nanos},
    "bytes_value": lambda content: base64.b64encode(content).decode(),
    "reference_value": _reference,
    "geo_point_value": lambda at: {"_latitude": at.latitude, "_longitude": at.longitude},
}


def _in_order(data: bytes, content_type: str) -> Any:
    """The event with each map as its entries in order; None where only names can order them.

    A large event most of whose bytes are repeats of keys, which no Firestore sends, comes with its
    maps as protobuf's: nine megabytes hold 4,500,000 empty entries, each of them a call to read.
    """
    if "json" in content_type.lower() or data[:1] == b"{":  # as `parse_event_data` tells it
        return None
    if data[:1] not in _PROTOBUF_STARTS:
        data = base64.b64decode(data)
    try:
        if len(data) > _LARGE:
            event = DocumentEventData.FromString(data)
            if event.ByteSize() * 2 < len(data):
                return event
        event = _ordered_type().FromString(data)
    except DecodeError:
        return None  # deeper than protobuf's parser goes
    size = event.ByteSize()
    event.DiscardUnknownFields()
    # Protobuf takes no entry into a map in which there is a field that it does not know.
    return event if event.ByteSize() == size else None


@functools.cache
def _ordered_type() -> Any:
    """The event's type with its maps as what they are in the bytes: repeated entries, in order."""
    file = descriptor_pb2.FileDescriptorProto()
    DocumentEventData.DESCRIPTOR.file.CopyToProto(file)
    package, file.name, file.package = file.package, "schemas/ordered.proto", _ORDERED
    for message in file.message_type:
        for each in (message, *message.nested_type):
            each.options.ClearField("map_entry")
            for field in (field for field in each.field if field.type_name):
                field.type_name = field.type_name.replace(f".{package}.", f".{_ORDERED}.")
    pool = descriptor_pool.Default()
    pool.Add(file)
    type_ = pool.FindMessageTypeByName(f"{_ORDERED}.DocumentEventData")
    return message_factory.GetMessageClass(type_)
