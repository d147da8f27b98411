"""DocumentEventData in both of its forms, protobuf and JSON, to a depth that both of them keep.

Firestore itself takes 20 levels (https://cloud.google.com/firestore/quotas, "Maximum depth of
fields in a map or array"). Protobuf's own parsers end at 100 messages inside each other, of which
a map is three: 32 levels of maps as protobuf, 48 as JSON. Here both go to `MAX_LEVELS`, so that
whatever sender an event has, it is kept. What is deeper is refused.
"""

import functools
from collections.abc import Iterator
from typing import Any

import google.events.cloud.firestore_v1 as firestore_events
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.message import DecodeError

from schemas.field_path import Segment, field_path

DocumentEventData: Any = firestore_events.DocumentEventData.pb()

MAX_LEVELS = 250
"""The document's fields are the first level. The codec takes two of Python's frames a level, and
Python has a thousand; BigQuery's JSON goes to 500."""

_SIDES = ("value", "old_value")
_JSON_SIDES = ("value", "oldValue", "old_value")
_MAP_KEYS, _ARRAY_KEYS = ("mapValue", "map_value"), ("arrayValue", "array_value")
_SHALLOW = "schemas.shallow"


class TooDeep(ValueError):
    """The event has more levels than are kept."""

    def __init__(self) -> None:
        super().__init__(f"nested more than {MAX_LEVELS} levels deep")


def read_protobuf(data: bytes) -> Any:
    """Parses a protobuf DocumentEventData.

    One that is deeper than protobuf's parser goes is read level by level, and then taken only if
    its bytes are as long as those that protobuf writes for what was read: a part that stands
    twice, which the parser would merge, or that is not known must not be lost.

    Raises:
        DecodeError: The bytes are no whole one.
        TooDeep: More than `MAX_LEVELS`.
    """
    try:
        return DocumentEventData.FromString(data)
    except DecodeError:
        event = _read_deep(data)
        if event is None:
            raise
        return event


def _read_deep(data: bytes) -> Any:
    try:
        event = _by_levels(data)
    except DecodeError:
        return None
    return event if event.ByteSize() == len(data) else None


def _by_levels(data: bytes) -> Any:
    event_type, map_type, array_type = _shallow_types()
    shallow = event_type.FromString(data)
    rest = event_type.FromString(data)
    for side in _SIDES:
        if rest.HasField(side):
            getattr(rest, side).ClearField("fields")
    event = DocumentEventData.FromString(rest.SerializeToString())
    stack = [
        (getattr(event, side).fields, getattr(shallow, side).fields, 1)
        for side in _SIDES
        if shallow.HasField(side)
    ]
    while stack:
        target, source, level = stack.pop()
        if level > MAX_LEVELS:
            raise TooDeep
        for value, read in _paired(target, source):
            kind = read.WhichOneof("value_type")
            if kind == "map_value":
                value.map_value.SetInParent()
                fields = map_type.FromString(read.map_value).fields
                stack.append((value.map_value.fields, fields, level + 1))
            elif kind == "array_value":
                value.array_value.SetInParent()
                values = array_type.FromString(read.array_value).values
                stack.append((value.array_value.values, values, level + 1))
            else:
                value.ParseFromString(read.SerializeToString())
    return event


def _paired(target: Any, source: Any) -> Iterator[tuple[Any, Any]]:
    """The values of a map or an array, each with the one to fill, which is made.

    Filled in place from the outside in: adding a deep message to an array would parse it.
    """
    if hasattr(source, "keys"):
        for name in source:
            yield target[name], source[name]
    else:
        for value in source:
            yield target.add(), value


@functools.cache
def _shallow_types() -> tuple[Any, Any, Any]:
    """The event's own types, in which a map's and an array's contents are bytes, not yet parsed."""
    file = descriptor_pb2.FileDescriptorProto()
    DocumentEventData.DESCRIPTOR.file.CopyToProto(file)
    package, file.name, file.package = file.package, "schemas/shallow.proto", _SHALLOW
    for message in file.message_type:
        for field in [*message.field, *(f for each in message.nested_type for f in each.field)]:
            if message.name == "Value" and field.name in ("map_value", "array_value"):
                field.type = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
                field.ClearField("type_name")
            elif field.type_name:
                field.type_name = field.type_name.replace(f".{package}.", f".{_SHALLOW}.")
    pool = descriptor_pool.Default()
    pool.Add(file)
    event, map_, array = (
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_SHALLOW}.{name}"))
        for name in ("DocumentEventData", "MapValue", "ArrayValue")
    )
    return event, map_, array


