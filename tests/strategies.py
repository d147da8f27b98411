"""Hypothesis strategies and builders that the tests of schemas and transforms share."""

import base64
import dataclasses
import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from schemas.document_change import Document, DocumentChange
from schemas.firestore import DocumentEventData, Value
from schemas.firestore_values import GeoPoint, Reference, Timestamp, Vector
from schemas.message import CE_ID, CE_SOURCE, CE_TIME, CE_TYPE, CONTENT_TYPE, MANUAL_TYPE, Message
from schemas.recorded import from_line
from schemas.table import Column, Type
from schemas.times import MAX_MICROS, MIN_MICROS, format_micros

DATA = Path(__file__).parent / "data"
WRITTEN = "google.cloud.firestore.document.v1.written"
NAME = "projects/demo-project/databases/(default)/documents/issues/one"
NOW = 1_800_000_000_000_000  # 2027-01-15T08:00:00Z, in microseconds since the Unix epoch


def recorded_messages() -> list[Message]:
    """The CloudEvents that the Firestore emulator sent, as the publisher put them on the topic."""
    lines = (DATA / "firestore_events.jsonl").read_text("utf-8").split("\n")
    return [from_line(line) for line in lines if line]


# Builders


def firestore_message(event: Any, type_: str = WRITTEN, **attributes: str) -> Message:
    """A message whose data are a DocumentEventData (or given bytes)."""
    data = event if isinstance(event, bytes) else event.SerializeToString(deterministic=True)
    return Message(data, {CE_ID: "1", CE_SOURCE: "//test", CE_TYPE: type_} | _named(attributes))


def manual_message(body: Any, now: int = NOW, **attributes: str) -> Message:
    """A manual issue; a body that is no bytes is written as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {
        CE_ID: "7",
        CE_SOURCE: "//test/manual",
        CE_TYPE: MANUAL_TYPE,
        CE_TIME: format_micros(now),
        CONTENT_TYPE: "application/json",
    }
    return Message(data, given | _named(attributes))


def _named(attributes: dict[str, str]) -> dict[str, str]:
    """Keyword arguments as attributes: `ce_time` and `content_type` are written with a hyphen."""
    return {
        name.replace("_", "-") if name.startswith(("ce_", "content_")) else name: value
        for name, value in attributes.items()
    }


def document_event(
    new: dict[str, Any] | None = None,
    old: dict[str, Any] | None = None,
    *,
    name: str = NAME,
    mask: tuple[str, ...] = (),
    updated: tuple[int, int] = (1_800_000_000, 123_456_000),
) -> Any:
    """A DocumentEventData; fields are keyword arguments of Value's, by name.

    A document without an old side was created when it was updated.
    """
    event = DocumentEventData()
    for side, fields in ((event.value, new), (event.old_value, old)):
        if fields is None:
            continue
        side.name = name
        for field, value in fields.items():
            side.fields[field].CopyFrom(value if isinstance(value, Value) else Value(**value))
        created = 1_700_000_000 if old is not None else updated[0]
        side.create_time.seconds = created
        side.create_time.nanos = 0 if old is not None else updated[1]
        side.update_time.seconds, side.update_time.nanos = updated
    event.update_mask.field_paths.extend(mask)
    return event


def is_same(left: Any, right: Any) -> bool:
    """Equality by which NaN is NaN, -0.0 is not 0.0, 1 is not 1.0 and True is not 1."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        if math.isnan(left):
            return math.isnan(right)
        return left == right and math.copysign(1, left) == math.copysign(1, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(is_same(left[k], right[k]) for k in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(is_same, left, right))
    if dataclasses.is_dataclass(left):
        names = [field.name for field in dataclasses.fields(left)]
        return all(is_same(getattr(left, name), getattr(right, name)) for name in names)
    return bool(left == right)


def json_model(exact: Any) -> Any:
    """The JSON of an exact value by the table of `schemas.firestore`, written apart from it."""
    if isinstance(exact, Vector):
        return [json_model(number) for number in exact.numbers]
    if isinstance(exact, list):
        return [json_model(item) for item in exact]
    if isinstance(exact, dict):
        return {name: json_model(item) for name, item in exact.items()}
    if isinstance(exact, GeoPoint):
        return {"latitude": exact.latitude, "longitude": exact.longitude}
    if isinstance(exact, Reference):
        return exact.name
    if isinstance(exact, bytes):
        return base64.b64encode(exact).decode()
    if isinstance(exact, Timestamp):
        second = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=exact.seconds)
        fraction = f"{exact.nanos / 10**9:.9f}"[1:].rstrip("0").rstrip(".")
        return second.replace(tzinfo=None).isoformat() + fraction + "Z"
    if isinstance(exact, float) and not math.isfinite(exact):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(exact)]
    return exact


# Strategies

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
"""Text that UTF-8 can carry."""

names = st.one_of(
    text.filter(bool), st.sampled_from(["a.b", "`", "\\", "[0]", "0", "a b", "é", "__type__"])
)
"""Field names: plain, and odd in every way that quoting has to do with."""

int64 = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([0, -1, 2**53 + 1, 2**63 - 1, -(2**63)]),
)
micros = st.one_of(
    st.integers(MIN_MICROS, MAX_MICROS), st.sampled_from([MIN_MICROS, -1, 0, MAX_MICROS])
)
"""BigQuery's whole range of TIMESTAMP."""

VALUES: dict[Type, st.SearchStrategy[Any]] = {
    Type.STRING: text,
    Type.INT64: int64,
    Type.FLOAT64: st.floats(),
    Type.BOOL: st.booleans(),
    Type.BYTES: st.binary(max_size=40),
    Type.TIMESTAMP: micros,
    Type.JSON: st.recursive(
        st.none() | st.booleans() | int64 | text,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
        max_leaves=5,
    ).map(lambda value: json.dumps(value, ensure_ascii=False)),
}
"""For each column type, what a row may hold in it."""


