"""Records the messages of a subscription as JSONL (schemas/recorded.py), for tests and replays."""

import time
from collections.abc import Iterator
from pathlib import Path

from google.pubsub_v1.services.subscriber import SubscriberClient

from local.pull import pull
from schemas.message import Message
from schemas.recorded import to_line

_EVERY = 0.1


def record(
    client: SubscriberClient, project: str, subscription: str, file: Path, idle: float = 5.0
) -> int:
    """Takes messages until none has come for a while, and writes them in the order they came.

    They are acknowledged: record from a subscription that nobody else reads. The file is written
    whole at the end, so a recording that breaks off leaves none behind.

    Args:
        client: Aimed at Pub/Sub or its emulator.
        project: The subscription's project.
        subscription: Its id.
        file: Where to; one that is there is replaced.
        idle: Seconds without a message after which the recording is done.

    Returns:
        How many messages it holds.
    """
    messages = sorted(
        _until_idle(client, project, subscription, idle),
        key=lambda message: (message.publish_time, _number(message.message_id)),
    )
    fresh = file.with_name(f"{file.name}.part")
    fresh.write_text("".join(f"{to_line(message)}\n" for message in messages), "utf-8")
    fresh.replace(file)
    return len(messages)


def _until_idle(
    client: SubscriberClient, project: str, subscription: str, idle: float
) -> Iterator[Message]:
    last = time.monotonic()
    while time.monotonic() - last < idle:
        messages = pull(client, project, subscription)
        if messages:
            last = time.monotonic()
            yield from messages
        else:
            time.sleep(_EVERY)


def _number(message_id: str) -> int:
    # Pub/Sub's ids are decimal and, from one server, in order; nothing rests on it.
    return int(message_id) if message_id.isdecimal() else 0
