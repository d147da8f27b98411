"""Pub/Sub as the publisher's broker.

Requests in flight share publish calls: while a few calls are on their way, what arrives waits and
goes out together with the next. Measured on the emulator with a bare handler, 64 connections, one
process: one call a request 1,576 requests/s, Google's batching client 2,187, this way 4,294.

What waits is bounded by whoever calls (`room`): a request that is answered, or whose sender is
gone, takes what it has waiting with it. A call's deadline is that of its youngest message, so none
is sent again after its request was answered, and none fails because an older one shared its call.
"""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import grpc.aio
from google.api_core import exceptions
from google.api_core.gapic_v1.routing_header import to_grpc_metadata
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.pubsub_v1.services.publisher import PublisherAsyncClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport
from google.pubsub_v1.types import PublishRequest, PublishResponse

from publisher.broker import CLOSE_SECONDS, CLOSED, NO_ACK, BrokerError
from publisher.settings import Settings
from publisher.topic import Topic, named
from schemas.message import Message
from schemas.problem import Problem, ProblemsFound

# What passes by itself; all else is refused at once. Google's own client has the same list.
TRANSIENT = frozenset(
    (
        grpc.StatusCode.ABORTED,  # the server gave up in favour of another call
        grpc.StatusCode.CANCELLED,  # a connection was closed under the call
        grpc.StatusCode.DEADLINE_EXCEEDED,  # the server's own deadline
        grpc.StatusCode.INTERNAL,  # seen while servers are replaced
        grpc.StatusCode.RESOURCE_EXHAUSTED,  # a quota a minute long, or a server under load
        grpc.StatusCode.UNAVAILABLE,  # down, moving, unreachable, or no token to be had
        grpc.StatusCode.UNKNOWN,  # a proxy between
    )
)
# Seconds before a call is tried again: doubled each time up to the longest, and spread by a half,
# so that instances do not come back in step.
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0

# A publish request: https://cloud.google.com/pubsub/quotas#resource_limits. The bytes leave room
# for the topic's name.
MAX_CALL_MESSAGES = 1_000
MAX_CALL_BYTES = 9_900_000

# Enough that the next call is on its way while one is waited for.
CALLS_IN_FLIGHT = 4
# Seconds between the beginnings of two calls, unless none is in flight: what a call costs by itself
# is shared by more messages then. Far below what Pub/Sub takes for an ack.
SPACING = 0.004
# Of the loop's timers, in seconds.
_TICK = 0.001

