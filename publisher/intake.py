"""What a POST becomes: the messages to publish and the answer to give, or a refusal.

Pure functions of headers and body: no HTTP framework, no broker. The order of judgement is the
contract's: the content type, then the content, then Pub/Sub's limits (413: a message of more
bytes or attributes, a batch of more events than Pub/Sub takes at once).
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from publisher.form import Form
from publisher.head import Head, Headers, Kind
from publisher.idempotence import id_of_call, read_key
from publisher.refused import MAX_REASON_BYTES, Refused
from schemas.cloudevents import (
    BATCH_TYPE,
    STRUCTURED_TYPE,
    from_batch,
    from_binary,
    from_older,
    from_structured,
    manual_message,
    to_message,
)
from schemas.json_text import TooMuch, parse_json
from schemas.message import ISSUE_ID, Message
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
]

MANUAL_SOURCE = "//firestore-to-pubsub/manual"


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


def judge(
    headers: Headers, body: bytes, stamp: Stamp, client: str = "", head: Head | None = None
) -> Accepted:
    """Makes the messages of everything but a form.

    Args:
        headers: As ASGI has them: lower-case names, values as bytes.
        body: Whole; under a form's content type JSON all the same (`read_form` told so).
        stamp: Where a manual issue's id and time come from.
        client: Who calls, for the `Idempotency-Key` of a manual issue; '' when not known.
        head: What the headers say, where they were read before.

    Raises:
        Refused: With the status and what is wrong.
    """
    if head is None:
        headers = list(headers)
        head = Head(headers)
    try:
        if head.kind is not Kind.EVENT:
            return _judge_json(head, body, stamp, client)
        if head.media_type == STRUCTURED_TYPE:
            return Accepted((to_message(from_structured(body)),))
        if head.media_type == BATCH_TYPE:
            return Accepted(tuple(to_message(event) for event in from_batch(body)))
        return Accepted((to_message(from_binary(headers, body)),))
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
    keys = Head(headers).keys
    if form.idempotency_key:
        keys.append(form.idempotency_key.encode())
    try:
        return _manual(form.body, stamp, client, read_key(keys))
    except TooMuch as error:
        raise Refused(413, str(error)) from error


def _judge_json(head: Head, body: bytes, stamp: Stamp, client: str) -> Accepted:
    if not body.strip():
        raise Refused(400, "Empty request")
    value = parse_json(body)
    if event := from_older(value):
        return Accepted((to_message(event),))
    if not isinstance(value, dict):
        raise Refused(400, "body: is not a JSON object")
    if not value:
        raise Refused(400, "Empty request")
    return _manual(body, stamp, client, read_key(head.keys))


def _manual(body: bytes, stamp: Stamp, client: str, key: bytes | None) -> Accepted:
    """A manual issue: the body goes on byte for byte, with an id and a time of ours."""
    id_ = stamp.new_id() if key is None else id_of_call(client, key, body)
    message = manual_message(MANUAL_SOURCE, id_, format_micros(stamp.now()), body)
    answer = {"issue_id": message.attributes[ISSUE_ID], "status": "created"}
    return Accepted((message,), answer, Kind.ISSUE)