def row_values(columns: tuple[Column, ...]) -> st.SearchStrategy[dict[str, Any]]:
    """Rows of a table: each column with a value of its type, None, or a list."""
    return st.fixed_dictionaries(
        {
            column.name: st.lists(VALUES[column.type], max_size=4)
            if column.repeated
            else st.none() | VALUES[column.type]
            for column in columns
        }
    )


attributes = st.dictionaries(
    st.one_of(text, st.sampled_from(["event_id", "dedup_id", "goog-x", "Googclient", "ce-id"])),
    st.one_of(text, text.map(lambda t: t * 120)),
    max_size=12,
)
"""Attributes as a stranger may set them: empty, over-long and reserved ones among them."""

messages = st.builds(
    Message,
    data=st.binary(max_size=200),
    attributes=st.dictionaries(text, text, max_size=5),
    message_id=st.from_regex(r"[0-9]{0,18}", fullmatch=True),
    publish_time=st.integers(0, MAX_MICROS),
)

values: st.SearchStrategy[Any] = st.deferred(lambda: scalars | _arrays | _maps | vectors)
"""Firestore values as protobuf."""

scalars: st.SearchStrategy[Any] = st.one_of(
    st.just(Value(null_value=0)),
    st.booleans().map(lambda v: Value(boolean_value=v)),
    int64.map(lambda v: Value(integer_value=v)),
    st.floats().map(lambda v: Value(double_value=v)),
    text.map(lambda v: Value(string_value=v)),
    st.binary(max_size=30).map(lambda v: Value(bytes_value=v)),
    text.map(lambda v: Value(reference_value=f"{NAME}/{v}")),
    st.tuples(
        st.integers(MIN_MICROS // 1_000_000, MAX_MICROS // 1_000_000), st.integers(0, 999_999_999)
    ).map(lambda v: Value(timestamp_value={"seconds": v[0], "nanos": v[1]})),
    st.tuples(st.floats(-90, 90), st.floats(-180, 180)).map(
        lambda v: Value(geo_point_value={"latitude": v[0], "longitude": v[1]})
    ),
)
vectors: st.SearchStrategy[Any] = st.lists(
    st.floats(allow_nan=False, allow_infinity=False), max_size=4
).map(lambda numbers: vector(*numbers))


def vector(*numbers: float) -> Any:
    """A vector as Firestore sends it: a map of two entries."""
    made = Value()
    made.map_value.fields["__type__"].string_value = "__vector__"
    array = made.map_value.fields["value"].array_value
    array.SetInParent()
    array.values.extend(Value(double_value=number) for number in numbers)
    return made


def _array(items: list[Any]) -> Any:
    made = Value()
    made.array_value.SetInParent()
    made.array_value.values.extend(items)
    return made


def _map(items: dict[str, Any]) -> Any:
    made = Value()
    made.map_value.SetInParent()
    for name, item in items.items():
        made.map_value.fields[name].CopyFrom(item)
    return made


_arrays: st.SearchStrategy[Any] = st.deferred(lambda: st.lists(values, max_size=3).map(_array))
_maps: st.SearchStrategy[Any] = st.deferred(
    lambda: st.dictionaries(names, values, max_size=3).map(_map)
)
fields: st.SearchStrategy[dict[str, Any]] = st.dictionaries(names, values, max_size=4)
"""A document's fields: names to Firestore values as protobuf."""

# Firestore values as exact Python values (schemas.firestore_values)

times = st.builds(
    Timestamp,
    st.one_of(
        st.integers(MIN_MICROS // 1_000_000, MAX_MICROS // 1_000_000),
        st.sampled_from([MIN_MICROS // 1_000_000, -1, 0, MAX_MICROS // 1_000_000]),
    ),
    st.one_of(st.integers(0, 999_999_999), st.sampled_from([0, 1, 1_000, 999_999_999])),
)
"""Firestore's whole range of timestamps, to the nanosecond."""

exact_scalars: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    int64,
    st.floats(),
    st.sampled_from([0.0, -0.0, 3.0, math.nan, math.inf, -math.inf, 5e-324]),
    text,
    st.binary(max_size=30),
    times,
    text.map(lambda v: Reference(f"{NAME}/{v}")),
    st.builds(GeoPoint, st.floats(-90, 90), st.floats(-180, 180)),
    st.lists(st.floats(), max_size=4).map(lambda numbers: Vector(tuple(numbers))),
)

exact_values: st.SearchStrategy[Any] = st.deferred(
    lambda: exact_scalars | _exact_arrays | exact_fields
)
"""Everything that Firestore holds, at any depth."""

exact_fields: st.SearchStrategy[dict[str, Any]] = st.deferred(
    lambda: st.dictionaries(names, exact_values, max_size=4)
)
_exact_arrays: st.SearchStrategy[list[Any]] = st.deferred(
    lambda: st.lists(exact_scalars | exact_fields, max_size=4)
)


@st.composite
def changes(draw: st.DrawFn) -> DocumentChange:
    """Changes with a new side, an old one, or both, of one document."""
    name = draw(text.map(lambda v: f"{NAME}{v}"))
    side = st.builds(Document, st.just(name), exact_fields, st.none() | times, st.none() | times)
    new, old = draw(st.tuples(side, st.none()) | st.tuples(st.none(), side) | st.tuples(side, side))
    return DocumentChange(new, old, tuple(draw(st.lists(names, max_size=3))))
