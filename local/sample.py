"""Feeds the sample: real documents, manual issues over HTTP, an event three times, poison.

Everything that it sends is expected somewhere, and `Expected` says where: a row or a dead letter.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from google.auth.credentials import AnonymousCredentials
from google.cloud import firestore

from local.destinations import aimed
from local.documents import STEPS, Step
from local.expected import Expected
from local.poison import poison
from local.resources import TOPIC, topic_path
from local.table_documents import STEPS as TABLE_STEPS
from local.web import call
from schemas.cloudevents import BATCH_TYPE, JSON_TYPE, STRUCTURED_TYPE
from schemas.live import publisher_client
from schemas.message import MANUAL_TYPE, Message, event_id_of
from schemas.table import Table
from schemas.times import format_micros, now_micros

_SECONDS = 20.0
_JSON = {"Content-Type": JSON_TYPE}
_SOURCE = "//sample.local/http"

_ISSUES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("a manual issue", {"issue": "Coffee machine is broken", "priority": "P1"}),
    (
        "a manual issue in Unicode",
        {
            "issue": "Kaffeemaschine kaputt ☕ 咖啡机坏了",
            "title": "Ünïcödé",
            "labels": ["küche", "☕"],
        },
    ),
    (
        "a manual issue with nested values and quotes",
        {"title": 'He said "it\'s broken"', "detail": {"a": [1, {"b": [None, True]}], "": "x"}},
    ),
    ("a manual issue with zero, false and empty", {"issue": "", "votes": 0, "flag": False}),
    ("a manual issue with integers beyond a double", {"issue": "Long", "votes": 2**53 + 1}),
)


def feed(project: str, publisher: str, tables: Sequence[Table]) -> tuple[Expected, ...]:
    """Sends the whole sample; the emulators are found by their environment variables.

    Args:
        project: Of the Firestore database and the topic.
        publisher: The publisher's `host:port`.
        tables: The job's, which say what must arrive where.

    Returns:
        What must arrive, one for each event.

    Raises:
        OSError: The publisher is not reached, or its answer is not the contract's.
    """
    sent = (
        *documents(project),
        *issues(publisher),
        *cloudevents(publisher),
        *repeated(publisher),
        *straight(project),
    )
    return aimed(sent, tables)


def documents(project: str) -> tuple[Expected, ...]:
    """Writes, updates and deletes documents through Firestore's own client."""
    client = firestore.Client(project=project, credentials=AnonymousCredentials())
    # An emulator that ran before may hold an earlier sample: its creations would be updates, or
    # (equal content) no events at all.
    steps = (*STEPS, *TABLE_STEPS)
    paths = list(dict.fromkeys(step.path for step in steps))
    for path in reversed(paths):
        document = client.document(path)
        if document.get(timeout=_SECONDS).exists:
            document.delete(timeout=_SECONDS)
    there: dict[str, Mapping[str, Any]] = {}
    return tuple(_write(client, step, there) for step in steps)


def _write(client: firestore.Client, step: Step, there: dict[str, Mapping[str, Any]]) -> Expected:
    """Does one step; `there` has each document as it was read back after its last one."""
    document = client.document(step.path)
    before = there.pop(step.path, None)
    fields = None
    if step.fields is None:
        document.delete(timeout=_SECONDS)
        operation = "DELETE"
    else:
        write = document.set if step.verb == "set" else document.update
        write(step.fields(client), timeout=_SECONDS)
        operation = "CREATE" if before is None else "UPDATE"
        there[step.path] = fields = document.get(timeout=_SECONDS).to_dict()
    return Expected(
        "row",
        step.what,
        document_path=step.path,
        operation=operation,
        fields=fields,
        old_fields=before,
    )


def issues(publisher: str) -> tuple[Expected, ...]:
    """Posts manual issues as people do."""
    expected = []
    for what, body in _ISSUES:
        answer = call("POST", publisher, json.dumps(body).encode(), _JSON, seconds=_SECONDS)
        if answer.status != HTTPStatus.OK:
            raise OSError(f"{what}: the publisher answers {answer.status} {answer.body[:500]!r}")
        issue_id = answer.json()["issue_id"]
        expected.append(Expected("row", what, operation="MANUAL", issue_id=issue_id, fields=body))
    return tuple(expected)


