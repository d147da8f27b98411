"""The same call again is the same issue: an id made of the call, instead of a store of calls.

A manual issue sent with an `Idempotency-Key` gets an id made of who sends it, the key and the body.
So each instance, also one that starts years later, gives the same call the same `event_id`, the
same `issue_id` and the same answer; the message goes to the topic again, and the job drops it as it
drops a redelivery. Another client, another key or a body that differs in one byte is another issue:
a key that is used again by mistake loses nothing and is not refused.

`ce-time` is not part of this: it is the time of each call, so a repeat carries a later one. What
counts is `event_id`: the first message that the job takes gives the row its `created_at`.

CloudEvents have their own key, `source` with `id`; the header is ignored on them.
"""

import hashlib
import re
import uuid
from collections.abc import Iterable

from publisher.refused import Refused
from schemas.message import uuid5_text

HEADER = b"idempotency-key"
MAX_KEY_BYTES = 255

# Not the one of event_ids: an id made here is the id of a call, from which its event_id is made.
_NAMESPACE = uuid.UUID("a06a50c5-cd1f-497a-9c86-e414e08173a0")

_NAMESPACE_HASH = hashlib.sha1(_NAMESPACE.bytes, usedforsecurity=False)

# RFC 8941, 3.3.3: a String.
_QUOTED = re.compile(rb'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_ESCAPED = re.compile(rb'\\(["\\])')


def read_key(values: Iterable[bytes]) -> bytes | None:
    """The key of a call; None when it has none.

    The IETF's draft (draft-ietf-httpapi-idempotency-key-header) writes the key as a quoted string,
    most senders write it bare. Both name the same key: quotes around the whole value are taken off,
    with the backslashes that escape inside them. All else is opaque bytes.

    Args:
        values: Of each `Idempotency-Key` header, and of a form's field.

    Raises:
        Refused: 400: the key is empty or too long, or there are two that differ.
    """
    keys = {_unquoted(value.strip(b" \t")) for value in values}
    if not keys:
        return None
    if len(keys) > 1:
        raise Refused(400, "Idempotency-Key: came more than once, with different values")
    (key,) = keys
    if not 1 <= len(key) <= MAX_KEY_BYTES:
        raise Refused(
            400, f"Idempotency-Key: has {len(key)} bytes, where 1 to {MAX_KEY_BYTES} are taken"
        )
    return key


def id_of_call(client: str, key: bytes, body: bytes) -> str:
    """A UUIDv5 over client, key and body, each with its length before it.

    Args:
        client: Name of who calls; '' where callers have none.
        key: As `read_key` gives it.
        body: What is published, byte for byte.
    """
    name = client.encode()
    hashed = _NAMESPACE_HASH.copy()
    hashed.update(b"%d:%b%d:%b%d:" % (len(name), name, len(key), key, len(body)))
    hashed.update(body)
    return uuid5_text(hashed.hexdigest())


def _unquoted(value: bytes) -> bytes:
    quoted = _QUOTED.fullmatch(value)
    return _ESCAPED.sub(rb"\1", quoted[1]) if quoted else value
