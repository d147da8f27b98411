"""Deduplicate by a runner's own state: the first message of a `dedup_id` within a horizon.

For a runner that keeps state durably and shares it out by key: Dataflow, above the ten minutes that
the read's `id_label` covers. It costs a shuffle of each message and a state entry with a timer for
each key of the horizon; `python -m bench dedup` measures both.

What crosses the shuffle and what is kept are in Beam's standard coders: the key is the id's 16
bytes (`SeenIds.key`), the value a serialized PubsubMessage, the state one boolean. No class of ours
is in them, so a running job can be updated by other code.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

import apache_beam as beam
from apache_beam.coders import BooleanCoder
from apache_beam.metrics import Metrics
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec, TimerSpec, on_timer

from schemas.message import Message
from schemas.raw import from_raw, to_raw
from transforms.deduplicate import SeenIds


class DropRepeats(beam.PTransform):
    """Drops a message whose `dedup_id` came within the horizon, and counts it.

    Args:
        horizon: Seconds.
        clock: Seconds since the Unix epoch.
    """

    def __init__(self, horizon: float, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._horizon = horizon
        self._clock = clock

    def expand(self, messages: Any) -> Any:
        """PCollection[Message] to PCollection[Message]."""
        return (
            messages
            | "Key" >> beam.Map(keyed)
            | "First" >> beam.ParDo(FirstOfKey(self._horizon, self._clock))
        )


def keyed(message: Message) -> tuple[bytes, bytes]:
    """The 16 bytes of a message's `dedup_id`, and the message as bytes."""
    return SeenIds.key(message.dedup_id), to_raw(message)


class FirstOfKey(beam.DoFn):
    """From keyed bytes to the first Message of each key within the horizon.

    The horizon counts from when the first came here, as `id_label` counts it, not from when it was
    published: a message that comes late, after an outage or a seek of the subscription, is known
    for as long as any other.

    The timer that forgets a key is one of event time, set to that time. The watermark never passes
    the present, so a key is known for the horizon at least, and longer by as much as the watermark
    lags. A timer of processing time would keep the output's watermark at its message's time until
    it fires (Python's `OutputTimer.set` cannot be told otherwise, as Java's `Deduplicate` tells
    it), so that the job would seem a horizon late, and a drain, which ends when all watermarks have
    reached infinity, would take a horizon. A timer of event time fires when a drain begins.

    Args:
        horizon: Seconds.
        clock: Seconds since the Unix epoch.
    """

    SEEN = ReadModifyWriteStateSpec("seen", BooleanCoder())
    EXPIRY = TimerSpec("expiry", TimeDomain.WATERMARK)

    def __init__(self, horizon: float, clock: Callable[[], float] = time.time) -> None:
        self._horizon = horizon
        self._clock = clock
        self._dropped = Metrics.counter("deduplicate", "dropped")

    def process(
        self,
        element: tuple[bytes, bytes],
        seen: Any = beam.DoFn.StateParam(SEEN),
        expiry: Any = beam.DoFn.TimerParam(EXPIRY),
    ) -> Iterable[Message]:
        """Yields the first message of its key."""
        if seen.read():
            self._dropped.inc()
            return
        seen.write(True)
        expiry.set(self._clock() + self._horizon)
        yield from_raw(element[1])

    @on_timer(EXPIRY)
    def forget(self, seen: Any = beam.DoFn.StateParam(SEEN)) -> None:
        """Clears the key's state."""
        seen.clear()
