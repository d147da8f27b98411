"""Records the messages of a subscription as JSONL (schemas/recorded.py), for tests and replays."""

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from google.pubsub_v1.services.subscriber import SubscriberClient

from local.pull import acknowledge, pull
from schemas.message import Message
from schemas.recorded import from_line, to_line

_EVERY = 0.1


def record(
    client: SubscriberClient, project: str, subscription: str, file: Path, idle: float = 5.0
) -> int:
    """Takes messages until none has come for a while, and writes them in the order they came.

    They are acknowledged: record from a subscription that nobody else reads. Each batch is on
    disk before it is acknowledged, in `FILE.part`; a recording that breaks off leaves that file
    behind, with what Pub/Sub may no longer have.

    Args:
        client: Aimed at Pub/Sub or its emulator.
        project: The subscription's project.
        subscription: Its id.
        file: Where to; one that is there is replaced at the end.
        idle: Seconds without a message after which the recording is done.

    Returns:
        How many messages it holds.

    Raises:
        FileExistsError: An earlier recording into this file broke off; its part is not touched.
    """
    part = file.with_name(f"{file.name}.part")
    with part.open("x", encoding="utf-8") as output:
        _take(client, project, subscription, output, idle)
    with part.open(encoding="utf-8") as lines:
        # A lease that ran out while its batch was written is handed out, and recorded, again.
        messages = {_order(message): message for message in map(from_line, lines)}
    ordered = file.with_name(f"{file.name}.sorted")
    with ordered.open("w", encoding="utf-8") as output:
        _write(output, (messages[key] for key in sorted(messages)))
    ordered.replace(file)
    part.unlink()
    return len(messages)


def _take(
    client: SubscriberClient, project: str, subscription: str, output: IO[str], idle: float
) -> None:
    last = time.monotonic()
    while time.monotonic() - last < idle:
        pulled = pull(client, project, subscription)
        if pulled.messages:
            _write(output, pulled.messages)
            acknowledge(client, pulled)
            last = time.monotonic()
        else:
            time.sleep(_EVERY)


def _write(output: IO[str], messages: Iterable[Message]) -> None:
    """Writes them and waits until the disk has them."""
    output.writelines(f"{to_line(message)}\n" for message in messages)
    output.flush()
    os.fsync(output.fileno())


def _order(message: Message) -> tuple[int, int, str]:
    # Pub/Sub's ids are decimal and, from one server, in order; no more than the order rests on it.
    id_ = message.message_id
    return message.publish_time, int(id_) if id_.isdecimal() else 0, id_
