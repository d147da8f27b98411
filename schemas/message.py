"""A Pub/Sub message: its attributes, its identity, and the limits that Pub/Sub sets.

The CloudEvents Pub/Sub protocol binding in binary mode: `data` is the event's own bytes,
attributes are `ce-*` and `content-type` (names read case-insensitively), plus ours below.
"""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import field
from functools import lru_cache

from schemas.checked import frozen
from schemas.problem import Problem

EVENT_ID = "event_id"
DEDUP_ID = "dedup_id"
ISSUE_ID = "issue_id"

CE_ID = "ce-id"
CE_SOURCE = "ce-source"
CE_TYPE = "ce-type"
CE_TIME = "ce-time"
CE_SUBJECT = "ce-subject"
CE_SPECVERSION = "ce-specversion"
CONTENT_TYPE = "content-type"

MANUAL_TYPE = "issues.manual.created"

# https://cloud.google.com/pubsub/quotas#resource_limits ; the emulator enforces none of them.
MAX_MESSAGE_BYTES = 10_000_000
MAX_ATTRIBUTES = 100
MAX_KEY_BYTES = 256
MAX_VALUE_BYTES = 1_024
RESERVED_PREFIX = "goog"

_NAMESPACE = uuid.UUID("b4fa0467-479e-42cb-bd94-aada206da801")
_NAMESPACE_HASH = hashlib.sha1(_NAMESPACE.bytes, usedforsecurity=False)


@frozen
class Message:
    """One message of the topic, untouched.

    Args:
        data: The event's own bytes.
        attributes: As they came, names in any case; never mutated.
        message_id: Pub/Sub's id; empty for a message that no broker has seen.
        publish_time: Microseconds since the Unix epoch; 0 when unknown.
    """

    data: bytes
    attributes: Mapping[str, str] = field(default_factory=dict)
    message_id: str = ""
    publish_time: int = 0
    _made_event_id: str = field(default="", init=False, repr=False, compare=False)

    def attribute(self, name: str) -> str:
        """The value of an attribute by its lower-case name, whatever case it came in; or ''."""
        value = self.attributes.get(name)
        return self.lowered().get(name, "") if value is None else value

    def lowered(self) -> Mapping[str, str]:
        """The attributes by lower-case names, for who asks for several: these very ones mostly."""
        if _is_lower(tuple(self.attributes)):
            return self.attributes
        respelled = {name.lower(): value for name, value in self.attributes.items()}
        return {**respelled, **self.attributes}  # a name that is lower-case itself comes first

    @property
    def event_id(self) -> str:
        """Who the event is, the same on every redelivery (see `event_id_of`)."""
        return self.attribute(EVENT_ID) or self._made_event_id or self._make_event_id()

    def _make_event_id(self) -> str:
        source, id_ = self.attribute(CE_SOURCE), self.attribute(CE_ID)
        made = event_id_of(source, id_) if source and id_ else event_id_of_data(self.data)
        object.__setattr__(self, "_made_event_id", made)  # kept, since several steps ask
        return made

    @property
    def dedup_id(self) -> str:
        """What duplicates are told by: the event_id, or what a replayed dead letter carries."""
        return self.attribute(DEDUP_ID) or self.event_id


@lru_cache(maxsize=64)
def _is_lower(names: tuple[str, ...]) -> bool:
    """Whether all are lower-case; remembered, since the messages of a sender have the same."""
    return all(name == name.lower() for name in names)


def event_id_of(source: str, id_: str) -> str:
    """A CloudEvent's event_id: UUIDv5 over its length-prefixed source and id.

    The CloudEvents specification makes `source` and `id` together unique; the lengths keep
    ('ab', 'c') and ('a', 'bc') apart.
    """
    started = _hash_of_source if len(source) <= MAX_VALUE_BYTES else _hash_of_source.__wrapped__
    hashed = started(source).copy()
    hashed.update(_with_length(id_))
    return uuid5_text(hashed.hexdigest())


