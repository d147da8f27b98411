"""Firestore's values as exact Python values, there and back; the table is in `schemas.firestore`.

Types that Python has are its own; the others are the classes below. `from_value(to_value(x))` is
`x`, by type and sign. Reading takes whatever a sender wrote and tells it apart; writing refuses
what Firestore cannot hold (`data.proto` of google-events) or what would be read as something else.
The sizes and names that Firestore does not take are its own to refuse.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from schemas.event_data import MAX_LEVELS
from schemas.field_path import Segment, field_path
from schemas.firestore import InvalidValue, Value, is_vector
from schemas.times import format_rfc3339

Exact = Any
"""None, bool, int, float, str, bytes, list, dict with str keys, and the classes below."""

Path = tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class Timestamp:
    """A time, to the nanosecond; Firestore itself stores whole microseconds.

    Args:
        seconds: Since the Unix epoch, of the years 1 to 9999 in UTC; negative before 1970.
        nanos: 0 to 999,999,999, counted forwards before 1970 too.
    """

    seconds: int
    nanos: int = 0


@dataclass(frozen=True, slots=True)
class Reference:
    """A document of this or another database.

    Args:
        name: Full: `projects/P/databases/D/documents/...`.
    """

    name: str


@dataclass(frozen=True, slots=True)
class GeoPoint:
    """A place on Earth, in degrees.

    Args:
        latitude: -90 to 90.
        longitude: -180 to 180.
    """

    latitude: float
    longitude: float


@dataclass(frozen=True, slots=True)
class Vector:
    """A vector of doubles, which Firestore keeps as a map of `__type__` and `value`."""

    numbers: tuple[float, ...]


def to_value(x: Exact) -> Any:
    """An exact Python value as protobuf.

    Raises:
        InvalidValue: Firestore holds no such value; the text begins with the path inside `x`.
    """
    value = Value()
    _write(value, x, (), 1)
    return value


def from_value(value: Any) -> Exact:
    """A protobuf Value as an exact Python value.

    Raises:
        InvalidValue: A value without a known type, a time that is none, or too many levels; the
            text begins with the path inside the value.
    """
    return _read(value, (), 1)


def write_fields(target: Any, fields: Mapping[str, Exact]) -> None:
    """Puts a document's fields into a protobuf map, in place.

    Raises:
        InvalidValue: As for `to_value`.
    """
    _write_fields(target, fields, (), 1)


def read_fields(fields: Mapping[str, Any]) -> dict[str, Exact]:
    """A document's protobuf fields as exact Python values, in order of their names.

    Raises:
        InvalidValue: As for `from_value`.
    """
    return _read_fields(fields, (), 1)


def check_text(text: Any, where: str) -> None:
    """Refuses what UTF-8, and so protobuf, cannot carry.

    Raises:
        InvalidValue: It is no string, or holds half of a surrogate pair.
    """
    if type(text) is not str:
        raise InvalidValue(f"{where}: {_name(text)}, where a str is expected")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidValue(
            f"{where}: half of a surrogate pair at character {error.start}, which UTF-8 lacks"
        ) from error


def write_time(target: Any, time: Timestamp, where: str) -> None:
    """Puts a time into a protobuf Timestamp, in place.

    Raises:
        InvalidValue: It lies outside the years 1 to 9999, or its nanos outside a second.
    """
    if type(time) is not Timestamp or type(time.seconds) is not int or type(time.nanos) is not int:
        raise InvalidValue(f"{where}: {time!r:.200} is no Timestamp of two ints")
    _check_time(time, where)
    target.seconds, target.nanos = time.seconds, time.nanos


def read_time(stamp: Any, where: str) -> Timestamp:
    """A protobuf Timestamp.

    Raises:
        InvalidValue: As for `write_time`.
    """
    time = Timestamp(stamp.seconds, stamp.nanos)
    _check_time(time, where)
    return time


def _check_time(time: Timestamp, where: str) -> None:
    try:
        format_rfc3339(time.seconds, time.nanos)
    except (ValueError, OverflowError) as error:
        raise InvalidValue(f"{where}: {error}") from error


def _name(x: Any) -> str:
    kind = type(x)
    name = kind.__qualname__
    return f"a {name}" if kind.__module__ == "builtins" else f"a {kind.__module__}.{name}"


def _where(path: Path) -> str:
    return field_path(path) or "$"


def _deeper(path: Path, level: int) -> int:
    if level >= MAX_LEVELS:
        raise InvalidValue(
            f"{_where(path)[:200]}: nested more than {MAX_LEVELS} levels deep; Firestore holds 20"
        )
    return level + 1


# Writing


def _write(value: Any, x: Exact, path: Path, level: int) -> None:
    """Writes in place, from the outside in: a deep Value cannot be added to an array as a whole."""
    kind = type(x)
    if kind is dict:
        _check_is_no_vector(x, path)
        value.map_value.SetInParent()
        _write_fields(value.map_value.fields, x, path, _deeper(path, level))
    elif kind is list:
        value.array_value.SetInParent()
        level = _deeper(path, level)
        for i, item in enumerate(x):
            if type(item) is list:
                raise InvalidValue(
                    f"{_where((*path, i))}: an array directly in an array, which Firestore "
                    "refuses; put a map between them"
                )
            _write(value.array_value.values.add(), item, (*path, i), level)
    elif kind in _WRITERS:
        _WRITERS[kind](value, x, _where(path))
    elif kind is Vector:
        _deeper(path, _deeper(path, level))
        _write_vector(value, x, _where(path))
    else:
        raise InvalidValue(
            f"{_where(path)}: {_name(x)} is none of the types that are written: None, bool, int, "
            "float, str, bytes, list, dict, Timestamp, Reference, GeoPoint, Vector"
        )


def _write_fields(target: Any, fields: Mapping[str, Exact], path: Path, level: int) -> None:
    for name, x in fields.items():
        check_text(name, f"{_where(path)}: the key {name!r:.200}")
        _write(target[name], x, (*path, name), level)


def _check_is_no_vector(x: dict[str, Exact], path: Path) -> None:
    if x.keys() == {"__type__", "value"} and x["__type__"] == "__vector__":
        numbers = x["value"]
        if type(numbers) is list and all(type(number) is float for number in numbers):
            raise InvalidValue(
                f"{_where(path)}: a map that would be read as a vector; write "
                "Vector((...)), since Firestore reserves the key `__type__`"
            )


def _plain(field: str) -> Callable[[Any, Any, str], None]:
    return lambda value, x, _: setattr(value, field, x)


def _write_int(value: Any, x: int, where: str) -> None:
    if not -(2**63) <= x < 2**63:
        shown = x if x.bit_length() <= 128 else f"of {x.bit_length()} bits"
        raise InvalidValue(
            f"{where}: the integer {shown} is beyond 64 bits; Firestore could hold it as a string, "
            "or rounded, as a double"
        )
    value.integer_value = x


def _write_str(value: Any, x: str, where: str) -> None:
    check_text(x, where)
    value.string_value = x


def _write_timestamp(value: Any, x: Timestamp, where: str) -> None:
    write_time(value.timestamp_value, x, where)


def _write_reference(value: Any, x: Reference, where: str) -> None:
    check_text(x.name, f"{where}: a reference's name")
    value.reference_value = x.name


def _write_geo_point(value: Any, x: GeoPoint, where: str) -> None:
    for name, degrees, most in (("latitude", x.latitude, 90), ("longitude", x.longitude, 180)):
        if type(degrees) is not float or not -most <= degrees <= most:
            raise InvalidValue(
                f"{where}: the {name} {degrees!r:.100} is no float from -{most} to {most}"
            )
    value.geo_point_value.latitude, value.geo_point_value.longitude = x.latitude, x.longitude


def _write_vector(value: Any, x: Vector, where: str) -> None:
    if type(x.numbers) is not tuple or any(type(number) is not float for number in x.numbers):
        raise InvalidValue(f"{where}: a vector's numbers are a tuple of floats, nothing else")
    fields = value.map_value.fields
    fields["__type__"].string_value = "__vector__"
    array = fields["value"].array_value
    array.SetInParent()
    for number in x.numbers:
        array.values.add().double_value = number


_WRITERS: dict[type, Callable[[Any, Any, str], None]] = {
    type(None): lambda value, _, __: setattr(value, "null_value", 0),
    bool: _plain("boolean_value"),
    int: _write_int,
    float: _plain("double_value"),
    str: _write_str,
    bytes: _plain("bytes_value"),
    Timestamp: _write_timestamp,
    Reference: _write_reference,
    GeoPoint: _write_geo_point,
}


# Reading


def _read(value: Any, path: Path, level: int) -> Exact:
    kind = value.WhichOneof("value_type")
    if kind == "map_value":
        return _read_map(value.map_value.fields, path, _deeper(path, level))
    if kind == "array_value":
        level = _deeper(path, level)
        found = []
        for i, item in enumerate(value.array_value.values):
            found.append(_read(item, (*path, i), level))
        return found
    return _read_leaf(value, kind, path)


def _read_leaf(value: Any, kind: str | None, path: Path) -> Exact:
    if kind is None:
        raise InvalidValue(f"{_where(path)}: a value without a type that this version knows")
    if kind == "null_value":
        return None
    content = getattr(value, kind)
    if kind == "timestamp_value":
        return read_time(content, _where(path))
    if kind == "reference_value":
        return Reference(content)
    if kind == "geo_point_value":
        return GeoPoint(content.latitude, content.longitude)
    return content  # boolean, integer, double, string, bytes: Python's own


def _read_fields(fields: Mapping[str, Any], path: Path, level: int) -> dict[str, Exact]:
    found = {}
    for name in sorted(fields):
        found[name] = _read(fields[name], (*path, name), level)
    return found


def _read_map(fields: Mapping[str, Any], path: Path, level: int) -> Exact:
    if is_vector(fields):
        values = fields["value"].array_value.values
        if all(item.WhichOneof("value_type") == "double_value" for item in values):
            _deeper(path, level)
            return Vector(tuple(item.double_value for item in values))
    return _read_fields(fields, path, level)
