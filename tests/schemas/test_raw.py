"""The whole message as bytes, and back."""

import pytest
from google.pubsub_v1.types import PubsubMessage
from hypothesis import given

from schemas.raw import from_raw, to_raw
from tests.strategies import messages


@given(messages)
def test_a_message_comes_back_whole(message):
    """Data, attributes, and what the broker gave it."""
    raw = to_raw(message)
    assert from_raw(raw) == message
    assert from_raw(raw).event_id == message.event_id


@given(messages)
def test_the_bytes_are_pubsubs_own_message(message):
    """Any client of Pub/Sub reads them; the same message gives the same bytes."""
    read = PubsubMessage.deserialize(to_raw(message))
    assert (read.data, dict(read.attributes)) == (message.data, message.attributes)
    assert to_raw(message) == to_raw(from_raw(to_raw(message)))


def test_other_bytes_are_refused():
    """With a sentence, not with half a message."""
    with pytest.raises(ValueError, match="no serialized PubsubMessage"):
        from_raw(b"\x0a\xff")
