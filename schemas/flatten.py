"""Declared fields become typed columns: where a value is found, and what fits which type.

Rules that a reader can predict:
- A column's path is walked through maps only, by exact name, case included; a field that is
  missing, or null, gives NULL. An array on the way ends it: of `items.name`, where `items` is an
  array, nothing is found, and NULL is no error. A whole array goes into a REPEATED column or into a
  JSON one, and nothing else takes it.
- What fits is exact, never a guess: a number is no STRING, "5" is no INT64.

| column | takes |
|---|---|
| STRING | a string (so also what is written as one: timestamps, references, bytes) |
| INT64 | an integer of 64 bits; a double that is a whole number |
| FLOAT64 | a double; an integer that a double holds exactly; "NaN", "Infinity", "-Infinity" |
| BOOL | a boolean |
| TIMESTAMP | a string with an RFC 3339 time within BigQuery's range; below 1 us is cut off |
| BYTES | a string of standard base64 |
| JSON | anything, as JSON text |

- A REPEATED column takes an array each of whose elements fits; null elements stay in `payload`.
  Where one does not fit, the column is [], and `type_errors` has the element, `labels[1]`.
- What does not fit leaves the column NULL (or []), is named by its path in `type_errors`, and is
  kept in `payload`. The row is never lost for it.
- The column's name is the file's `name`, else the path's names joined by `_`: `reporter.name` is
  `reporter_name`.
- Names are never mended. What is no good is refused when the table's file is read, with its line,
  and a `name` in the file is what to do:
  - two paths with one name (`a_b` and `a.b`), or one that the layout or a path's parameter has
    (`payload`, `source`): upper and lower case are the same for BigQuery, so `Title` and `title`
    are one name too, though two fields;
  - other characters than ASCII letters, digits and `_`, a digit in front, more than 300 in all;
  - prefixes that BigQuery reserves (`schemas.bigquery_rules`: `_TABLE_`, `_PARTITION`, ...).
"""

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from schemas.field_path import field_path
from schemas.firestore import Json
from schemas.table import Column, Type
from schemas.times import parse_rfc3339

_FLOAT_WORDS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}

Fit = Callable[[Json], Any]
"""Turns a JSON value into the column's; raises ValueError when it does not fit."""


def json_text(value: Json) -> str:
    """JSON text (RFC 8259), compact, of a value by `schemas.firestore`'s table."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # nested deeper than orjson goes, or an integer above 64 bits unsigned
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _no_fit(value: Json, type_: Type) -> ValueError:
    return ValueError(f"{type(value).__name__} does not fit {type_}")


def _string(value: Json) -> str:
    if type(value) is not str:
        raise _no_fit(value, Type.STRING)
    return value


def _int64(value: Json) -> int:
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise _no_fit(value, Type.INT64)
    return value


def _float64(value: Json) -> float:
    if type(value) is float:
        return value
    if type(value) is int and int(float(value)) == value:
        return float(value)
    if type(value) is str and value in _FLOAT_WORDS:
        return _FLOAT_WORDS[value]
    raise _no_fit(value, Type.FLOAT64)


def _bool(value: Json) -> bool:
    if type(value) is not bool:
        raise _no_fit(value, Type.BOOL)
    return value


def _timestamp(value: Json) -> int:
    return parse_rfc3339(_string(value))


def _bytes(value: Json) -> bytes:
    try:
        return base64.b64decode(_string(value), validate=True)
    except binascii.Error as error:
        raise _no_fit(value, Type.BYTES) from error


FITS: Mapping[Type, Fit] = {
    Type.STRING: _string,
    Type.INT64: _int64,
    Type.FLOAT64: _float64,
    Type.BOOL: _bool,
    Type.TIMESTAMP: _timestamp,
    Type.BYTES: _bytes,
    Type.JSON: json_text,
}


@dataclass(frozen=True, slots=True)
class Slot:
    """A declared column with all that is known before a document comes.

    Args:
        column: The column.
        first: The first segment of its path.
        rest: The other segments.
        fit: By its type.
    """

    column: Column
    first: str
    rest: tuple[str, ...]
    fit: Fit


def slots(columns: Iterable[Column]) -> tuple[Slot, ...]:
    """The slots of declared columns, for `flatten`."""
    return tuple(
        Slot(column, column.path[0], column.path[1:], FITS[column.type]) for column in columns
    )


def flatten(
    fields: Mapping[str, Json], declared: Sequence[Slot], values: dict[str, Any]
) -> list[str]:
    """Puts the declared columns' values into `values`; returns the paths that did not fit.

    Args:
        fields: A document's fields, or a manual body.
        declared: The slots of a table's declared columns.
        values: A row under construction; every column gets a value, None or [] if need be.
    """
    errors: list[str] = []
    for slot in declared:
        column = slot.column
        value = fields.get(slot.first)
        for segment in slot.rest:
            value = value.get(segment) if type(value) is dict else None
        if column.repeated:
            values[column.name] = _repeated(value, column, errors)
        elif value is None:
            values[column.name] = None
        else:
            try:
                values[column.name] = slot.fit(value)
            except ValueError:
                values[column.name] = None
                errors.append(field_path(column.path))
    return errors


def _repeated(value: Json, column: Column, errors: list[str]) -> list[Any]:
    if value is None:
        return []
    if type(value) is not list:
        errors.append(field_path(column.path))
        return []
    fit = FITS[column.type]
    found = []
    for i, item in enumerate(value):
        if item is None:
            continue
        try:
            found.append(fit(item))
        except ValueError:
            errors.append(field_path((*column.path, i)))
            return []
    return found
