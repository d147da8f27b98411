"""What a POST becomes: the messages to publish and the answer to give, or a refusal.

Pure functions of headers and body: no HTTP framework, no broker. The order of judgement is the
contract's: the content type, then the content, then Pub/Sub's limits (413: a message of more
bytes or attributes, a batch of more events than Pub/Sub takes at once).
"""

import enum
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from publisher.form import FORM_TYPES, Form
from publisher.idempotence import HEADER as KEY_HEADER
from publisher.idempotence import id_of_call, read_key
from publisher.refused import MAX_REASON_BYTES, Refused
from schemas.cloudevents import (
    BATCH_TYPE,
    HEADER_PREFIX,
    JSON_TYPE,
    STRUCTURED_TYPE,
    CloudEvent,
    from_batch,
    from_binary,
    from_older,
    from_structured,
    is_json_type,
    media_type,
    to_message,
)
from schemas.json_text import TooMuch, parse_json
from schemas.message import ISSUE_ID, MANUAL_TYPE, Message, issue_id_of_manual
from schemas.problem import ProblemsFound
from schemas.times import format_micros, now_micros

__all__ = [
    "MANUAL_SOURCE",
    "MAX_REASON_BYTES",
    "Accepted",
    "Headers",
    "Kind",
    "Refused",
    "Stamp",
    "judge",
    "judge_form",
    "kind_of",
]

MANUAL_SOURCE = "//firestore-to-pubsub/manual"

Headers = Iterable[tuple[bytes, bytes]]


class Kind(enum.Enum):
    """What a request is: a form and other JSON are told apart further by their bodies."""

    EVENT = "event"
    ISSUE = "issue"
    FORM = "form"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Accepted:
    """What is published before the answer is given.

    Args:
        messages: All of them, or the request fails.
        answer: JSON of the 200; None is a 204.
        kind: `Kind.EVENT`, or `Kind.ISSUE` for a manual issue.
    """

    messages: tuple[Message, ...]
    answer: dict[str, str] | None = None
    kind: Kind = Kind.EVENT


@dataclass(frozen=True, slots=True)
class Stamp:
    """Where a manual issue's id and time come from.

    Args:
        new_id: A new id, unlike every other.
        now: Microseconds since the Unix epoch.
    """

    new_id: Callable[[], str] = lambda: str(uuid.uuid4())
    now: Callable[[], int] = now_micros


def kind_of(headers: Headers) -> Kind:
    """What a request is by its headers alone, before its body is read.

    The content type says structured or batch (HTTP binding, 3); else any `ce-` header says
    binary; else it is a form or JSON: `Kind.JSON` is the older body or a manual issue, and a
    urlencoded form may be JSON too, since curl says "form" when nobody told it what it sends.

    Args:
        headers: As ASGI has them: lower-case names, values as bytes.

    Raises:
        Refused: 415 for any other content type.
    """
    return _sorted(headers)[0]


def judge(headers: Headers, body: bytes, stamp: Stamp, client: str = "") -> Accepted:
    """Makes the messages of everything but a form.

    Args:
        headers: As ASGI has them: lower-case names, values as bytes.
        body: Whole; under a form's content type JSON all the same (`read_form` told so).
        stamp: Where a manual issue's id and time come from.
        client: Who calls, for the `Idempotency-Key` of a manual issue; '' when not known.

    Raises:
        Refused: With the status and what is wrong.
    """
    headers = list(headers)
    kind, content_type = _sorted(headers)
    try:
        if content_type == STRUCTURED_TYPE:
            return Accepted((to_message(from_structured(body)),))
        if content_type == BATCH_TYPE:
            return Accepted(tuple(to_message(event) for event in from_batch(body)))
        if kind is Kind.EVENT:
            return Accepted((to_message(from_binary(headers, body)),))
        return _judge_json(headers, body, stamp, client)
    except TooMuch as error:
        raise Refused(413, str(error)) from error
    except ProblemsFound as error:
        raise Refused(400, str(error)) from error


def judge_form(form: Form, stamp: Stamp, client: str = "", headers: Headers = ()) -> Accepted:
    """Makes the manual issue that a form is.

    Args:
        form: As `read_form` gives it.
        stamp: Where the issue's id and time come from.
        client: Who sends it; '' when not known.
        headers: Of the request: an `Idempotency-Key` there counts like the form's own.

    Raises:
        Refused: With the status and what is wrong.
    """
    keys = _keys(headers)
    if form.idempotency_key:
        keys.append(form.idempotency_key.encode())
    try:
        return _manual(form.body, stamp, client, read_key(keys))
    except TooMuch as error:
        raise Refused(413, str(error)) from error


def _sorted(headers: Headers) -> tuple[Kind, str]:
    """The kind, and the content type without its parameters."""
    content_type, event = None, False
    for name, value in headers:
        lowered = name.lower()
        if lowered == b"content-type":
            content_type = value.decode("latin-1") if content_type is None else content_type
        elif lowered.startswith(_PREFIX):
            event = True
    kind = media_type(content_type or "")
    if event or kind in (STRUCTURED_TYPE, BATCH_TYPE):
        return Kind.EVENT, kind
    if kind in FORM_TYPES:
        return Kind.FORM, kind
    if not kind or is_json_type(kind):
        return Kind.JSON, kind
    raise Refused(415, f"{kind!r} is not taken without ce- headers: send {JSON_TYPE}")


def _judge_json(headers: Headers, body: bytes, stamp: Stamp, client: str) -> Accepted:
    if not body.strip():
        raise Refused(400, "Empty request")
    value = parse_json(body)
    if event := from_older(value):
        return Accepted((to_message(event),))
    if not isinstance(value, dict):
        raise Refused(400, "body: is not a JSON object")
    if not value:
        raise Refused(400, "Empty request")
    return _manual(body, stamp, client, read_key(_keys(headers)))


def _manual(body: bytes, stamp: Stamp, client: str, key: bytes | None) -> Accepted:
    """A manual issue: the body goes on byte for byte, with an id and a time of ours."""
    event = CloudEvent(
        id=stamp.new_id() if key is None else id_of_call(client, key, body),
        source=MANUAL_SOURCE,
        type=MANUAL_TYPE,
        time=format_micros(stamp.now()),
        datacontenttype=JSON_TYPE,
        data=body,
    )
    message = to_message(event)
    issue_id = issue_id_of_manual(message.event_id)
    message = replace(message, attributes={**message.attributes, ISSUE_ID: issue_id})
    return Accepted((message,), {"issue_id": issue_id, "status": "created"}, Kind.ISSUE)


def _keys(headers: Headers) -> list[bytes]:
    return [value for name, value in headers if name.lower() == KEY_HEADER]


_PREFIX = HEADER_PREFIX.encode()
