"""Load for tests and benches: Firestore changes made up in bulk, straight onto the topic."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from google.api_core.exceptions import DeadlineExceeded, ServiceUnavailable
from google.api_core.retry import Retry, if_exception_type
from google.pubsub_v1.services.publisher import PublisherClient
from google.pubsub_v1.types import PubsubMessage

from schemas.firestore import DocumentEventData
from schemas.message import (
    CE_ID,
    CE_SOURCE,
    CE_SPECVERSION,
    CE_TIME,
    CE_TYPE,
    CONTENT_TYPE,
    DEDUP_ID,
    EVENT_ID,
    Message,
    event_id_of,
)
from schemas.times import format_micros, now_micros

SOURCE = "//firestore.googleapis.com/projects/demo-project/databases/(default)"
_BATCH = 500
_SECONDS = 20.0
# How long a batch is sent again while Pub/Sub is out of reach or slow; the client's own retry
# goes on for ten minutes. A batch whose answer was lost is published twice, under equal ids.
_PATIENCE_SECONDS = 60.0
_TRANSIENT = if_exception_type(ServiceUnavailable, DeadlineExceeded)
_WORDS = ("Login fails", "Coffee machine", "Slow report", "Zürich 東京", "Broken link", "Timeout")


def change(number: int, run: str = "load") -> Message:
    """An update of a document with 20 fields, old and new value: some 1.6 KB.

    Every column that the shipped table declares is filled, but for `issue`, which is a manual
    issue's.

    Args:
        number: Which one; the document, its text and its numbers depend on it.
        run: Part of its id, so that two runs never share an event.
    """
    event = DocumentEventData()
    for side, status in ((event.value, "closed"), (event.old_value, "open")):
        side.name = f"projects/demo-project/databases/(default)/documents/issues/load-{number}"
        side.create_time.seconds = 1_760_000_000
        side.update_time.seconds = 1_760_000_000 + number
        fields = side.fields
        fields["title"].string_value = f"{_WORDS[number % len(_WORDS)]} {number}"
        fields["description"].string_value = f"It happened {number} times. " * 6
        fields["priority"].string_value = f"P{number % 5}"
        fields["status"].string_value = status
        fields["assignee"].string_value = f"person-{number % 97}"
        fields["votes"].integer_value = number
        fields["estimate"].double_value = number / 8
        fields["blocked"].boolean_value = number % 3 == 0
        fields["due_at"].timestamp_value.seconds = 1_800_000_000 + number
        for label in ("web", "auth", f"label-{number % 11}"):
            fields["labels"].array_value.values.add().string_value = label
        reporter = fields["reporter"].map_value.fields
        reporter["name"].string_value = f"Reporter {number % 31}"
        reporter["email"].string_value = f"reporter-{number % 31}@example.com"
        fields["environment"].map_value.fields["os"].string_value = "linux"
        fields["where"].geo_point_value.latitude = 47.5
        fields["parent"].reference_value = side.name
        for i in range(6):
            fields[f"extra_{i}"].string_value = f"value {i} of {number}"
    event.update_mask.field_paths.append("status")
    id_ = f"{run}-{number}"
    event_id = event_id_of(SOURCE, id_)
    return Message(
        data=event.SerializeToString(deterministic=True),
        attributes={
            CE_SPECVERSION: "1.0",
            CE_ID: id_,
            CE_SOURCE: SOURCE,
            CE_TYPE: "google.cloud.firestore.document.v1.updated",
            CE_TIME: format_micros(now_micros()),
            CONTENT_TYPE: "application/protobuf",
            EVENT_ID: event_id,
            DEDUP_ID: event_id,
        },
    )


def changes(count: int, run: str = "load") -> Iterator[Message]:
    """So many changes, each of a document of its own."""
    return (change(number, run) for number in range(count))


def publish(
    client: PublisherClient,
    topic: str,
    messages: Iterable[Message],
    *,
    rate: float = 0.0,
    published: Callable[[Sequence[Message]], None] = lambda _: None,
) -> int:
    """Publishes messages in batches, at a rate if one is given.

    Args:
        client: A `PublisherClient`.
        topic: Full name.
        messages: What to publish.
        rate: Messages a second, in batches of a twentieth of it; 0 for as fast as it goes.
        published: Told of each batch that the broker has.

    Returns:
        How many were published.

    Raises:
        RetryError: Pub/Sub did not take a batch for a minute.
    """
    send = Retry(_TRANSIENT, initial=0.1, maximum=2.0, timeout=_PATIENCE_SECONDS)(client.publish)
    size = max(int(rate / 20), 1) if rate else _BATCH
    began = time.monotonic()
    count = 0
    for batch in _batches(messages, size):
        if rate:
            time.sleep(max(began + count / rate - time.monotonic(), 0.0))
        send(
            topic=topic,
            messages=[
                PubsubMessage(data=message.data, attributes=dict(message.attributes))
                for message in batch
            ],
            timeout=_SECONDS,
            retry=None,
        )
        count += len(batch)
        published(batch)
    return count


def _batches(messages: Iterable[Message], size: int) -> Iterator[list[Message]]:
    batch: list[Message] = []
    for message in messages:
        batch.append(message)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
