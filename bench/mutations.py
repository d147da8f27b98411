"""Mutations of an event for `bench.fuzz`: of its protobuf or its JSON, not of its bytes alone."""

import json
import random
from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError

from schemas.firestore import DocumentEventData, Value
from schemas.times import MAX_MICROS, MIN_MICROS

_NAMES = (
    "title", "s", "votes", "integer", "estimate", "double", "blocked", "true", "due_at",
    "timestamp", "bytes", "map", "b", "c", "a", "array", "text", "__type__", "value", "", "a.b",
    "`", "\\", "\u00e9", "[0]", "event_id",
)  # fmt: skip
_ROOT = "projects/p-1/databases/(default)/documents"
_DOCUMENTS = (
    f"{_ROOT}/issues/1",
    f"{_ROOT}/issues/1/comments/2",
    f"{_ROOT}/teams/{'x' * 1400}",
    f"{_ROOT}/a/b/reactions/\u2603",
    f"{_ROOT}/votes/1",
    f"{_ROOT}/boards/\u2603/votes/1",
    "projects/p-1/databases/other/documents/teams/1",
    "",
    "projects/p-1",
    f"{_ROOT}/issues",
)
_DEEPEST = 6


def mutate_event(data: bytes, chance: random.Random) -> bytes | None:
    """Changes a DocumentEventData or a JSON object in one to three places.

    Returns:
        The new bytes, the same for the same state of `chance`; None where they are neither.
    """
    text = data.lstrip(b" \t\r\n")
    if text[:1] == b"{":
        made = _mutate_json(text, chance)
        return None if made is None else data[: len(data) - len(text)] + made
    event = DocumentEventData()
    try:
        event.ParseFromString(data)
    except DecodeError:
        return None
    for _ in range(chance.randint(1, 3)):
        chance.choice(_CHANGES)(event, chance)
    serialized: bytes = event.SerializeToString(deterministic=True)
    return serialized


def _mutate_json(data: bytes, chance: random.Random) -> bytes | None:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    place: Any = document
    while isinstance(place, dict) and place:
        name = chance.choice([*place, *_NAMES])
        if isinstance(place.get(name), dict) and chance.random() < 0.7:
            place = place[name]
            continue
        place[name] = chance.choice(_JSON)(chance)
        break
    try:
        text = json.dumps(document, ensure_ascii=chance.random() < 0.5)
        return text.encode("utf-8", "surrogatepass")
    except RecursionError:
        return None


def _deep(chance: random.Random) -> Any:
    value: Any = None
    for _ in range(chance.choice((3, 100, 490, 510))):
        value = [value] if chance.random() < 0.5 else {"": value}
    return value


_JSON: tuple[Callable[[random.Random], Any], ...] = (
    lambda chance: chance.choice((None, True, False, "", "x", "NaN", "\ud800", "AA==", [], {})),
    lambda chance: chance.choice((0, -0.0, 1e308, 2**53 + 1, 2**64, 10**400, float("nan"))),
    lambda chance: [chance.choice((None, 1, "1", 0.5))] * chance.randrange(4),
    lambda chance: chance.choice(("2026-01-01T00:00:00Z", "0000-00-00T00:00:00Z", "\0")),
    _deep,
)


def _set_field(event: Any, chance: random.Random) -> None:
    side = chance.choice((event.value, event.old_value))
    fields = side.fields
    for _ in range(chance.randrange(4)):
        names = [name for name in fields if fields[name].HasField("map_value")]
        if not names:
            break
        fields = fields[chance.choice(names)].map_value.fields
    names = [*fields, *_NAMES]
    fields[chance.choice(names)].CopyFrom(_value(chance, 0))


def _copy_side(event: Any, chance: random.Random) -> None:
    event.old_value.CopyFrom(event.value)
    _set_field(event, chance)


def _clear(event: Any, chance: random.Random) -> None:
    event.ClearField(chance.choice(("value", "old_value", "update_mask")))


def _rename(event: Any, chance: random.Random) -> None:
    chance.choice((event.value, event.old_value)).name = chance.choice(_DOCUMENTS)


def _set_times(event: Any, chance: random.Random) -> None:
    side = chance.choice((event.value, event.old_value))
    stamp = chance.choice((side.create_time, side.update_time))
    stamp.seconds = chance.choice((0, -1, 1_800_000_000, MIN_MICROS // 10**6, MAX_MICROS // 10**6,
                                   2**63 - 1, -(2**63)))  # fmt: skip
    stamp.nanos = chance.choice((0, 1, 999_999_999, -1, 2**31 - 1))


def _set_mask(event: Any, chance: random.Random) -> None:
    event.update_mask.field_paths.append(chance.choice(_NAMES))


_CHANGES: tuple[Callable[[Any, random.Random], None], ...] = (
    _set_field, _set_field, _set_field, _copy_side, _clear, _rename, _set_times, _set_mask,
)  # fmt: skip


def _value(chance: random.Random, depth: int) -> Any:
    made = Value()
    # Containers twice: half of all documents are nested.
    makers = _SCALARS if depth == _DEEPEST else (*_SCALARS, *_CONTAINERS, *_CONTAINERS)
    chance.choice(makers)(made, chance, depth)
    return made


def _set_timestamp(made: Any, chance: random.Random, _: int) -> None:
    made.timestamp_value.seconds = chance.choice((0, -(10**9), 253_402_300_799, 10**18))
    made.timestamp_value.nanos = chance.choice((0, 1, 999_999_999, -5))


def _set_array(made: Any, chance: random.Random, depth: int) -> None:
    made.array_value.SetInParent()
    for _ in range(chance.randrange(4)):
        made.array_value.values.append(_value(chance, depth + 1))


def _set_map(made: Any, chance: random.Random, depth: int) -> None:
    made.map_value.SetInParent()
    for _ in range(chance.randrange(4)):
        made.map_value.fields[chance.choice(_NAMES)].CopyFrom(_value(chance, depth + 1))


def _setter(name: str, *choices: Any) -> Callable[[Any, random.Random, int], None]:
    return lambda made, chance, _: setattr(made, name, chance.choice(choices))


_SCALARS: tuple[Callable[[Any, random.Random, int], None], ...] = (
    _setter("null_value", 0),
    _setter("boolean_value", False, True),
    _setter("integer_value", 0, -1, 2**53 + 1, 2**63 - 1, -(2**63)),
    _setter("double_value", 0.0, -0.0, 1.0, 1e300, 5e-324, float("nan"), float("-inf")),
    _setter("string_value", "", "x", "NaN", "2026-01-01T00:00:00Z", "AA==", "\0\u2028"),
    _setter("bytes_value", b"", b"\0", bytes(range(256))),
    _setter("reference_value", *_DOCUMENTS),
    _set_timestamp,
    lambda made, chance, _: setattr(
        made.geo_point_value, "latitude", chance.choice((0.0, -90.0, float("nan"), 1e308))
    ),
)
_CONTAINERS = (_set_array, _set_map)
