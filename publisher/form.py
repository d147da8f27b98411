"""An HTML form as a manual issue: what is in its controls becomes one JSON object.

Read are `application/x-www-form-urlencoded` (URL Standard, 5.1) and `multipart/form-data`
(RFC 7578), as a browser or `curl -F` sends them.

| in the form | in the JSON object |
|---|---|
| a name with one value | a string |
| a name several times | an array of strings, in order |
| `labels` | an array always: split at commas, trimmed, without empty ones |
| `field_name` and `field_value`, repeated | pairs in order: a member each, named by the first; \
400 where the name is taken, or empty beside a value |
| a value of nothing but white space | left out; nothing else in the form: 400 "Empty request" |
| `api_key`, `idempotency_key` | never there |
| values | as they came: not trimmed, line breaks as the browser sends them (CR LF) |

Members stand in the form's order, so the same form is the same bytes: a repeat is known by them.

What the standards leave to us, or what we do otherwise:

| case | decision |
|---|---|
| the charset | UTF-8, whatever the header says |
| bytes that are not UTF-8 once decoded | 400, naming the control: a browser sends none, and the \
URL Standard's U+FFFD would lose what was meant |
| `%` without two hexadecimal digits | stays as it is, as the URL Standard has it |
| raw UTF-8 in a urlencoded form | taken: curl sends it |
| line breaks around a urlencoded form | left out: a file sent by curl ends with one |
| a urlencoded body that starts with `{` or `[` | no form: JSON that curl sends without a header |
| more than 1,000 controls, or labels | 413 |
| a file | 400, naming the control; an empty file control is an empty control |
| a part in base64 or quoted-printable | 400: RFC 7578 deprecates it, and nobody decodes it here |
| a multipart body that is cut short | 400 |
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from publisher.refused import Refused
from schemas.cloudevent_rules import first_problems
from schemas.cloudevents import media_type
from schemas.problem import Problem, ProblemsFound

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FORM_TYPE = "application/x-www-form-urlencoded"
MULTIPART_TYPE = "multipart/form-data"
FORM_TYPES = (FORM_TYPE, MULTIPART_TYPE)

API_KEY = "api_key"
IDEMPOTENCY_KEY = "idempotency_key"
FIELD_NAME = "field_name"
FIELD_VALUE = "field_value"
LABELS = "labels"

_PAIRS = (FIELD_NAME, FIELD_VALUE)
_RESERVED = (API_KEY, IDEMPOTENCY_KEY, *_PAIRS)

# As many as a JSON event may have members; each control costs some hundred bytes.
MAX_CONTROLS = 1_000

_PIECE = 16_384  # bytes
_PLAIN_ENCODINGS = (b"", b"7bit", b"8bit", b"binary")

Controls = Iterator[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Form:
    """A form as it was sent.

    Args:
        values: Of each control, by name, as they came, empty ones too; without the two below.
        api_key: '' when there is none.
        idempotency_key: '' when there is none.
    """

    values: Mapping[str, tuple[str, ...]]
    api_key: str = field(default="", repr=False)
    idempotency_key: str = ""

    @property
    def body(self) -> bytes:
        """The JSON object that is published.

        Not made when the form is read: what is wrong with it is told only to those who may send.

        Raises:
            Refused: 400 with everything that is wrong, 413 for too many labels.
        """
        members: dict[str, str | list[str]] = {}
        problems: list[Problem] = []
        for name, values in self.values.items():
            given = [value for value in values if value.strip()]
            if name not in _PAIRS and given:
                if not name:
                    what = f"a control without a name has the value {given[0][:64]!r}"
                    problems.append(Problem("form", what, "give it a name"))
                members |= _member(name, given)
        pairs = (self.values.get(name, ()) for name in _PAIRS)
        for number, (named, value) in enumerate(zip_longest(*pairs, fillvalue=""), 1):
            name = named.strip()
            if not value.strip():
                continue
            if not name:
                what = f"has the value {value[:64]!r} and no name"
                problems.append(Problem(f"further field {number}", what, "give it a name"))
            elif name in members or name in _RESERVED:
                what = f"{name[:64]!r} is taken"
                problems.append(Problem(f"further field {number}", what, "choose another name"))
            else:
                members |= _member(name, [value])
        if problems:
            raise Refused(400, str(ProblemsFound(first_problems(problems))))
        if not members:
            raise Refused(400, "Empty request")
        return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()


def read_form(content_type: str, body: bytes) -> Form | None:
    """Reads a form; None when it is JSON all the same, as curl sends it without a header.

    Args:
        content_type: One of `FORM_TYPES`, with its parameters.
        body: Whole.

    Raises:
        Refused: 400 when the body is no such form, 413 for too many controls.
    """
    if media_type(content_type) == MULTIPART_TYPE:
        controls = _multipart(content_type, body)
    elif body.lstrip().startswith((b"{", b"[")):
        return None
    else:
        controls = _urlencoded(body)
    values: dict[str, list[str]] = {}
    for name, value in controls:
        values.setdefault(name, []).append(value)
    return Form(
        api_key=_single(API_KEY, values.pop(API_KEY, ())).strip(),
        idempotency_key=_single(IDEMPOTENCY_KEY, values.pop(IDEMPOTENCY_KEY, ())),
        values={name: tuple(each) for name, each in values.items()},
    )


def _member(name: str, values: list[str]) -> dict[str, str | list[str]]:
    """The member that a name becomes; none for labels that are only commas."""
    if name == LABELS:
        text = ",".join(values)
        if text.count(",") >= MAX_CONTROLS:
            raise Refused(413, f"{LABELS}: more than {MAX_CONTROLS}")
        labels = [label for part in text.split(",") if (label := part.strip())]
        return {name: labels} if labels else {}
    return {name: values[0] if len(values) == 1 else values}


def _single(name: str, values: list[str] | tuple[()]) -> str:
    distinct = {value for value in values if value}
    if len(distinct) > 1:
        raise Refused(400, f"{name}: came more than once, with different values")
    return distinct.pop() if distinct else ""


def _urlencoded(body: bytes) -> Controls:
    if body.count(b"&") >= MAX_CONTROLS:
        raise _too_many()
    for part in body.strip(b"\r\n").split(b"&"):
        if part:
            name, _, value = part.replace(b"+", b" ").partition(b"=")
            named = _text("form", "a name", _unescaped(name))
            yield named, _text(named, "its value", _unescaped(value))


def _unescaped(escaped: bytes) -> bytes:
    """Percent-decoding in pieces: of nine megabytes at once Python would make 300 of its own."""
    decoded = bytearray()
    start = 0
    while start < len(escaped):
        end = start + _PIECE
        # A `%` among the last two bytes may belong to what follows: the next piece starts with it.
        cut = escaped.rfind(b"%", end - 2, end) if end < len(escaped) else -1
        end = end if cut < 0 else cut
        decoded += unquote_to_bytes(escaped[start:end])
        start = end
    return bytes(decoded)


def _multipart(content_type: str, body: bytes) -> Controls:
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise Refused(400, f"{MULTIPART_TYPE}: has no boundary")
    parts = _Parts()
    try:
        MultipartParser(boundary, parts.callbacks()).write(body)
    except FormParserError as error:
        raise Refused(400, f"{MULTIPART_TYPE}: {error}") from error
    if not parts.whole:
        raise Refused(400, f"{MULTIPART_TYPE}: ends before its last boundary")
    return iter(parts.controls)


class _Parts:
    """Takes the parts of a multipart body as the parser finds them."""

    def __init__(self) -> None:
        self.controls: list[tuple[str, str]] = []
        self.whole = False
        self._name = ""
        self._file: bytes | None = None
        self._headers: dict[bytes, bytes] = {}
        self._header = self._value = self._data = b""

    def callbacks(self) -> "MultipartCallbacks":
        """By the parser's names for them."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._part_data,
            "on_part_end": self._end,
            "on_end": self._last,
        }

    def _begin(self) -> None:
        if len(self.controls) == MAX_CONTROLS:
            raise _too_many()
        self._headers = {}
        self._data = b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header = data[start:end].lower()

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value = data[start:end]

    def _header_end(self) -> None:
        self._headers[self._header] = self._value.strip(b" \t")
        self._value = b""

    def _headers_finished(self) -> None:
        disposition, options = parse_options_header(self._headers.get(b"content-disposition"))
        if disposition != b"form-data" or b"name" not in options:
            raise Refused(400, f"{MULTIPART_TYPE}: a part has no name")
        self._name = _text("form", "a name", options[b"name"])
        self._file = options.get(b"filename")
        encoding = self._headers.get(b"content-transfer-encoding", b"").lower()
        if encoding not in _PLAIN_ENCODINGS:
            told = encoding[:64].decode("latin-1")
            raise Refused(400, f"{self._name[:64]!r}: the encoding {told!r} is not taken")

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]  # all of it: the body is written in one piece

    def _end(self) -> None:
        if self._file is None:
            self.controls.append((self._name, _text(self._name, "its value", self._data)))
        elif self._file or self._data:
            what = f"{self._name[:64]!r}: is a file, and files are not taken"
            raise Refused(400, what)
        else:
            self.controls.append((self._name, ""))

    def _last(self) -> None:
        self.whole = True


def _text(name: str, what: str, data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(400, f"{name[:64]!r}: {what} is not UTF-8 at byte {error.start}") from error


def _too_many() -> Refused:
    return Refused(413, f"form: more than {MAX_CONTROLS} controls")
