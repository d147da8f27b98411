"""A JSON object read exactly, as BigQuery's JSON would keep it: the body of a manual issue.

`json.loads` alone would round numbers, take NaN and let the last of two equal keys win. Here a
number that BigQuery's JSON would refuse or round stays as its text, and its path is told; what it
would refuse otherwise (depth, halves of surrogate pairs) is refused.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from schemas.field_path import MAX_PATHS_TEXT, Segment, field_path, text_length
from schemas.firestore import Json
from schemas.json_text import MAX_JSON_DEPTH, JsonNumber, refuse_constant, unique_object

# A double's shortest text has at most 24 characters; far above it a literal is no exact double that
# anyone means, and Python reads integers of 4,300 digits at the most.
_LONGEST_NUMBER = 1_000


class _Inexact:
    """The paths of numbers that are kept as text.

    Each repeats the names above it: 360 KB of JSON could make gigabytes of them.
    """

    __slots__ = ("paths", "room")

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.room = MAX_PATHS_TEXT

    def add(self, path: Sequence[Segment]) -> None:
        self.room -= text_length(path)
        if self.room < 0:
            raise NoJsonObject(
                f"after {len(self.paths)} numbers that BigQuery's JSON would round or refuse, the "
                f"paths that name them have more than {MAX_PATHS_TEXT} characters: send such "
                "numbers as strings"
            )
        self.paths.append(field_path(path))


class NoJsonObject(ValueError):
    """The text is no JSON object that can be kept; the sentence names the place."""


def parse_object(data: bytes) -> tuple[dict[str, Json], list[str]]:
    """Reads the bytes of a JSON object (RFC 8259).

    Returns:
        The object, and the paths of the numbers that are kept as text, in Firestore's quoting.

    Raises:
        NoJsonObject: Anything else, and one whose paths have more than `MAX_PATHS_TEXT`
            characters.
    """
    inexact = _Inexact()
    try:
        parsed = _parse(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise NoJsonObject(
            f"the data are not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}"
        ) from error
    except RecursionError as error:
        raise NoJsonObject(f"nested more than {MAX_JSON_DEPTH} levels deep") from error
    except ValueError as error:
        raise NoJsonObject(f"the data are no JSON object: {error}") from error
    if not isinstance(parsed, dict):
        raise NoJsonObject(f"the data are {kind_of(parsed)}, where a JSON object is expected")
    _settle(parsed, inexact)
    return parsed, inexact.paths


def check_json(text: str) -> None:
    """Refuses text that a JSON column would refuse or round: any value, not only an object.

    Raises:
        ValueError: It is no JSON (RFC 8259), has a key twice, half of a surrogate pair, too many
            levels, or a number that would be rounded.
    """
    inexact = _Inexact()
    try:
        parsed = _parse(text)
        if isinstance(parsed, dict):
            _settle(parsed, inexact)
        else:
            _settle({"value": parsed}, inexact, levels=MAX_JSON_DEPTH + 1)
    except RecursionError as error:
        raise ValueError(f"nested more than {MAX_JSON_DEPTH} levels deep") from error
    if inexact.paths:
        raise ValueError("a number in it is beyond BigQuery's JSON, or would be rounded there")


def _parse(text: str) -> Any:
    """JSON with each number as its text.

    Raises:
        ValueError, RecursionError: As `json` has it, and for NaN and keys that stand twice.
    """
    return json.loads(
        text,
        parse_int=JsonNumber,
        parse_float=JsonNumber,
        parse_constant=refuse_constant,
        object_pairs_hook=unique_object,
    )


def _settle(document: dict[str, Any], inexact: _Inexact, *, levels: int = MAX_JSON_DEPTH) -> None:
    """Puts values for number literals, in place, and refuses what BigQuery's JSON would.

    A loop, since Python's own recursion ends near BigQuery's 500 levels.
    """
    path: list[Segment] = []
    stack: list[tuple[Any, Iterator[tuple[Any, Any]]]] = [(document, iter(document.items()))]
    while stack:
        container, items = stack[-1]
        for segment, value in items:
            if isinstance(segment, str):
                _check_text(segment, path, "a key with ")
            if isinstance(value, (dict, list)):
                if len(stack) == levels:
                    raise NoJsonObject(f"nested more than {MAX_JSON_DEPTH} levels deep")
                path.append(segment)
                inner = value.items() if isinstance(value, dict) else enumerate(value)
                stack.append((value, iter(inner)))
                break
            container[segment] = _leaf(value, path, segment, inexact)
        else:
            stack.pop()
            if path:
                path.pop()


def _leaf(value: Any, path: Sequence[Segment], segment: Segment, inexact: _Inexact) -> Json:
    if isinstance(value, JsonNumber):
        number = _number(value)
        if number is not None:
            return number
        inexact.add((*path, segment))
        return str(value)
    if isinstance(value, str) and not value.isascii():
        _check_text(value, (*path, segment))
    return value


def _check_text(text: str, path: Sequence[Segment], what: str = "") -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise NoJsonObject(
            f"{field_path(path) or '$'}: {what}half of a surrogate pair at character {error.start}"
        ) from error


def _number(text: JsonNumber) -> Json:
    """A number as BigQuery's JSON keeps it, or None where that would round or refuse it.

    BigQuery: an integer within INT64 or UINT64, or a number that goes through FLOAT64 and back
    (its page on PARSE_JSON, wide_number_mode 'exact').
    """
    if len(text) > _LONGEST_NUMBER:
        return None
    if "." not in text and "e" not in text and "E" not in text:
        number = int(text)
        if -(2**63) <= number < 2**64:
            return number or (-0.0 if text.startswith("-") else 0)
    else:
        double = float(text)
        if abs(double) < float("inf") and _same_number(text, repr(double)):
            return double
    return None


def _same_number(left: str, right: str) -> bool:
    return _scientific(left) == _scientific(right)


def _scientific(text: str) -> tuple[bool, str, int]:
    """Sign, significant digits and the exponent of the last one; linear in the text's length."""
    mantissa, _, exponent = text.lower().partition("e")
    whole, _, fraction = mantissa.lstrip("+-").partition(".")
    digits = (whole + fraction).lstrip("0")
    stripped = digits.rstrip("0")
    power = int(exponent or 0) - len(fraction) + len(digits) - len(stripped)
    return text.startswith("-"), stripped, power if stripped else 0


def kind_of(value: Any) -> str:
    """What a JSON value is, in words."""
    if isinstance(value, JsonNumber) or type(value) in (int, float):
        return "a number"
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return kinds.get(type(value), "null")
