"""DecodeEvents: messages to events."""

from typing import Any

import apache_beam as beam

from schemas.event import Event, RestoredRow, Undecodable, decode_message
from schemas.message import Message
from transforms.attempt import FAILED, Attempt

EVENTS = "events"


class DecodeEvents(beam.PTransform):
    """Decodes each Message into an Event.

    Outputs: `events` (Event), and `failed` (Failure of stage `decode`) for what is no event.
    """

    def expand(self, messages: Any) -> Any:
        """PCollection[Message] to a DoOutputsTuple of `events` and `failed`."""
        step = Attempt("decode", decode_message, (Undecodable,), _message)
        return messages | "Decode" >> beam.ParDo(step).with_outputs(FAILED, main=EVENTS)


def _message(message: Message) -> Message:
    return message


def message_of_event(event: Event | RestoredRow) -> Message:
    """The message that the event came in."""
    return event.message
