"""What the headers of a POST say, read in one pass: what it is, and how its body comes."""

import enum
from collections.abc import Iterable
from functools import lru_cache

from publisher.form import FORM_TYPES
from publisher.idempotence import HEADER as KEY_HEADER
from publisher.refused import Refused
from schemas.cloudevents import (
    BATCH_TYPE,
    HEADER_PREFIX,
    JSON_TYPE,
    STRUCTURED_TYPE,
    is_json_type,
    media_type,
)

Headers = Iterable[tuple[bytes, bytes]]

_PREFIX = HEADER_PREFIX.encode()


class Kind(enum.Enum):
    """What a request is: a form and other JSON are told apart further by their bodies."""

    EVENT = "event"
    ISSUE = "issue"
    FORM = "form"
    JSON = "json"


class Head:
    """What the headers say.

    Args:
        headers: As ASGI has them: values as bytes; names in any case.

    Attributes:
        accept: The Accept header in lower case.
        content_type: As it came, the first one; b"" when there is none.
        event: Whether there is a `ce-` header.
        keys: Of each `Idempotency-Key`.
        size: What Content-Length says; 0 when there is none or it is no number.
        waits: Whether the sender waits for leave to send its body (`Expect: 100-continue`).
    """

    __slots__ = ("accept", "content_type", "event", "keys", "size", "waits")

    def __init__(self, headers: Headers) -> None:
        self.accept = b""
        self.event = self.waits = False
        self.keys: list[bytes] = []
        content_type = None
        self.size = 0
        for raw, value in headers:
            name = raw.lower()
            if name == b"content-type":
                content_type = value if content_type is None else content_type
            elif name == b"content-length":
                # Twenty digits say enough; Python refuses to read some thousands.
                self.size = int(value[:20]) if value.isdigit() else 0
            elif name == KEY_HEADER:
                self.keys.append(value)
            elif name == b"accept":
                self.accept = value.lower()
            elif name == b"expect":
                self.waits = value.lower() == b"100-continue"
            elif name.startswith(_PREFIX):
                self.event = True
        self.content_type = content_type or b""

    @property
    def media_type(self) -> str:
        """The content type without its parameters, in lower case."""
        return _typed(self.content_type)[0]

    @property
    def kind(self) -> Kind:
        """What a request is by its headers alone, before its body is read.

        The content type says structured or batch (HTTP binding, 3); else any `ce-` header says
        binary; else it is a form or JSON: `Kind.JSON` is the older body or a manual issue, and a
        urlencoded form may be JSON too, since curl says "form" when nobody told it what it sends.

        Raises:
            Refused: 415 for any other content type.
        """
        if self.event:
            return Kind.EVENT
        type_, kind = _typed(self.content_type)
        if kind is None:
            raise Refused(415, f"{type_!r} is not taken without ce- headers: send {JSON_TYPE}")
        return kind


@lru_cache(maxsize=64)
def _typed(content_type: bytes) -> tuple[str, Kind | None]:
    """The media type, and what it says of a request; kept, as senders use few."""
    type_ = media_type(content_type.decode("latin-1"))
    if type_ in (STRUCTURED_TYPE, BATCH_TYPE):
        return type_, Kind.EVENT
    if type_ in FORM_TYPES:
        return type_, Kind.FORM
    return type_, Kind.JSON if not type_ or is_json_type(type_) else None
