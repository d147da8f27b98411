"""ReadMessages on DirectRunner: an unbounded splittable DoFn over the process's puller.

A bundle is one `take`. Its messages are acknowledged in the bundle finalizer, which the engine
calls once the whole fused stage is done: rows appended, dead letters published. So nothing may
stand between this step and those that breaks the fusion (a GroupByKey, a Reshuffle, state, a
Flatten): a test looks at the stages.

A stretch ends after `STRETCH_BUNDLES` bundles, when the process is told to stop, or once the
subscription has been empty for long enough: the read claims the end of its restriction and
returns without deferring.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.io.restriction_trackers import OffsetRange, OffsetRestrictionTracker
from apache_beam.metrics import Metrics
from apache_beam.utils.timestamp import Duration

from pipeline import resident
from pipeline.pull import Puller
from schemas.message import Message

STRETCH_BUNDLES = 500
"""FnApiRunner keeps some 21 KB for each bundle until the run ends."""

_LONGEST_TAKE = 5.0


def puller(subscription: str) -> Puller:
    """The process's puller of a subscription, started at the first call."""

    def make() -> Puller:
        from schemas import live  # noqa: PLC0415 - loads cloud clients

        made = Puller(live.subscriber_client(), subscription)
        made.start()
        resident.on_stop(made.wake)
        return made

    return resident.resident(puller_key(subscription), make, Puller.close)


def puller_key(subscription: str) -> tuple[str, str]:
    """By what the process knows the puller of a subscription."""
    return ("puller", subscription)


class _Bundles(beam.RestrictionProvider):
    """The restriction: positions are bundles of one stretch."""

    def initial_restriction(self, element: str) -> OffsetRange:  # noqa: ARG002
        return OffsetRange(0, STRETCH_BUNDLES)

    def create_tracker(self, restriction: OffsetRange) -> OffsetRestrictionTracker:
        return OffsetRestrictionTracker(restriction)

    def restriction_size(self, element: str, restriction: OffsetRange) -> float:  # noqa: ARG002
        return float(restriction.size())

    def split(self, element: str, restriction: OffsetRange) -> Iterable[OffsetRange]:  # noqa: ARG002
        return (restriction,)


class PullMessages(beam.DoFn):
    """From the name of a subscription to its messages.

    Args:
        stop_when_idle: Seconds of an empty subscription after which the read ends; None: never.
    """

    def __init__(self, stop_when_idle: float | None) -> None:
        self._stop_when_idle = stop_when_idle
        self._messages = Metrics.counter("read", "messages")
        self._bytes = Metrics.counter("read", "bytes")
        self._bundles = Metrics.counter("read", "bundles")
        self._waits = Metrics.counter("outage", "waits_pubsub")

    @beam.DoFn.unbounded_per_element()
    def process(
        self,
        subscription: str,
        finalizer: Any = beam.DoFn.BundleFinalizerParam,
        tracker: Any = beam.DoFn.RestrictionParam(_Bundles()),
    ) -> Iterable[Message]:
        """Yields the messages of one bundle and defers the rest of the stretch."""
        source = puller(subscription)
        position = tracker.current_restriction().start
        if resident.stopping.is_set() or not tracker.try_claim(position):
            tracker.try_claim(STRETCH_BUNDLES)
            return
        self._bundles.inc()
        with resident.reporting():
            batch = source.take(self._patience())
        self._waits.inc(resident.growth(("waits", subscription), source.waits))
        if batch:
            finalizer.register(partial(source.acknowledge, batch))
            self._messages.inc(len(batch))
            self._bytes.inc(sum(len(pulled.message.data) for pulled in batch))
            for pulled in batch:
                yield pulled.message
        elif self._stop_when_idle is not None and source.idle_seconds() >= self._stop_when_idle:
            resident.stopping.set()
        if resident.stopping.is_set():
            tracker.try_claim(STRETCH_BUNDLES)
        else:
            tracker.defer_remainder(Duration(0))

    def _patience(self) -> float:
        if self._stop_when_idle is None:
            return _LONGEST_TAKE
        return min(_LONGEST_TAKE, max(self._stop_when_idle / 4, 0.05))


class ReadSubscription(beam.PTransform):
    """Reads Messages from a Pub/Sub subscription; acknowledged after the write.

    Args:
        subscription: Full name.
        stop_when_idle: Seconds of an empty subscription after which the read ends.
    """

    def __init__(self, subscription: str, stop_when_idle: float | None) -> None:
        super().__init__()
        self._subscription = subscription
        self._stop_when_idle = stop_when_idle

    def expand(self, root: Any) -> Any:
        """PBegin to PCollection[Message]."""
        return (
            root
            | "Subscription" >> beam.Create([self._subscription], reshuffle=False)
            | "Pull" >> beam.ParDo(PullMessages(self._stop_when_idle))
        )