def event_id_of_data(data: bytes) -> str:
    """The event_id of a message without a source and an id: UUIDv5 over its data."""
    # uuid.uuid5 takes bytes from Python 3.12 only, and uuid.UUID costs 5 us.
    hashed = _NAMESPACE_HASH.copy()
    hashed.update(b"data:")
    hashed.update(data)
    return uuid5_text(hashed.hexdigest())


def issue_id_of_manual(event_id: str) -> str:
    """`INC-` and the first 8 upper-case hex digits of SHA-256 of a manual issue's event_id."""
    return f"INC-{_digits(event_id)}"


def issue_id_of_document(document_name: str) -> str:
    """`FS-` and the first 8 upper-case hex digits of SHA-256 of a document's full name."""
    return f"FS-{_digits(document_name)}"


def serialized_size(data: bytes, attributes: Mapping[str, str]) -> int:
    """Bytes of the message as Pub/Sub counts them: data plus each attribute's key and value.

    An attribute is counted with the 8 bytes that its protobuf map entry adds at the most, so
    the figure is never below the serialized size.
    """
    sizes = (len(key.encode()) + len(value.encode()) + 8 for key, value in attributes.items())
    return len(data) + sum(sizes) + 8


def limit_problems(data: bytes, attributes: Mapping[str, str]) -> list[Problem]:
    """Each of Pub/Sub's limits that a message would break; empty when it can be published."""
    if _within_limits(data, attributes):
        return []
    found = []
    if not data and not attributes:
        found.append(Problem("message", "has neither data nor attributes", "Pub/Sub refuses it"))
    if len(attributes) > MAX_ATTRIBUTES:
        found.append(
            Problem("attributes", f"{len(attributes)} of them, Pub/Sub takes {MAX_ATTRIBUTES}")
        )
    for key, value in attributes.items():
        name = f"attribute {key[:64]!r}"
        if not key:
            found.append(Problem("attribute", "has an empty key"))
        if len(key.encode()) > MAX_KEY_BYTES:
            found.append(
                Problem(name, f"key of {len(key.encode())} bytes, Pub/Sub takes {MAX_KEY_BYTES}")
            )
        if key.lower().startswith(RESERVED_PREFIX):
            found.append(Problem(name, f"the prefix {RESERVED_PREFIX!r} is Pub/Sub's own"))
        if len(value.encode()) > MAX_VALUE_BYTES:
            size = len(value.encode())
            found.append(Problem(name, f"value of {size} bytes, Pub/Sub takes {MAX_VALUE_BYTES}"))
    size = serialized_size(data, attributes)
    if size > MAX_MESSAGE_BYTES:
        found.append(Problem("message", f"{size} bytes, Pub/Sub takes {MAX_MESSAGE_BYTES}"))
    return found


def _within_limits(data: bytes, attributes: Mapping[str, str]) -> bool:
    """Whether all is well, for nearly every message; no sentence is built for it."""
    if not 0 < len(attributes) <= MAX_ATTRIBUTES:
        return False
    total = len(data) + 8
    for key, value in attributes.items():
        key_size = len(key) if key.isascii() else len(key.encode())
        size = len(value) if value.isascii() else len(value.encode())
        if not 0 < key_size <= MAX_KEY_BYTES or size > MAX_VALUE_BYTES:
            return False
        if key[: len(RESERVED_PREFIX)].lower() == RESERVED_PREFIX:
            return False
        total += key_size + size + 8
    return total <= MAX_MESSAGE_BYTES


def _digits(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8].upper()


@lru_cache(maxsize=64)
def _hash_of_source(source: str) -> "hashlib._Hash":
    """What the ids of a source's events have in common; kept, since senders have few."""
    hashed = _NAMESPACE_HASH.copy()
    hashed.update(_with_length(source))
    return hashed


def _with_length(text: str) -> bytes:
    part = text.encode("utf-8", "surrogatepass")
    return b"%d:%b" % (len(part), part)


def uuid5_text(digits: str) -> str:
    """A UUIDv5 of 32 hexadecimal digits of a hash or more.

    RFC 9562, 5.5: the version is the 13th digit, the variant the upper two bits of the 17th.
    """
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"
