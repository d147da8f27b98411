"""Pulls messages of one subscription into a bounded queue: the source of the DirectRunner read.

Unary pulls, several at once: each asks for no more than there is room for. A pull waits at the
server until there is a message (Google answers after some 90 s without one, the emulator never),
so an idle subscription costs two calls in two minutes.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
from google.api_core import exceptions
from google.pubsub_v1.types import PullRequest, PullResponse

from pipeline import resident
from pipeline.leases import Leases, explained
from pipeline.outages import TRANSIENT, Backoff, StoppedWaiting
from schemas.message import Message

MAX_HELD_MESSAGES = 8_000
MAX_HELD_BYTES = 64_000_000
"""Flow control: what is queued or in a bundle, data and attributes; of messages also those whose
acknowledgement Pub/Sub does not have yet. Each of the pulls under way asked for what there was room
for by the mean size so far, so where sizes grow, each may add one response above the bytes.
"""

BUNDLE_MESSAGES = 1_000
BUNDLE_BYTES = 8_000_000

_PULLERS = 2
_PULL_MESSAGES = 1_000
_PULL_DEADLINE = 120.0
_OVERHEAD = 200  # of a message's ids and times in the response
_CONNECTED_SECONDS = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pulled:
    """A message as it was delivered, with the id by which it is acknowledged."""

    ack_id: str
    message: Message


class Puller:
    """The process's one source of a subscription's messages.

    Args:
        client: A `SubscriberClient`.
        subscription: Its full name.
        clock: Monotonic seconds.
    """

    def __init__(
        self, client: Any, subscription: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._subscription = subscription
        self._clock = clock
        self.leases = Leases(client, subscription, clock, self.wake)
        self._condition = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._queue: deque[Pulled] = deque()
        self._held: dict[str, int] = {}
        self._held_bytes = 0
        self._asked = 0
        self._mean_bytes = 2_000.0
        self._calls: dict[Any, float] = {}
        self._error: Exception | None = None
        self._closed = False
        self._last_delivery = clock()
        self._away = True
        self._connected = False
        self._failed_at = float("-inf")
        self._waits = 0

    def start(self) -> None:
        """Starts pulling."""
        self.leases.start()
        for i in range(_PULLERS):
            thread = threading.Thread(target=self._pull, name=f"pull-{i}", daemon=True)
            self._threads.append(thread)
            thread.start()

    @property
    def waits(self) -> int:
        """How often pulls, extensions or acknowledgements had to be repeated."""
        return self._waits + self.leases.waits

    def take(self, wait: float) -> list[Pulled]:
        """Takes what is there, at most a bundle; waits for a first message.

        Args:
            wait: Seconds to wait at the most; less when the process is told to stop, and while
                nothing is known of the server, so that the log soon says when there is.

        Raises:
            ProblemsFound: The subscription or the right to it is gone.
            Exception: What else a pull or an acknowledgement met that is no outage.
        """
        with self._condition:
            if not self._connected:
                wait = min(wait, _CONNECTED_SECONDS / 2)
            self._condition.wait_for(
                lambda: self._queue or self._fault() or resident.stopping.is_set(), wait
            )
            if error := self._fault():
                raise error
            self._look_at_calls()
            if resident.stopping.is_set():
                return []
            batch: list[Pulled] = []
            size = 0
            while self._queue and len(batch) < BUNDLE_MESSAGES:
                size += self._held.get(self._queue[0].ack_id, 0)
                if batch and size > BUNDLE_BYTES:
                    break
                batch.append(self._queue.popleft())
            return batch

    def acknowledge(self, batch: list[Pulled]) -> None:
        """Acknowledges what the engine has durably; makes room once Pub/Sub has that."""
        ids = [pulled.ack_id for pulled in batch]
        self.leases.acknowledge(ids)
        self._release(ids)

    def idle_seconds(self) -> float:
        """Seconds since anything was delivered or held; 0 while Pub/Sub is away.

        A pull that has waited for a second without an error is taken for a connection: an
        empty one is answered only after a minute or more.
        """
        with self._condition:
            self._look_at_calls()
            if self._queue or self._held or self._away or self.leases.pending():
                self._last_delivery = self._clock()
            return self._clock() - self._last_delivery

    def wake(self) -> None:
        """Makes `take` look again whether to stop, and the pulls whether there is room."""
        with self._condition:
            self._condition.notify_all()

    def drain(self, deadline: float = 10.0) -> int:
        """Waits for the acknowledgements; how many Pub/Sub does not have after `deadline` s.

        Raises:
            ProblemsFound: The subscription or the right to it is gone.
            Exception: What else ended the thread that sends them.
        """
        left = self.leases.drain(deadline)
        if self.leases.error:
            raise self.leases.error
        return left

    def close(self, deadline: float = 10.0) -> None:
        """Stops pulling, gives back what was not taken, sends the last acknowledgements."""
        with self._condition:
            self._closed = True
            calls = list(self._calls)
            rest = [pulled.ack_id for pulled in self._queue]
            self._queue.clear()
            self._condition.notify_all()
        for call in calls:
            call.cancel()
        self.leases.give_back(rest)
        for thread in self._threads:
            thread.join(deadline)  # gives back what came after all
        self.leases.drain(deadline)
        self.leases.close()

    def _release(self, ids: list[str]) -> None:
        with self._condition:
            for ack_id in ids:
                self._held_bytes -= self._held.pop(ack_id, 0)
            self._last_delivery = self._clock()
            self._condition.notify_all()

    def _room(self) -> int:
        """How many messages a pull may ask for now, what others have asked for left out."""
        by_bytes = int((MAX_HELD_BYTES - self._held_bytes) / self._mean_bytes)
        held = len(self._held) + self.leases.pending()
        room = min(MAX_HELD_MESSAGES - held, by_bytes) - self._asked
        return min(room, _PULL_MESSAGES)

    def _fault(self) -> Exception | None:
        return self._error or self.leases.error

    def _look_at_calls(self) -> None:
        """Takes a pull that has waited at the server for a while for a connection."""
        known = self._clock() - _CONNECTED_SECONDS
        if any(self._failed_at < since < known for since in self._calls.values()):
            self._reached()

    def _reached(self) -> None:
        self._away = False
        if not self._connected:
            self._connected = True
            _log.info("connected to %s", self._subscription)

    def _pull(self) -> None:
        backoff = Backoff("Pub/Sub", wait=self._wait, repeated=self._repeated)
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._closed or self._room() > 0)
                if self._closed:
                    return
                asked = self._room()
                self._asked += asked
            try:
                received = self._call(asked)
                self._deliver(received)
                backoff.done()
            except TRANSIENT as error:
                if self._closed:
                    return
                try:
                    backoff.pause(error)
                except StoppedWaiting:
                    return
            except Exception as error:  # noqa: BLE001 - raised to the bundle by `take`
                with self._condition:
                    self._error = explained(error, self._subscription)
                    self._condition.notify_all()
                return
            finally:
                with self._condition:
                    self._asked -= asked

    def _call(self, asked: int) -> Any:
        request = PullRequest(subscription=self._subscription, max_messages=asked)
        # The transport's own call, since only a future can be cancelled when the job stops.
        call = self._client.transport.pull.future(
            request,
            timeout=_PULL_DEADLINE,
            metadata=[("x-goog-request-params", f"subscription={self._subscription}")],
        )
        with self._condition:
            self._calls[call] = self._clock()
            if self._closed:
                call.cancel()
        try:
            return PullResponse.pb(call.result()).received_messages
        except grpc.FutureCancelledError as error:
            raise exceptions.Cancelled("the pull was cancelled") from error
        except grpc.RpcError as error:
            failure = exceptions.from_grpc_error(error)
            if isinstance(failure, exceptions.DeadlineExceeded):
                return []  # nothing came for so long: an empty answer, as the service gives itself
            raise failure from error
        finally:
            with self._condition:
                del self._calls[call]

    def _deliver(self, received: Any) -> None:
        batch = [_pulled(item) for item in received]
        self.leases.hold(pulled.ack_id for pulled in batch)
        with self._condition:
            closed = self._closed
            if not closed:
                self._reached()
                self._enqueue(batch)
        if closed:
            self.leases.give_back(pulled.ack_id for pulled in batch)

    def _enqueue(self, batch: list[Pulled]) -> None:
        if not batch:
            return
        for pulled in batch:
            size = _size(pulled.message)
            self._held_bytes += size - self._held.get(pulled.ack_id, 0)
            self._held[pulled.ack_id] = size
            self._mean_bytes += (size + _OVERHEAD - self._mean_bytes) * 0.01
        self._queue.extend(batch)
        self._last_delivery = self._clock()
        self._condition.notify_all()

    def _wait(self, seconds: float) -> bool:
        with self._condition:
            self._away = True
            self._failed_at = self._clock()
            return self._condition.wait_for(lambda: self._closed, seconds)

    def _repeated(self) -> None:
        self._waits += 1


def _size(message: Message) -> int:
    """What a message takes; its attributes in characters, which is cheaper than in bytes."""
    attributes = message.attributes
    return len(message.data) + sum(map(len, attributes)) + sum(map(len, attributes.values()))


def _pulled(item: Any) -> Pulled:
    message = item.message
    stamp = message.publish_time
    return Pulled(
        item.ack_id,
        Message(
            data=message.data,
            attributes=dict(message.attributes),
            message_id=message.message_id,
            publish_time=stamp.seconds * 1_000_000 + stamp.nanos // 1_000,
        ),
    )
