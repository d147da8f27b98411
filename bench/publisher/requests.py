"""The requests of a load: prepared bytes, each with a token of its own by which it is found again.

Making a request is one `join`: the token has one length, so the rest never changes.
"""

import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from local.load import SOURCE, change

# Eight hexadecimal digits of the run, then the request's number.
_DIGITS = 9
_TOKEN = re.compile(rb"[0-9a-f]{8}-([0-9]{9})")
_PLACE = b"00000000-000000000"
_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Template:
    """One kind of request.

    Args:
        kind: What tables and ledgers call it.
        parts: The whole request, head and body, in the pieces between its tokens.
    """

    kind: str
    parts: tuple[bytes, ...]


def issue() -> Template:
    """A manual issue of some 250 bytes, with an `Idempotency-Key` of its own."""
    body = {
        "issue": "Login fails",
        "priority": "P1",
        "description": "It happened again, on the page that was mended yesterday. " * 2,
        "labels": ["web", "auth"],
        "ref": _PLACE.decode(),
    }
    headers = {"Content-Type": _JSON, "Idempotency-Key": _PLACE.decode()}
    return _template("issue", headers, json.dumps(body).encode())


def event() -> Template:
    """A Firestore event as Eventarc sends it: binary mode, protobuf, 1.7 KB."""
    message = change(1)
    headers = {
        "Content-Type": "application/protobuf",
        "ce-specversion": "1.0",
        "ce-id": _PLACE.decode(),
        "ce-source": SOURCE,
        "ce-type": message.attribute("ce-type"),
        "ce-time": message.attribute("ce-time"),
        "ce-subject": "documents/issues/load-1",
    }
    return _template("event", headers, message.data)


def large(size: int) -> Template:
    """An event whose body has so many bytes."""
    headers = {
        "Content-Type": _JSON,
        "ce-specversion": "1.0",
        "ce-id": _PLACE.decode(),
        "ce-source": SOURCE,
        "ce-type": "bench.large",
    }
    return _template("large event", headers, b'"%b"' % (b"x" * (size - 2)))


class Stream:
    """Numbered requests of one run; a number's request is the same each time it is made.

    Args:
        *templates: The kinds, taken in turn.

    Attributes:
        made: How many numbers were given.
    """

    def __init__(self, *templates: Template) -> None:
        self._templates = templates
        self._run = uuid.uuid4().hex[:8]
        self.made = 0

    def next(self) -> int:
        """A new number."""
        self.made += 1
        return self.made - 1

    def token(self, number: int) -> bytes:
        """What a request is found again by: the event's `ce-id`, the issue's key."""
        return b"%b-%0*d" % (self._run.encode(), _DIGITS, number)

    def kind(self, number: int) -> str:
        """Which kind of request it is."""
        return self._templates[number % len(self._templates)].kind

    def request(self, number: int) -> bytes:
        """The bytes that go over the wire."""
        return self.token(number).join(self._templates[number % len(self._templates)].parts)

    def number(self, text: bytes) -> int | None:
        """The number of the first token of this run in a text; None without one."""
        for match in _TOKEN.finditer(text):
            if match[0].startswith(self._run.encode()):
                return int(match[1])
        return None


def _template(kind: str, headers: dict[str, str], body: bytes) -> Template:
    lines: Sequence[str] = (
        "POST / HTTP/1.1",
        "Host: publisher",
        *(f"{name}: {value}" for name, value in headers.items()),
        f"Content-Length: {len(body)}",
        "",
        "",
    )
    whole = "\r\n".join(lines).encode() + body
    return Template(kind, tuple(whole.split(_PLACE)))
