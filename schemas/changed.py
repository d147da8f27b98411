"""Which fields of a document an event changed, by the paths of their leaves."""

from collections.abc import Mapping
from typing import Any

from schemas.field_path import field_path
from schemas.firestore import is_vector


def changed_paths(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Leaf paths that differ between two documents' protobuf fields, sorted, Firestore-quoted.

    Maps are compared field by field, and one that comes or goes counts by its leaves; everything
    else, arrays, vectors and empty maps too, is a leaf.
    """
    return sorted(field_path(path) for path in _differences(old, new, ()))


def _differences(
    old: Mapping[str, Any], new: Mapping[str, Any], path: tuple[str, ...]
) -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    for name in old.keys() | new.keys():
        here = (*path, name)
        # Look before reaching: indexing a protobuf map of messages adds the missing key.
        before: Any = old[name] if name in old else None  # noqa: SIM401
        after: Any = new[name] if name in new else None  # noqa: SIM401
        if before == after:
            continue
        if _is_plain_map(before) and _is_plain_map(after):
            found |= _differences(before.map_value.fields, after.map_value.fields, here)
        # NaN is unequal to itself; its bytes are not.
        elif _serialized(before) != _serialized(after):
            found |= _leaves(before, here) | _leaves(after, here)
    return found


def _serialized(value: Any) -> bytes:
    return b"" if value is None else value.SerializeToString(deterministic=True)


def _leaves(value: Any, path: tuple[str, ...]) -> set[tuple[str, ...]]:
    """The paths of a value's leaves; none where there is no value."""
    if value is None:
        return set()
    fields = value.map_value.fields
    if not _is_plain_map(value) or not fields:
        return {path}
    return set().union(*(_leaves(fields[name], (*path, name)) for name in fields))


def _is_plain_map(value: Any) -> bool:
    return (
        value is not None and value.HasField("map_value") and not is_vector(value.map_value.fields)
    )
