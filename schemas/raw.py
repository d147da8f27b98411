"""The whole message as bytes, for a table's `raw` column, and back.

A serialized `google.pubsub.v1.PubsubMessage`: data, attributes, and the broker's own message_id
and publish_time where it has seen them. Published again, it is the same event.
"""

from functools import cache
from typing import Any

from google.protobuf.message import DecodeError

from schemas.message import Message

_MICROS = 1_000_000


def to_raw(message: Message) -> bytes:
    """Serializes a message; the same message gives the same bytes.

    Raises:
        ValueError: An attribute that UTF-8 cannot carry, so one that no broker has seen.
    """
    made = _type()(data=message.data, message_id=message.message_id)
    made.attributes.update(message.attributes)
    if message.publish_time:
        made.publish_time.seconds = message.publish_time // _MICROS
        made.publish_time.nanos = message.publish_time % _MICROS * 1_000
    serialized: bytes = made.SerializeToString(deterministic=True)
    return serialized


def from_raw(raw: bytes) -> Message:
    """Reads a message back.

    Raises:
        ValueError: The bytes are no PubsubMessage.
    """
    try:
        read = _type().FromString(raw)
    except DecodeError as error:
        raise ValueError(f"no serialized PubsubMessage: {error}") from error
    stamp = read.publish_time
    return Message(
        data=read.data,
        attributes=dict(read.attributes),
        message_id=read.message_id,
        publish_time=stamp.seconds * _MICROS + stamp.nanos // 1_000,
    )


@cache
def _type() -> Any:
    # Only where a table keeps messages: its package loads Pub/Sub's clients.
    from google.pubsub_v1.types import PubsubMessage  # noqa: PLC0415

    return PubsubMessage.pb()
