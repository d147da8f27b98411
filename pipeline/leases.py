"""Leases on Pub/Sub messages: extended while a message is held, ended by an acknowledgement.

One thread for both. Acknowledgements are queued and sent in batches, and sent again for as long
as Pub/Sub is away: a message whose rows BigQuery has must not come back only because its
acknowledgement met an outage.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from google.api_core import exceptions

from pipeline.outages import TRANSIENT
from schemas.problem import Problem, ProblemsFound

LEASE_SECONDS = 20
"""How long Pub/Sub leaves a message to us after each extension (10 to 600 s)."""

_EXTEND_EVERY = LEASE_SECONDS / 4
# https://cloud.google.com/pubsub/quotas: a request is at most 512 KiB; an ack id is some 200 bytes.
_IDS_A_REQUEST = 1_000
_DEADLINE = 10.0

_LOST: dict[type[Exception], tuple[str, str]] = {
    exceptions.NotFound: (
        "is not there any more",
        "it was deleted: create it again on the issues topic, then start the job again",
    ),
    exceptions.PermissionDenied: (
        "is closed to this account",
        "grant it roles/pubsub.subscriber on the subscription",
    ),
    exceptions.Unauthenticated: (
        "refuses the credentials",
        "run gcloud auth application-default login, or give the job a service account",
    ),
}
"""What ends the use of a subscription until somebody mends it: what is wrong, and what to do."""

_log = logging.getLogger(__name__)


def explained(error: Exception, subscription: str) -> Exception:
    """The error as ProblemsFound where somebody must do something about it, else as it is.

    Args:
        error: What a call about the subscription met.
        subscription: Its full name.
    """
    for lost, (what, remedy) in _LOST.items():
        if isinstance(error, lost):
            where = f"--input_subscription {subscription}"
            return ProblemsFound([Problem(where, f"{what}: {error}", remedy)])
    return error


class Leases:
    """Holds the leases of one subscription.

    Args:
        client: A `SubscriberClient`.
        subscription: Its full name.
        clock: Monotonic seconds.
        changed: Called by the thread, which holds no lock then, when fewer acknowledgements are
            pending, and when `error` is there.

    Attributes:
        waits: How many attempts an outage had repeated.
        error: What ended the thread: the subscription or the right to it is gone (ProblemsFound),
            or something that nobody foresaw.
    """

    def __init__(
        self,
        client: Any,
        subscription: str,
        clock: Callable[[], float] = time.monotonic,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._client = client
        self._subscription = subscription
        self._clock = clock
        self._changed = changed
        self._condition = threading.Condition()
        self._held: dict[str, float] = {}
        self._acks: list[str] = []
        self._refused = 0
        self._closed = False
        self.waits = 0
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def hold(self, ack_ids: Iterable[str]) -> None:
        """Takes on messages that have just been delivered; the first extension is soon."""
        due = self._clock() + _EXTEND_EVERY
        with self._condition:
            self._held.update(dict.fromkeys(ack_ids, due))

    def acknowledge(self, ack_ids: Iterable[str]) -> None:
        """Queues acknowledgements; returns at once."""
        with self._condition:
            for ack_id in ack_ids:
                self._held.pop(ack_id, None)
                self._acks.append(ack_id)
            self._condition.notify_all()

    def give_back(self, ack_ids: Iterable[str]) -> None:
        """Lets Pub/Sub deliver messages again at once, as well as can be; they are not ours now."""
        ids = list(ack_ids)
        with self._condition:
            for ack_id in ids:
                self._held.pop(ack_id, None)
        try:
            for start in range(0, len(ids), _IDS_A_REQUEST):
                self._modify(ids[start : start + _IDS_A_REQUEST], 0)
        except (*TRANSIENT, *_LOST) as error:
            _log.warning("%d messages come back only after their lease: %s", len(ids), error)

    def pending(self) -> int:
        """How many acknowledgements Pub/Sub does not have yet."""
        with self._condition:
            return len(self._acks)

    def drain(self, deadline: float) -> int:
        """Waits until Pub/Sub has every acknowledgement, at most `deadline` seconds.

        Returns:
            How many it does not have: those not sent, and those it has ever refused.
        """
        with self._condition:
            self._condition.wait_for(lambda: not self._acks or self.error, deadline)
            return len(self._acks) + self._refused

    def close(self) -> None:
        """Ends the thread; what is still held is delivered again after its lease."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        self._thread.join(_DEADLINE * 2)

    def _run(self) -> None:
        try:
            self._serve()
        except Exception as error:  # noqa: BLE001 - raised to the bundle by `Puller.take`
            with self._condition:
                self.error = explained(error, self._subscription)
                self._condition.notify_all()
            self._changed()

    def _serve(self) -> None:
        pause = 0.0
        while True:
            with self._condition:
                if pause:
                    # The whole pause: an extension that is due would have it tried at once, and
                    # again, for as long as Pub/Sub is away.
                    self._condition.wait_for(lambda: self._closed, pause)
                elif not self._acks and not self._closed:
                    self._condition.wait(self._until_due())
                if self._closed:
                    return
            try:
                self._extend()
                self._acknowledge()
                pause = 0.0
            except TRANSIENT as error:
                pause = min(max(pause * 2, 0.2), 5.0)
                self.waits += 1
                if self.waits % 20 == 1:
                    _log.warning("waiting for Pub/Sub to take acknowledgements: %s", error)

    def _until_due(self) -> float:
        if not self._held:
            return _EXTEND_EVERY
        # Due times are in the order of the dict, since extending reinserts.
        return max(next(iter(self._held.values())) - self._clock(), 0.0)

    def _extend(self) -> None:
        now = self._clock()
        with self._condition:
            due = [ack_id for ack_id, at in self._held.items() if at <= now]
        for start in range(0, len(due), _IDS_A_REQUEST):
            part = due[start : start + _IDS_A_REQUEST]
            self._modify(part, LEASE_SECONDS)
            with self._condition:
                for ack_id in part:
                    if self._held.pop(ack_id, None) is not None:
                        self._held[ack_id] = now + _EXTEND_EVERY

    def _acknowledge(self) -> None:
        """Sends what is queued now, and no more: what comes meanwhile must not hold up leases."""
        with self._condition:
            queued = self._acks[:]
        for start in range(0, len(queued), _IDS_A_REQUEST):
            part = queued[start : start + _IDS_A_REQUEST]
            refused = 0
            try:
                self._client.acknowledge(
                    subscription=self._subscription, ack_ids=part, timeout=_DEADLINE, retry=None
                )
            except (*TRANSIENT, *_LOST):
                raise
            except exceptions.GoogleAPICallError:
                # Refused as such: the messages come back, and are dropped as duplicates.
                _log.exception("Pub/Sub refused to acknowledge %d messages", len(part))
                refused = len(part)
            with self._condition:
                del self._acks[: len(part)]
                self._refused += refused
                self._condition.notify_all()
            self._changed()

    def _modify(self, ack_ids: list[str], seconds: int) -> None:
        if not ack_ids:
            return
        try:
            self._client.modify_ack_deadline(
                subscription=self._subscription,
                ack_ids=ack_ids,
                ack_deadline_seconds=seconds,
                timeout=_DEADLINE,
                retry=None,
            )
        except (*TRANSIENT, *_LOST):
            raise
        except exceptions.GoogleAPICallError:
            _log.exception("Pub/Sub refused to extend %d leases", len(ack_ids))