def cloudevents(publisher: str) -> tuple[Expected, ...]:
    """Posts CloudEvents in the JSON event format: one structured, then two in one batch."""
    now = now_micros()
    structured: dict[str, Any] = {
        "issue": "A structured CloudEvent",
        "votes": 2**53 + 1,
        "estimate": 0.1,
    }
    batched: dict[str, Any] = {"issue": "The first of a batch", "labels": ["größer", "☕"]}
    encoded: dict[str, Any] = {
        "issue": "The second of a batch, in base64",
        "detail": {"a": [None, {"b": []}]},
    }
    event = _event(now, "structured") | {"data": structured}
    _post(publisher, STRUCTURED_TYPE, event)
    batch = [
        _event(now, "batch-1") | {"data": batched},
        _event(now, "batch-2")
        | {"data_base64": base64.b64encode(json.dumps(encoded).encode()).decode()},
    ]
    _post(publisher, BATCH_TYPE, batch)
    return tuple(
        Expected(
            "row",
            f"a CloudEvent: {body['issue']}",
            event_id=event_id_of(_SOURCE, each["id"]),
            operation="MANUAL",
            fields=body,
        )
        for each, body in zip((event, *batch), (structured, batched, encoded), strict=True)
    )


def _event(now: int, name: str) -> dict[str, Any]:
    """A CloudEvent without its data; another run's is another event."""
    return {
        "specversion": "1.0",
        "id": f"{name}-{now}",
        "source": _SOURCE,
        "type": MANUAL_TYPE,
        "time": format_micros(now),
        "datacontenttype": JSON_TYPE,
    }


def _post(publisher: str, content_type: str, body: Any) -> None:
    headers = {"Content-Type": content_type}
    answer = call("POST", publisher, json.dumps(body).encode(), headers, seconds=_SECONDS)
    if answer.status != HTTPStatus.NO_CONTENT:
        raise OSError(
            f"the publisher answers {answer.status} {answer.body[:500]!r} to {content_type}"
        )


def repeated(publisher: str, times: int = 3) -> tuple[Expected, ...]:
    """Posts one and the same event several times, as Eventarc does when an answer is lost."""
    now = now_micros()
    id_ = f"repeated-{now}"
    body = {"issue": "One event, sent three times", "priority": "P3"}
    headers = _JSON | {
        "ce-specversion": "1.0",
        "ce-id": id_,
        "ce-source": _SOURCE,
        "ce-type": MANUAL_TYPE,
        "ce-time": format_micros(now),
    }
    for _ in range(times):
        answer = call("POST", publisher, json.dumps(body).encode(), headers, seconds=_SECONDS)
        if answer.status != HTTPStatus.NO_CONTENT:
            raise OSError(f"the publisher answers {answer.status} {answer.body[:500]!r} to {id_}")
    return (
        Expected(
            "row",
            f"one event {times} times",
            event_id=event_id_of(_SOURCE, id_),
            operation="MANUAL",
            fields=body,
        ),
    )


def straight(project: str) -> tuple[Expected, ...]:
    """Publishes straight onto the topic: a message of the older, flat form, and all the poison."""
    now = now_micros()
    flat = {
        "issue_id": "INC-0000F1A7",
        "source": "manual-api",
        "created_at": format_micros(now),
        "payload": json.dumps({"issue": "An older publisher's message", "priority": "P4"}),
    }
    message = Message(json.dumps(flat).encode())
    expected = [
        Expected(
            "row",
            "a message of the older, flat form",
            event_id=message.event_id,
            operation="MANUAL",
            issue_id=flat["issue_id"],
            fields=json.loads(flat["payload"]),
        )
    ]
    messages = [message]
    for case in poison(now):
        messages.append(case.message)
        expected.append(
            Expected(
                "dead letter",
                case.what,
                event_id=case.message.event_id,
                stage=case.stage,
                error=case.error,
            )
        )
    client = publisher_client()
    client.publish(
        topic=topic_path(project, TOPIC),
        messages=[
            {"data": message.data, "attributes": dict(message.attributes)} for message in messages
        ],
        timeout=_SECONDS,
        retry=None,
    )
    return tuple(expected)
