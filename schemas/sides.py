"""Both sides of a document event as JSON, and what changed between them.

In an update most fields are equal on both sides, and so are their JSON: the new side's is taken for
the old one, the very object, and only the others are read. For upb, `==` is as exact as the bytes:
it tells -0.0 from 0.0, takes a NaN for itself and minds no map's order. Of the benchmark's event,
an update of one in 21 fields, reading both sides takes 127 us, comparing them field by field 111,
and all at once 95.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from schemas.changed import changed_paths
from schemas.firestore import Json, fields_to_json


class Sides(NamedTuple):
    """What the two sides of an event hold.

    Args:
        new: The document's fields as JSON; None without a new side.
        old: The document's fields before; None without an old side.
        changed: Leaf paths in Firestore's quoting: the mask, else the difference of the sides.
    """

    new: dict[str, Json] | None
    old: dict[str, Json] | None
    changed: tuple[str, ...]


def read_sides(data: Any, *, has_new: bool, has_old: bool) -> Sides:
    """Reads the sides that are there.

    Args:
        data: A DocumentEventData, which is taken apart: it is not to be read afterwards.
        has_new: Whether `value` is there.
        has_old: Whether `old_value` is there.

    Raises:
        InvalidValue: As `fields_to_json`.
    """
    new, old = data.value, data.old_value
    if not has_new:
        return Sides(None, fields_to_json(old.fields) if has_old else None, ())
    new_json = fields_to_json(new.fields)
    mask = tuple(data.update_mask.field_paths)
    if not has_old:
        return Sides(new_json, None, mask)
    if mask:
        return Sides(new_json, old_side_by_mask(old, new, new_json, mask), mask)
    old_json, differing = old_side_by_field(old.fields, new.fields, new_json)
    return Sides(new_json, old_json, tuple(changed_paths(old.fields, new.fields, differing)))


def old_side_by_mask(
    old: Any, new: Any, new_json: Mapping[str, Json], mask: Iterable[str]
) -> dict[str, Json]:
    """The old fields as `fields_to_json` gives them, where a mask says which ones changed.

    The mask is not taken at its word: whether the rest is equal is asked, in one call of upb's.

    Args:
        old: The document before, in protobuf, which is taken apart, as the next one.
        new: The document now.
        new_json: What `fields_to_json` gives for the fields of `new`.
        mask: Field paths in Firestore's quoting.

    Raises:
        InvalidValue: As `fields_to_json`.
    """
    # A quoted name with a dot is cut in two, and found nowhere: then the rest is not equal.
    named = {path.partition(".")[0] for path in mask}
    before = fields_to_json({name: old.fields[name] for name in named if name in old.fields})
    for document in (old, new):
        document.ClearField("update_time")
        for name in named:
            if name in document.fields:
                del document.fields[name]
    if old == new:
        rest = {**new_json}
    else:
        remaining = {name: json for name, json in new_json.items() if name not in named}
        rest, _ = old_side_by_field(old.fields, new.fields, remaining)
    for name in named:
        if name not in before:
            rest.pop(name, None)
    return _merged(rest, before)


def old_side_by_field(
    old: Mapping[str, Any], new: Mapping[str, Any], new_json: Mapping[str, Json]
) -> tuple[dict[str, Json], list[str]]:
    """The old fields as `fields_to_json` gives them, and the names of those that differ.

    Args:
        old: The fields of the document before, in protobuf.
        new: Those of the document now.
        new_json: What `fields_to_json` gives for `new`.

    Returns:
        The JSON, and the names of the top-level fields that came, went or changed.

    Raises:
        InvalidValue: As `fields_to_json`.
    """
    found: dict[str, Json] = {}
    unequal: dict[str, Any] = {}
    differing: list[str] = []
    for name, json in new_json.items():
        before = old.get(name)
        if before == new[name]:
            found[name] = json
        else:
            differing.append(name)
            if before is not None:
                found[name] = None  # holds the place
                unequal[name] = before
    if len(found) < len(old):
        gone = {name: old[name] for name in old if name not in found}
        differing += gone
        unequal |= gone
    return _merged(found, fields_to_json(unequal)) if unequal else found, differing


def _merged(some: dict[str, Json], others: dict[str, Json]) -> dict[str, Json]:
    """Both, in order of names, as `fields_to_json` has them."""
    in_place = others.keys() <= some.keys()
    some |= others
    return some if in_place else {name: some[name] for name in sorted(some)}
