"""Which fields of a document an event changed, by the paths of their leaves."""

from collections.abc import Iterable, Mapping
from typing import Any

from schemas.field_path import MAX_PATHS_TEXT, field_path, text_length
from schemas.firestore import InvalidValue, is_vector


class _Found:
    """The paths of the leaves so far, each once.

    Each repeats the names above it: 360 KB of event could make gigabytes of them.
    """

    __slots__ = ("paths", "room")

    def __init__(self) -> None:
        self.paths: set[tuple[str, ...]] = set()
        self.room = MAX_PATHS_TEXT

    def add(self, path: tuple[str, ...]) -> None:
        if path in self.paths:
            return
        self.paths.add(path)
        self.room -= text_length(path)
        if self.room < 0:
            raise InvalidValue(
                f"{field_path(path[:1])[:200]}: after {len(self.paths)} leaves that differ, the "
                f"paths that name them have more than {MAX_PATHS_TEXT} characters, which no row "
                "holds: shorten the names, or change fewer fields at once"
            )


def changed_paths(
    old: Mapping[str, Any], new: Mapping[str, Any], among: Iterable[str] | None = None
) -> list[str]:
    """Leaf paths that differ between two documents' protobuf fields, sorted, Firestore-quoted.

    Maps are compared field by field, and one that comes or goes counts by its leaves; everything
    else, arrays, vectors and empty maps too, is a leaf.

    Args:
        old: The fields of the document before.
        new: The fields of the document now.
        among: Names of the top-level fields that can differ, where that is known already.

    Raises:
        InvalidValue: The paths have more than `MAX_PATHS_TEXT` characters.
    """
    names = {*old, *new} if among is None else among
    found = _Found()
    for name in names:
        _differences(old.get(name), new.get(name), (name,), found)
    return sorted(map(field_path, found.paths))


def _differences(before: Any, after: Any, path: tuple[str, ...], found: _Found) -> None:
    """Adds the paths of the leaves by which two values differ, each None where there is none."""
    # As exact as the bytes: upb tells -0.0 from 0.0, and a NaN is equal to itself.
    if before == after:
        return
    old, new = _map_fields(before), _map_fields(after)
    if old is not None and new is not None:
        for name in {*old, *new}:
            _differences(old.get(name), new.get(name), (*path, name), found)
        return
    for value, fields in ((before, old), (after, new)):
        if value is not None:
            _leaves(fields, path, found)


def _leaves(fields: Any, path: tuple[str, ...], found: _Found) -> None:
    """Adds the paths of a value's leaves; itself, unless these are the fields of its map."""
    if not fields:
        found.add(path)
        return
    for name in fields:
        _leaves(_map_fields(fields[name]), (*path, name), found)


def _map_fields(value: Any) -> Any:
    """The fields of a value that is a map and no vector, else None."""
    if value is None or not value.HasField("map_value"):
        return None
    fields = value.map_value.fields
    return None if is_vector(fields) else fields
