"""What values the fields of documents have: counted by kind, path by path."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from schemas.firestore_values import Exact, GeoPoint, Reference, Timestamp, Vector
from schemas.table import Type

BIG_INTEGER = "integer of more than 64 bits"
_NULL, _BOOLEAN, _INTEGER, _DOUBLE = "null", "boolean", "integer", "double"
_STRING, _BYTES, _TIMESTAMP, _REFERENCE = "string", "bytes", "timestamp", "reference"
_GEO_POINT, _VECTOR, _ARRAY, _MAP = "geo point", "vector", "array", "map"
_KINDS: Mapping[type, str] = {
    type(None): _NULL,
    bool: _BOOLEAN,
    float: _DOUBLE,
    str: _STRING,
    bytes: _BYTES,
    Timestamp: _TIMESTAMP,
    Reference: _REFERENCE,
    GeoPoint: _GEO_POINT,
    Vector: _VECTOR,
    list: _ARRAY,
    dict: _MAP,
}
_TYPES: Mapping[frozenset[str], Type] = {
    frozenset({_BOOLEAN}): Type.BOOL,
    frozenset({_INTEGER}): Type.INT64,
    frozenset({_DOUBLE}): Type.FLOAT64,
    frozenset({_STRING}): Type.STRING,
    frozenset({_REFERENCE}): Type.STRING,
    frozenset({_BYTES}): Type.BYTES,
    frozenset({_TIMESTAMP}): Type.TIMESTAMP,
}

# A map with more keys than this, or of whose keys more than half stand in less than one map in
# ten, is keyed by data (ids of users, say) rather than by names: its keys are no columns.
MAX_KEYS = 100
_RARE = 10


@dataclass(slots=True)
class Observed:
    """The values of one field, of one array's elements, or the fields of documents.

    Args:
        kinds: How often which kind of value was there.
        below: The fields of its maps.
        items: The elements of its arrays and vectors.
        all_exact: Whether a double holds every integer exactly.
        all_whole: Whether every double is an integer of 64 bits.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    below: "dict[str, Observed]" = field(default_factory=dict)
    items: Counter[str] = field(default_factory=Counter)
    all_exact: bool = True
    all_whole: bool = True

    def see(self, value: Exact, levels: int) -> None:
        """Counts a value.

        Args:
            value: As `schemas.firestore_values` and `json` have it.
            levels: How many levels of maps are looked into, its own among them.
        """
        kind = self._number(value) if type(value) in (int, float) else _KINDS[type(value)]
        self.kinds[kind] += 1
        if isinstance(value, dict) and levels > 0:
            for name in sorted(value):
                below = self.below.setdefault(name, Observed())
                below.see(value[name], levels - 1)
        elif isinstance(value, GeoPoint) and levels > 0:
            # In a row it is an object of two numbers (`schemas.firestore`).
            for name in ("latitude", "longitude"):
                below = self.below.setdefault(name, Observed())
                below.see(getattr(value, name), 0)
        elif isinstance(value, list | Vector):
            for item in value.numbers if isinstance(value, Vector) else value:
                number = type(item) in (int, float)
                self.items[self._number(item) if number else _KINDS[type(item)]] += 1

    def _number(self, value: float) -> str:
        if isinstance(value, int):
            self.all_exact = self.all_exact and abs(value) < 2**1000 and int(float(value)) == value
            return _INTEGER if -(2**63) <= value < 2**63 else BIG_INTEGER
        whole = value.is_integer() and -(2**63) <= value < 2**63
        self.all_whole = self.all_whole and whole
        return _DOUBLE

    def flattens(self) -> bool:
        """Whether the fields below become columns, rather than this one."""
        kinds = set(self.kinds) - {_NULL}
        if kinds == {_GEO_POINT}:
            return bool(self.below)
        if kinds != {_MAP} or not self.below or len(self.below) > MAX_KEYS:
            return False
        maps = self.kinds[_MAP]
        rare = [name for name, below in self.below.items() if below.seen() * _RARE < maps]
        return len(rare) * 2 <= len(self.below)

    def seen(self) -> int:
        """How often it was there, null among it."""
        return sum(self.kinds.values())

    def column_type(self) -> tuple[Type, bool] | None:
        """The type that every value fits, and whether it is REPEATED; None if all are null.

        Values of several kinds share JSON, which anything fits, but for two: numbers that one of
        the two numeric types holds exactly, and what a row has as a string.
        """
        kinds = set(self.kinds) - {_NULL}
        if not kinds:
            return None
        if kinds <= {_ARRAY, _VECTOR}:
            items = self._scalar(set(self.items) - {_NULL})
            return (Type.JSON, False) if items is None else (items, True)
        return self._scalar(kinds) or Type.JSON, False

    def _scalar(self, kinds: set[str]) -> Type | None:
        if kinds == {_INTEGER, _DOUBLE}:
            if self.all_exact:
                return Type.FLOAT64
            return Type.INT64 if self.all_whole else None
        if kinds and kinds <= {_STRING, _REFERENCE, _TIMESTAMP} and len(kinds) > 1:
            return Type.STRING
        return _TYPES.get(frozenset(kinds))


def leaves(
    observed: Observed, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Observed]]:
    """What becomes columns, by path, in order of the names."""
    for name in sorted(observed.below):
        below = observed.below[name]
        if below.flattens():
            yield from leaves(below, (*path, name))
        else:
            yield (*path, name), below
