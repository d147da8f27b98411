r"""Field paths in Firestore's quoting: `a.b`, odd names in backticks with `\` escapes.

https://cloud.google.com/firestore/docs/reference/rpc/google.firestore.v1#document
"""

import re
from collections.abc import Sequence

Segment = str | int
"""A step of a path: a field's name, or an element's index in an array."""

MAX_PATHS_TEXT = 9_900_000
"""Characters of all the paths that are made of one event, of which a row could hold no more
(`schemas.row.MAX_ROW_BYTES`). Each repeats the names above it, so that they can be ten thousand
times as long as the event: who makes them counts before joining."""

_SIMPLE_SEGMENT = re.compile(r"[A-Za-z_][A-Za-z_0-9]*", re.ASCII)


def field_path(segments: Sequence[Segment]) -> str:
    r"""Joins segments as Firestore writes a field path: odd names in backticks, `\` escapes.

    An index stands in brackets, `labels[1]`: not Firestore's, whose paths end at an array.
    """
    text = ""
    for segment in segments:
        if isinstance(segment, int):
            text += f"[{segment}]"
            continue
        quoted = segment
        if not _SIMPLE_SEGMENT.fullmatch(segment):
            quoted = "`" + segment.replace("\\", "\\\\").replace("`", "\\`") + "`"
        text += ("." if text else "") + quoted
    return text


def text_length(segments: Sequence[Segment]) -> int:
    """At least so many characters has the text of a path: what is quoted or an index has more."""
    return sum(len(each) if isinstance(each, str) else 2 for each in segments) + len(segments) - 1


def parse_field_path(text: str) -> tuple[str, ...]:
    r"""Splits a field path in Firestore's quoting: `a.b`, `` a.`b.c` ``.

    Raises:
        ValueError: The text is no such path.
    """
    segments: list[str] = []
    rest = text
    while True:
        match = _QUOTED_OR_SIMPLE.match(rest)
        if match is None:
            raise ValueError(
                f"{text!r} is not a field path; write odd names in backticks, as in a.`b c`"
            )
        plain, quoted = match[1], match[2]
        segments.append(plain if plain is not None else re.sub(r"\\(.)", r"\1", quoted))
        rest = rest[match.end() :]
        if not rest:
            return tuple(segments)
        if rest[0] != "." or len(rest) == 1:
            raise ValueError(f"{text!r} is not a field path: unexpected {rest!r}")
        rest = rest[1:]


_QUOTED_OR_SIMPLE = re.compile(
    r"([A-Za-z_][A-Za-z_0-9]*)|`((?:[^`\\]|\\.)*)`", re.ASCII | re.DOTALL
)