def read_json(document: dict[str, Any]) -> Any:
    """Reads protobuf's JSON of a DocumentEventData, as `json.loads` gives it.

    Raises:
        json_format.ParseError, ValueError: It is none; the text begins with the path of the value.
        TooDeep: More than `MAX_LEVELS`.
    """
    _check_spelled_once(document, DocumentEventData.DESCRIPTOR)
    rest = dict(document)
    stack: list[tuple[Any, Any, tuple[Segment, ...], int]] = []
    for side in _JSON_SIDES:
        fields = document[side].get("fields") if isinstance(document.get(side), dict) else None
        if isinstance(fields, dict):
            rest[side] = {name: each for name, each in document[side].items() if name != "fields"}
    event = json_format.ParseDict(rest, DocumentEventData())
    for side in _JSON_SIDES:
        if side in rest and rest[side] is not document[side]:
            target = event.value if side == "value" else event.old_value
            target.SetInParent()
            stack.append((target.fields, document[side]["fields"], (), 1))
    while stack:
        target, source, path, level = stack.pop()
        if level > MAX_LEVELS:
            raise TooDeep
        pairs = source.items() if isinstance(source, dict) else enumerate(source)
        for segment, written in pairs:
            here = (*path, segment)
            value = target[segment] if isinstance(source, dict) else target.add()
            if (fields := _content(written, _MAP_KEYS, "fields", dict)) is not None:
                value.map_value.SetInParent()
                stack.append((value.map_value.fields, fields, here, level + 1))
            elif (values := _content(written, _ARRAY_KEYS, "values", list)) is not None:
                value.array_value.SetInParent()
                stack.append((value.array_value.values, values, here, level + 1))
            else:
                _read_leaf(value, written, here)
    return event


def _check_spelled_once(written: Any, descriptor: Any) -> None:
    """Refuses `oldValue` beside `old_value`, which protobuf's reader would merge, in any part."""
    if not isinstance(written, dict):
        return
    for field in descriptor.fields:
        if field.name in written and field.json_name in written and field.name != field.json_name:
            raise json_format.ParseError(f"{field.json_name} and {field.name} are the same field")
        if field.message_type in _PARTS:
            for name in {field.name, field.json_name}:
                _check_spelled_once(written.get(name), field.message_type)


_PARTS = tuple(
    DocumentEventData.DESCRIPTOR.file.message_types_by_name[name]
    for name in ("Document", "DocumentMask")
)


def _content(written: Any, keys: tuple[str, str], member: str, kind: type) -> Any:
    """What a map's or an array's JSON holds; None for all else, which protobuf is to judge."""
    if not isinstance(written, dict) or len(written) != 1:
        return None
    key = next(iter(written))
    inner = written[key]
    if key not in keys or not isinstance(inner, dict) or inner.keys() - {member}:
        return None
    content = inner.get(member, kind())
    return content if isinstance(content, kind) else None


def _read_leaf(value: Any, written: Any, path: tuple[Segment, ...]) -> None:
    if not isinstance(written, dict):
        raise json_format.ParseError(
            f"{field_path(path)}: a value is an object of its type and content, such as "
            f'{{"stringValue": "x"}}, not {str(written)[:80]!r}'
        )
    try:
        json_format.ParseDict(written, value)
    except json_format.ParseError as error:
        raise json_format.ParseError(f"{field_path(path)}: {error}") from error


def write_json(event: Any) -> dict[str, Any]:
    """Protobuf's JSON of a DocumentEventData, for `json.dumps`; fields in order of their names."""
    rest = DocumentEventData()
    rest.CopyFrom(event)
    for side in _SIDES:
        if rest.HasField(side):
            getattr(rest, side).ClearField("fields")
    document: dict[str, Any] = json_format.MessageToDict(rest)
    stack: list[tuple[Any, Any]] = []
    for side, name in zip(_SIDES, _JSON_SIDES, strict=False):
        fields = getattr(event, side).fields
        if event.HasField(side) and fields:
            document[name]["fields"] = {}
            stack.append((document[name]["fields"], fields))
    while stack:
        target, source = stack.pop()
        is_map = isinstance(target, dict)
        for key in sorted(source) if is_map else range(len(source)):
            value = source[key]
            kind = value.WhichOneof("value_type")
            written: Any
            inner: Any
            if kind == "map_value" and value.map_value.fields:
                inner = {}
                written = {"mapValue": {"fields": inner}}
                stack.append((inner, value.map_value.fields))
            elif kind == "array_value" and value.array_value.values:
                inner = []
                written = {"arrayValue": {"values": inner}}
                stack.append((inner, value.array_value.values))
            else:
                written = json_format.MessageToDict(value)
            if is_map:
                target[key] = written
            else:
                target.append(written)
    return document
