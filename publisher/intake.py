"""What a POST becomes: the messages to publish and the answer to give, or a refusal.

Pure functions of headers and body: no HTTP framework, no broker. The order of judgement is the
contract's: the content type, then the content, then Pub/Sub's limits (413: a message of more
bytes or attributes, a batch of more events than Pub/Sub takes at once).
"""

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

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

MANUAL_SOURCE = "//firestore-to-pubsub/manual"
FORM_TYPE = "application/x-www-form-urlencoded"

# Of a refusal's reason, which is answered and logged: some of it quotes the request.
MAX_REASON_BYTES = 2_048
_CUT = " ... and more"

Headers = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Accepted:
    """What is published before the answer is given.

    Args:
        messages: All of them, or the request fails.
        answer: JSON of the 200; None is a 204.
    """

    messages: tuple[Message, ...]
    answer: dict[str, str] | None = None


class Refused(Exception):
    """The request can never be a message.

    Args:
        status: HTTP status: 400, 413 or 415.
        reason: What is wrong, for the sender; cut to `MAX_REASON_BYTES` of UTF-8.
    """

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        encoded = reason.encode()
        if len(encoded) > MAX_REASON_BYTES:
            kept = encoded[: MAX_REASON_BYTES - len(_CUT)]
            reason = kept.decode("utf-8", "ignore") + _CUT
        self.reason = reason
        super().__init__(f"{status}: {reason}")


@dataclass(frozen=True, slots=True)
class Stamp:
    """Where a manual issue's id and time come from.

    Args:
        new_id: A new id, unlike every other.
        now: Microseconds since the Unix epoch.
    """

    new_id: Callable[[], str] = lambda: str(uuid.uuid4())
    now: Callable[[], int] = now_micros


def judge(headers: Headers, body: bytes, stamp: Stamp) -> Accepted:
    """Tells which kind of request this is and makes its messages.

    The content type says structured or batch (HTTP binding, 3); else any `ce-` header says
    binary; else the body is JSON: the older body, or a manual issue.

    Args:
        headers: As ASGI has them: lower-case names, values as bytes.
        body: Whole.
        stamp: Where a manual issue's id and time come from.

    Raises:
        Refused: With the status and what is wrong.
    """
    headers = list(headers)
    kind = media_type(_content_type(headers))
    try:
        if kind == STRUCTURED_TYPE:
            return Accepted((to_message(from_structured(body)),))
        if kind == BATCH_TYPE:
            return Accepted(tuple(to_message(event) for event in from_batch(body)))
        if any(name.lower().startswith(HEADER_PREFIX.encode()) for name, _ in headers):
            return Accepted((to_message(from_binary(headers, body)),))
        return _judge_json(kind, body, stamp)
    except TooMuch as error:
        raise Refused(413, str(error)) from error
    except ProblemsFound as error:
        raise Refused(400, str(error)) from error


def _judge_json(kind: str, body: bytes, stamp: Stamp) -> Accepted:
    # curl says "form" when nobody told it what it sends; a form that is one starts otherwise.
    if not (kind in ("", FORM_TYPE) or is_json_type(kind)):
        raise Refused(415, f"{kind!r} is not taken without ce- headers: send {JSON_TYPE}")
    if not body.strip():
        raise Refused(400, "Empty request")
    if kind == FORM_TYPE and not body.lstrip().startswith((b"{", b"[")):
        raise Refused(415, f"a form is not taken: send {JSON_TYPE}")
    value = parse_json(body)
    if event := from_older(value):
        return Accepted((to_message(event),))
    if not isinstance(value, dict):
        raise Refused(400, "body: is not a JSON object")
    if not value:
        raise Refused(400, "Empty request")
    return _manual(body, stamp)


def _manual(body: bytes, stamp: Stamp) -> Accepted:
    """A manual issue: the body goes on byte for byte, with an id and a time of ours."""
    event = CloudEvent(
        id=stamp.new_id(),
        source=MANUAL_SOURCE,
        type=MANUAL_TYPE,
        time=format_micros(stamp.now()),
        datacontenttype=JSON_TYPE,
        data=body,
    )
    message = to_message(event)
    issue_id = issue_id_of_manual(message.event_id)
    message = replace(message, attributes={**message.attributes, ISSUE_ID: issue_id})
    return Accepted((message,), {"issue_id": issue_id, "status": "created"})


def _content_type(headers: Iterable[tuple[bytes, Any]]) -> str:
    for name, value in headers:
        if name.lower() == b"content-type":
            return bytes(value).decode("latin-1")
    return ""
