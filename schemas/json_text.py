"""JSON text read one level at a time, so that the text of each part is at hand unchanged.

`json.loads` keeps no positions and turns numbers into floats; here a member knows where it
stands, so that its number is its literal text. Python's own scanner does the work.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any

from schemas.problem import Problem, ProblemsFound

# https://cloud.google.com/bigquery/docs/json-data#limitations
MAX_JSON_DEPTH = 500
# An event becomes a message of at most 100 attributes; the rest is for members that are null.
MAX_MEMBERS = 1_000

_SPACE = re.compile(r"[ \t\n\r]*")


class JsonNumber(str):
    """A JSON number by its literal text, never a float: what came is what goes on."""

    __slots__ = ()


# Stands for every number inside a value: who needs one takes its text. A string for each would
# cost nine megabytes of JSON half a gigabyte.
NUMBER = object()


class TooMuch(ProblemsFound):
    """Valid as far as it was read, and more than one request may carry (HTTP 413)."""


def unique_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's members, for `object_pairs_hook`: `json` alone would let the last of two win.

    Raises:
        ValueError: A key stands twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"the key {name[:200]!r} stands twice in one object")
            seen.add(name)
    return found


def refuse_constant(name: str) -> Any:
    """For `parse_constant`: NaN and the infinities are Python's, not JSON's."""
    raise ValueError(f"{name} is not JSON")


@dataclass(frozen=True, slots=True)
class Span:
    """A JSON value and where its text starts and ends."""

    value: Any
    start: int
    end: int


def parse_json(body: bytes) -> Any:
    """Reads a body as RFC 8259 has it; every number comes as `NUMBER`.

    Raises:
        ProblemsFound: Not UTF-8, not JSON (NaN and Infinity are not), a key twice in one object,
            or more than `MAX_JSON_DEPTH` levels.
    """
    text = text_of(body)
    try:
        value, end = _scan(text, skip(text, 0), _UNIQUE)
        expect_end(text, end)
    except ValueError as error:
        raise _told(error) from error
    return value


@contextmanager
def json_errors() -> Iterator[None]:
    """Turns what Python's JSON scanner raises into a Problem with the place."""
    try:
        yield
    except ValueError as error:
        raise _told(error) from error


def _told(error: ValueError) -> ProblemsFound:
    """What the scanner says, as a Problem."""
    if isinstance(error, json.JSONDecodeError):
        return ProblemsFound(
            [Problem("body", f"is not JSON: {error.msg} at character {error.pos}")]
        )
    return ProblemsFound([Problem("body", str(error))])


def _number(_: str) -> object:
    # A Python function, not a type: the scanner lets other threads run only where it calls one.
    return NUMBER


_DECODER = json.JSONDecoder(parse_float=_number, parse_int=_number, parse_constant=refuse_constant)
_UNIQUE = json.JSONDecoder(
    parse_float=_number,
    parse_int=_number,
    parse_constant=refuse_constant,
    object_pairs_hook=unique_object,
)


def text_of(body: bytes) -> str:
    """The body as text.

    Raises:
        ProblemsFound: It is not UTF-8, or starts with a byte order mark.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ProblemsFound([Problem("body", f"is not UTF-8 at byte {error.start}")]) from error
    if text.startswith("\ufeff"):
        raise ProblemsFound([Problem("body", "starts with a byte order mark", "leave it out")])
    return text


def skip(text: str, at: int) -> int:
    """Where the white space that starts at `at` ends."""
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _scan(text: str, at: int, decoder: json.JSONDecoder | None = None) -> tuple[Any, int]:
    """The value that starts at `at`, and where its text ends."""
    try:
        value, end = (decoder or _DECODER).scan_once(text, at)  # type: ignore[attr-defined]
    except StopIteration as stop:
        raise json.JSONDecodeError("Expecting value", text, stop.value) from stop
    except RecursionError as error:
        raise json.JSONDecodeError("Nested too deeply", text, at) from error
    level, depth = [value], 0
    while level := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        if depth > MAX_JSON_DEPTH:
            raise json.JSONDecodeError(f"More than {MAX_JSON_DEPTH} levels", text, at)
        level = [
            child for item in level for child in (item.values() if isinstance(item, dict) else item)
        ]
    return value, end


def expect_end(text: str, at: int) -> None:
    """Raises JSONDecodeError when more than white space follows."""
    if (end := skip(text, at)) != len(text):
        raise json.JSONDecodeError("Extra data", text, end)


def read_members(text: str, at: int) -> tuple[dict[str, Span] | None, int]:
    """The members of the object that starts at `at`; None for a value that is no object.

    A member that is a number comes as `JsonNumber`; numbers further inside come as `NUMBER`.

    Raises:
        TooMuch: There are more than `MAX_MEMBERS` of them.
    """
    if text[at : at + 1] != "{":
        return None, _scan(text, at)[1]
    members: dict[str, Span] = {}
    at = skip(text, at + 1)
    if text[at : at + 1] == "}":
        return members, at + 1
    while True:
        if text[at : at + 1] != '"':
            raise json.JSONDecodeError("Expecting a name in double quotes", text, at)
        name, at = scanstring(text, at + 1, True)
        if name in members:
            raise json.JSONDecodeError(f"Member {name[:64]!r} came twice", text, at)
        if len(members) == MAX_MEMBERS:
            raise TooMuch([Problem("event", f"more than {MAX_MEMBERS} members")])
        at = skip(text, at)
        if text[at : at + 1] != ":":
            raise json.JSONDecodeError("Expecting ':'", text, at)
        start = skip(text, at + 1)
        value, end = _scan(text, start)
        members[name] = Span(JsonNumber(text[start:end]) if value is NUMBER else value, start, end)
        at = skip(text, end)
        if text[at : at + 1] == "}":
            return members, at + 1
        if text[at : at + 1] != ",":
            raise json.JSONDecodeError("Expecting ',' or '}'", text, at)
        at = skip(text, at + 1)


def read_elements(text: str, at: int) -> Iterator[dict[str, Span] | None]:
    """The members of each element of the array that is the whole text."""
    if text[at : at + 1] != "[":
        raise json.JSONDecodeError("Expecting an array of events", text, at)
    at = skip(text, at + 1)
    if text[at : at + 1] == "]":
        expect_end(text, at + 1)
        return
    while True:
        members, end = read_members(text, at)
        yield members
        at = skip(text, end)
        if text[at : at + 1] == "]":
            expect_end(text, at + 1)
            return
        if text[at : at + 1] != ",":
            raise json.JSONDecodeError("Expecting ',' or ']'", text, at)
        at = skip(text, at + 1)