_METHOD = "/google.pubsub.v1.Publisher/Publish"
_OPTIONS = (
    # A publish request is up to 10 MB; gRPC's default is 4 MB.
    ("grpc.max_send_message_length", -1),
    # A peer that vanished without a word is noticed within 40 s.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # After an outage the first new connection is tried within a second, not within 2 minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)

# Told of every publish call: the outcome ("OK", "UNAVAILABLE", ...: gRPC's status codes), its
# seconds, and how many messages were in it.
Observe = Callable[[str, float, int], None]

_Request = PublishRequest.pb()
_parse_response = PublishResponse.pb().FromString


class _Asked:
    """One request, waiting for its acks.

    Its outcome is None, or why it failed and the code. No exception: one that is raised where its
    future is waited for is a cycle with the message in it, which only the collector would free.
    """

    __slots__ = ("last", "left", "outcome", "until")

    def __init__(
        self, outcome: asyncio.Future[tuple[str, str] | None], left: int, until: float
    ) -> None:
        self.outcome = outcome
        self.left = left
        self.until = until  # by the loop's clock
        self.last = ""  # what the last call that failed said

    def acked(self) -> None:
        self.left -= 1
        if not self.left and not self.outcome.done():
            self.outcome.set_result(None)

    def fail(self, reason: str, code: str) -> None:
        if not self.outcome.done():
            self.outcome.set_result((reason, code))

    def expire(self, deadline: float) -> None:
        self.fail(f"no ack within {deadline:g} s{self.last}", NO_ACK)


class _Waiting:
    """A message of a request, encoded."""

    __slots__ = ("asked", "encoded")

    def __init__(self, message: Message, asked: _Asked) -> None:
        self.asked = asked
        # As a publish request of its own: put one after the other, such requests are one request
        # (https://protobuf.dev/programming-guides/encoding/#last-one-wins), so nothing is encoded
        # or copied twice.
        encoded = {"data": message.data, "attributes": message.attributes}
        self.encoded: bytes = _Request(messages=[encoded]).SerializeToString()


class PubSubBroker:
    """The topic. Belongs to the event loop that made it.

    Args:
        client: Google's client, for what is asked seldom; closed with the broker.
        channel: The channel for publish calls; closed with the broker. Not the client's: that one
            passes each call through an interceptor.
        topic: Full name of the topic.
        deadline: Seconds that `publish` waits, further tries included.
        observe: Told of every publish call.
    """

    def __init__(
        self,
        client: PublisherAsyncClient,
        channel: grpc.aio.Channel,
        topic: str,
        deadline: float,
        observe: Observe | None = None,
    ) -> None:
        self._client = client
        self._channel = channel
        self._topic = topic
        self._deadline = deadline
        self._observe = observe
        self._send = channel.unary_unary(_METHOD, response_deserializer=_parse_response)
        self._metadata = (to_grpc_metadata((("topic", topic),)),)
        self._named: bytes = _Request(topic=topic).SerializeToString()
        # In order of arrival, and what is abandoned is taken out without a search.
        self._waiting: OrderedDict[_Waiting, None] = OrderedDict()
        # Each waits as long as the others, so they expire in order of arrival, and one timer does.
        self._asked: OrderedDict[_Asked, None] = OrderedDict()
        self._expiry: asyncio.TimerHandle | None = None
        self._calls: set[asyncio.Task[None]] = set()
        self._began = 0.0  # the last of them, by the loop's clock
        self._planned: asyncio.Handle | None = None
        self._closed = False
        self._checked = Topic(client, topic)

    async def publish(self, messages: Sequence[Message]) -> None:
        """See `Broker.publish`."""
        if self._closed:
            raise BrokerError("the service is going down", CLOSED)
        if not messages:
            return
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[tuple[str, str] | None] = loop.create_future()
        asked = _Asked(outcome, len(messages), loop.time() + self._deadline)
        waiting = [_Waiting(message, asked) for message in messages]
        for one in waiting:
            self._waiting[one] = None
        self._asked[asked] = None
        if self._expiry is None:
            self._expiry = loop.call_at(asked.until, self._expire)
        self._plan()
        try:
            failed = await outcome
        finally:
            self._asked.pop(asked, None)
            if asked.left:  # failed, or cancelled
                for one in waiting:
                    self._waiting.pop(one, None)
        if failed:
            raise BrokerError(*failed)

    def _expire(self) -> None:
        """Ends each request whose time is over, and comes again for the one that is next."""
        self._expiry = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._asked:
            asked = next(iter(self._asked))
            if asked.until > now + _TICK:
                self._expiry = loop.call_at(asked.until, self._expire)
                break
            del self._asked[asked]
            asked.expire(self._deadline)

    async def check(self) -> None:
        """See `Broker.check`."""
        await self._checked.check()

    async def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """See `Broker.close`.

        Args:
            seconds: How long it waits for what is in flight.
        """
        self._closed = True
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        if self._planned:
            self._planned.cancel()
            self._begin()
        # An ended call is followed by another while something waits.
        while self._calls and (left := until - loop.time()) > 0:
            await asyncio.wait(self._calls, timeout=left)
        for one in self._waiting:
            one.asked.fail("the service is going down", CLOSED)
        self._waiting.clear()
        if self._calls:
            for call in self._calls:
                call.cancel()
            await asyncio.wait(self._calls)
        if self._expiry:
            self._expiry.cancel()
        await self._channel.close()
        await self._client.transport.close()

    def _plan(self) -> None:
        """Has a call begin: in the loop's next turn, so that what arrives in this one shares it."""
        if self._planned or len(self._calls) >= CALLS_IN_FLIGHT:
            return
        loop = asyncio.get_running_loop()
        if self._calls and not self._closed and (due := self._began + SPACING) > loop.time():
            self._planned = loop.call_at(due, self._begin)
        else:
            self._planned = loop.call_soon(self._begin)

    def _begin(self) -> None:
        """Begins a call with what waits."""
        self._planned = None
        batch = self._take()
        if not batch:
            return
        loop = asyncio.get_running_loop()
        self._began = loop.time()
        call = loop.create_task(self._call(batch))
        self._calls.add(call)
        call.add_done_callback(self._ended)
        if self._waiting:
            self._plan()

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        if self._waiting:
            if self._planned and not self._calls:  # nothing is in flight: no reason to wait
                self._planned.cancel()
                self._planned = None
            self._plan()
        if not call.cancelled():
            call.result()  # a fault of this module's is reported by the event loop, never lost

    def _take(self) -> list[_Waiting]:
        """What fits into one call, without those whose request has its answer already."""
        batch: list[_Waiting] = []
        size = 0
        while self._waiting and len(batch) < MAX_CALL_MESSAGES:
            one, _ = self._waiting.popitem(last=False)
            if one.asked.outcome.done():
                continue
            size += len(one.encoded)
            if batch and size > MAX_CALL_BYTES:
                self._waiting[one] = None
                self._waiting.move_to_end(one, last=False)
                break
            batch.append(one)
        return batch

    async def _call(self, batch: list[_Waiting]) -> None:
        """Publishes a batch and tells each message's request what became of it."""
        code = "UNKNOWN"
        reason = "the call ended without an outcome"
        try:
            reason, code = await self._publish(batch)
        except asyncio.CancelledError:
            reason, code = "the service is going down", CLOSED
            raise
        finally:
            # Whatever ends this call, no request hears of an ack that was not given.
            if reason:
                for one in batch:
                    one.asked.fail(reason, code)

    async def _publish(self, batch: list[_Waiting]) -> tuple[str, str]:
        """Publishes a batch; tries again while it may pass and somebody waits for it.

        Returns:
            Why its messages failed, and the code; '' when each request knows already.
        """
        pause = FIRST_PAUSE
        while batch:
            status, reason = await self._try(batch)
            if status is grpc.StatusCode.OK:
                for one in batch:
                    one.asked.acked()
                break
            if status is grpc.StatusCode.INVALID_ARGUMENT and len(batch) > 1:
                # One bad message must not take the others with it: it is looked for by halves.
                half = len(batch) // 2
                await self._call(batch[:half])
                batch = batch[half:]
                continue
            if status not in TRANSIENT:
                return reason, status.name
            for one in batch:
                one.asked.last = f"; the last try: {reason}"
            if batch := _waited_for(batch):
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311  # no secret
                pause = min(2 * pause, LONGEST_PAUSE)
                batch = _waited_for(batch)
        return "", ""

    async def _try(self, batch: Sequence[_Waiting]) -> tuple[grpc.StatusCode, str]:
        """One publish call.

        Returns:
            How it ended, and what was wrong.
        """
        began = asyncio.get_running_loop().time()
        # The youngest's: older ones are answered at their own deadlines meanwhile.
        until = max(one.asked.until for one in batch)
        status, reason = grpc.StatusCode.OK, ""
        try:
            response = await self._send(
                b"".join((self._named, *(one.encoded for one in batch))),
                timeout=max(until - began, 0.0),
                metadata=self._metadata,
            )
            if len(response.message_ids) != len(batch):
                status = grpc.StatusCode.DATA_LOSS
                reason = f"{len(response.message_ids)} acks for {len(batch)} messages"
        except grpc.aio.AioRpcError as error:
            status, reason = error.code(), named(exceptions.from_grpc_error(error))
        if self._observe:
            seconds = asyncio.get_running_loop().time() - began
            self._observe(status.name, seconds, len(batch))
        return status, reason


def open_broker(settings: Settings, observe: Observe | None = None) -> PubSubBroker:
    """The broker that the settings name; called inside the event loop that will use it.

    Opens no connection yet. `schemas.live` is not used: it brings BigQuery's clients, which the
    publisher's image does not have.

    Args:
        settings: Name the topic, the deadline and the emulator.
        observe: Told of every publish call.

    Raises:
        ProblemsFound: There are no credentials for Google Cloud.
    """
    # Two channels of the same options share one connection.
    channels: list[grpc.aio.Channel] = []
    if settings.emulator:
        channels += [
            grpc.aio.insecure_channel(settings.emulator, options=_OPTIONS) for _ in range(2)
        ]
        credentials = AnonymousCredentials()
        transport = PublisherGrpcAsyncIOTransport(channel=channels[0], credentials=credentials)
    else:

        def create(host: str, **kwargs: Any) -> grpc.aio.Channel:
            options = dict(kwargs.pop("options", None) or ()) | dict(_OPTIONS)
            kwargs["options"] = list(options.items())
            channels.extend(
                PublisherGrpcAsyncIOTransport.create_channel(host, **kwargs) for _ in range(2)
            )
            return channels[0]

        try:
            transport = PublisherGrpcAsyncIOTransport(channel=create)
        except GoogleAuthError as error:
            raise ProblemsFound([Problem("credentials", str(error))]) from error
    client = PublisherAsyncClient(transport=transport)
    return PubSubBroker(
        client, channels[1], settings.topic_path, settings.publish_deadline, observe
    )


def _waited_for(batch: list[_Waiting]) -> list[_Waiting]:
    return [one for one in batch if not one.asked.outcome.done()]
