"""The broker in memory keeps the real one's contract; the real one's bookkeeping, by itself.

The real one speaks to a server of gRPC here, whose every answer is the test's: the emulator is
never late, and refuses nothing.
"""

import asyncio
import gc
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain

import grpc.aio
import pytest
from google.iam.v1.iam_policy_pb2 import TestIamPermissionsRequest as PermissionsRequest
from google.iam.v1.iam_policy_pb2 import TestIamPermissionsResponse as PermissionsResponse
from google.pubsub_v1 import types
from grpc import StatusCode

from publisher.broker import CLOSED, NO_ACK, BrokerError
from publisher.pubsub import CALLS_IN_FLIGHT, SPACING, TRANSIENT, open_broker
from publisher.settings import Settings
from schemas.message import Message
from tests.contract.broker_contract import BrokerContract, MemoryBroker

SECONDS = 20


class Stage:
    @staticmethod
    def broker(**kwargs):
        return MemoryBroker(**kwargs)

    @staticmethod
    async def received(broker, _count):
        return broker.messages


class TestMemoryBroker(BrokerContract):
    @pytest.fixture
    def stage(self):
        return Stage()


@dataclass
class Server:
    """Pub/Sub's answers about one topic, over gRPC: the emulator knows no permissions or pages.

    Args:
        permissions: What the caller may do.
        pages: The topic's subscriptions, page by page.
        error: What the question for permissions is answered with, instead.
        statuses: What publish calls are answered with, one after the other; then OK.
        bad: Data that no call may carry.
        acks: How many acks a call is answered with; all by default.
    """

    permissions: set[str] = field(default_factory=set)
    pages: list[list[str]] = field(default_factory=list)
    error: grpc.StatusCode | None = None
    statuses: list[grpc.StatusCode] = field(default_factory=list)
    bad: frozenset[bytes] = frozenset()
    acks: int | None = None
    asked: list[str] = field(default_factory=list)
    calls: list[list[bytes]] = field(default_factory=list)
    remaining: list[float] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    another: asyncio.Condition = field(default_factory=asyncio.Condition)

    def __post_init__(self):
        self.open.set()

    async def publish(self, request, context):
        assert request.topic == TOPIC
        metadata = dict(context.invocation_metadata())
        assert metadata["x-goog-request-params"] == f"topic={TOPIC}"
        data = [message.data for message in request.messages]
        self.calls.append(data)
        self.remaining.append(context.time_remaining())
        async with self.another:
            self.another.notify_all()
        await self.open.wait()
        if self.statuses and (status := self.statuses.pop(0)) is not StatusCode.OK:
            await context.abort(status, "says the test")
        if self.bad.intersection(data):
            await context.abort(StatusCode.INVALID_ARGUMENT, "one of them is bad")
        count = len(data) if self.acks is None else self.acks
        return types.PublishResponse(message_ids=[str(n) for n in range(count)])

    async def called(self, count):
        """Waits for so many publish calls."""
        async with asyncio.timeout(SECONDS), self.another:
            await self.another.wait_for(lambda: len(self.calls) >= count)

    async def get_topic(self, request, context):
        await self._hold(context, "pubsub.topics.get")
        return types.Topic(name=request.topic)

    async def list_subscriptions(self, request, context):
        await self._hold(context, "pubsub.topics.get")
        page = int(request.page_token or 0)
        following = str(page + 1) if page + 1 < len(self.pages) else ""
        return types.ListTopicSubscriptionsResponse(
            subscriptions=self.pages[page], next_page_token=following
        )

    async def test_permissions(self, request, context):
        self.asked.append(request.resource)
        if self.error:
            await context.abort(self.error, "not now")
        return PermissionsResponse(permissions=self.permissions & set(request.permissions))

    async def _hold(self, context, permission):
        if permission not in self.permissions:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, f"{permission} is missing")

    @property
    def handlers(self) -> Mapping[str, Mapping[str, grpc.RpcMethodHandler]]:
        def of(answer, request, response):
            return grpc.unary_unary_rpc_method_handler(answer, request, response)

        listing = types.ListTopicSubscriptionsRequest, types.ListTopicSubscriptionsResponse
        return {
            "google.pubsub.v1.Publisher": {
                "Publish": of(
                    self.publish,
                    types.PublishRequest.deserialize,
                    types.PublishResponse.serialize,
                ),
                "GetTopic": of(
                    self.get_topic, types.GetTopicRequest.deserialize, types.Topic.serialize
                ),
                "ListTopicSubscriptions": of(
                    self.list_subscriptions, listing[0].deserialize, listing[1].serialize
                ),
            },
            "google.iam.v1.IAMPolicy": {
                "TestIamPermissions": of(
                    self.test_permissions,
                    PermissionsRequest.FromString,
                    PermissionsResponse.SerializeToString,
                ),
            },
        }


GET, PUBLISH = "pubsub.topics.get", "pubsub.topics.publish"
TOPIC = "projects/demo-project/topics/issues-topic"


@pytest.fixture
async def broker_on():
    """Makes the broker, by Google's own client, on a server."""
    ends = []

    async def make(answers, deadline=10.0, observe=None):
        server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
        for name, methods in answers.handlers.items():
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, methods),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        emulator = f"127.0.0.1:{port}"
        settings = Settings("demo-project", publish_deadline=deadline, emulator=emulator)
        broker = open_broker(settings, observe)
        ends.extend((broker.close(), server.stop(None)))
        return broker

    yield make
    for end in ends:
        await asyncio.wait_for(end, 10)


class TestCalls:
    async def test_shared(self, broker_on):
        """What arrives together goes out together, and few calls are in flight at once."""
        server = Server()
        server.open.clear()
        broker = await broker_on(server)
        messages = [Message(b"%d" % n) for n in range(10_000)]
        publishing = asyncio.create_task(broker.publish(messages))
        await server.called(CALLS_IN_FLIGHT)
        assert [len(call) for call in server.calls] == [1_000] * CALLS_IN_FLIGHT
        server.open.set()
        await publishing
        assert sorted(chain.from_iterable(server.calls)) == sorted(m.data for m in messages)
        assert [len(call) for call in server.calls] == [1_000] * 10

    async def test_spaced(self, broker_on):
        """While calls are in flight the next one waits a little for what comes, and takes it."""
        server = Server()
        server.open.clear()
        broker = await broker_on(server)
        loop = asyncio.get_running_loop()
        sending = [asyncio.create_task(broker.publish([Message(b"first")]))]
        await server.called(1)
        began = loop.time()
        calling = asyncio.create_task(server.called(CALLS_IN_FLIGHT))
        while not calling.done():
            sending.append(asyncio.create_task(broker.publish([Message(b"next")])))
            await asyncio.sleep(0)
        assert loop.time() - began > (CALLS_IN_FLIGHT - 2) * SPACING
        assert all(len(call) > 1 for call in server.calls[1:])
        server.open.set()
        await asyncio.gather(*sending)
        assert sum(map(len, server.calls)) == len(sending)

    async def test_observed(self, broker_on):
        """Every call is told of: how it ended, how long it took, and how many were in it."""
        told = []
        server = Server(statuses=[StatusCode.UNAVAILABLE])
        broker = await broker_on(server, observe=lambda *call: told.append(call))
        await broker.publish([Message(b"1"), Message(b"2")])
        assert [(code, count) for code, _, count in told] == [("UNAVAILABLE", 2), ("OK", 2)]
        assert all(0 < seconds < 10 for _, seconds, _ in told)

    async def test_unforeseen_is_no_ack(self, broker_on):
        """Whatever ends a call, a request never hears of an ack that was not given."""
        reported = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))
        fault = RuntimeError("a bug")

        def observe(*_):
            raise fault

        broker = await broker_on(Server(), observe=observe)
        with pytest.raises(BrokerError, match="without an outcome"):
            await broker.publish([Message(b"x")])
        await asyncio.sleep(0)
        assert reported == [fault]

    async def test_missing_acks(self, broker_on):
        """An answer with fewer acks than messages is none: nobody knows whose are missing."""
        broker = await broker_on(Server(acks=1))
        with pytest.raises(BrokerError, match="1 acks for 2 messages") as refused:
            await broker.publish([Message(b"1"), Message(b"2")])
        assert refused.value.code == "DATA_LOSS"

    async def test_bad_message_is_found(self, broker_on):
        """One message that the broker refuses fails alone, and is found in a few calls."""
        server = Server(bad=frozenset([b"77"]))
        broker = await broker_on(server)
        sent = [[Message(b"%d" % n)] for n in range(1_000)]
        outcomes = await asyncio.gather(*map(broker.publish, sent), return_exceptions=True)
        failed = {n: outcome for n, outcome in enumerate(outcomes) if outcome is not None}
        assert list(failed) == [77]
        assert str(failed[77]) == "InvalidArgument: one of them is bad"
        assert failed[77].code == "INVALID_ARGUMENT"
        assert len(server.calls) <= 1 + 2 * 10  # twice the halvings of a thousand


class TestTries:
    @pytest.mark.parametrize("status", sorted(TRANSIENT, key=str))
    async def test_transient(self, broker_on, status):
        """What passes by itself is tried again, and the request never hears of it."""
        server = Server(statuses=[status, status])
        await (await broker_on(server)).publish([Message(b"x")])
        assert server.calls == [[b"x"]] * 3

    @pytest.mark.parametrize("status", sorted({*StatusCode} - TRANSIENT - {StatusCode.OK}, key=str))
    async def test_permanent(self, broker_on, status):
        """What no other try mends is told at once, by its name."""
        server = Server(statuses=[status])
        broker = await broker_on(server)
        with pytest.raises(BrokerError, match=r": says the test$") as refused:
            await broker.publish([Message(b"x")])
        assert refused.value.code == status.name
        assert server.calls == [[b"x"]]

    async def test_no_try_after_the_deadline(self, broker_on):
        """A request is answered at its deadline with what was wrong, and not sent again later."""
        server = Server(statuses=[StatusCode.UNAVAILABLE] * 100)
        broker = await broker_on(server, deadline=0.5)
        with pytest.raises(BrokerError) as refused:
            await broker.publish([Message(b"first")])
        assert str(refused.value) == (
            "no ack within 0.5 s; the last try: ServiceUnavailable: says the test"
        )
        assert refused.value.code == NO_ACK
        tries = len(server.calls)
        assert tries > 1
        # gRPC sends a deadline in few digits, rounded up: some ms more arrive than were given.
        assert max(server.remaining) <= 0.5 + 0.01
        assert server.remaining == sorted(server.remaining, reverse=True)
        assert server.remaining[-1] < 0.5 - 0.01
        server.statuses.clear()
        await broker.publish([Message(b"second")])
        assert server.calls[tries:] == [[b"second"]]

    async def test_only_who_waits_is_tried_again(self, broker_on):
        """Of a call that failed, messages whose request was answered are left out."""
        server = Server()
        server.open.clear()
        broker = await broker_on(server)
        gone, stays = (
            asyncio.create_task(broker.publish([Message(data)])) for data in (b"gone", b"stays")
        )
        await server.called(1)
        gone.cancel()
        server.statuses.append(StatusCode.UNAVAILABLE)
        server.open.set()
        await stays
        assert server.calls == [[b"gone", b"stays"], [b"stays"]]


class TestDeadline:
    async def test_silence(self, broker_on):
        """A request waits for its ack no longer than the deadline, sent or not."""
        server = Server()
        server.open.clear()
        broker = await broker_on(server, deadline=1.0)
        messages = [Message(b"x" * 9_000_000) for _ in range(CALLS_IN_FLIGHT + 1)]
        with pytest.raises(BrokerError, match=r"no ack within 1 s") as refused:
            await broker.publish(messages)
        assert refused.value.code == NO_ACK
        server.open.set()
        await broker.publish([Message(b"next")])
        # The one that never left is not sent afterwards: its sender was told that it failed.
        assert sum(len(call[0]) == 9_000_000 for call in server.calls) <= CALLS_IN_FLIGHT
        assert server.calls[-1] == [b"next"]

    async def test_the_youngest_s(self, broker_on):
        """A call may take as long as its youngest message has; older ones are answered before."""
        server = Server()
        server.open.clear()
        broker = await broker_on(server, deadline=1.0)
        held = []
        for n in range(CALLS_IN_FLIGHT):  # each in a call of its own
            held.append(asyncio.create_task(self.timed(broker, b"held")))
            await server.called(n + 1)
        asking = []
        for data in (b"old", b"young"):
            await asyncio.sleep(0.3)  # how much older one is than the next: nothing else tells
            asking.append(asyncio.create_task(self.timed(broker, data)))
        await asyncio.gather(*held)
        await server.called(CALLS_IN_FLIGHT + 1)
        assert server.calls[-1] == [b"old", b"young"]
        assert 0.35 < server.remaining[-1] <= 0.65
        seconds = await asyncio.gather(*asking)
        assert all(0.95 < one < 1.25 for one in seconds)
        assert len(server.calls) == CALLS_IN_FLIGHT + 1

    @staticmethod
    async def timed(broker, data):
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(BrokerError):
            await broker.publish([Message(data)])
        return loop.time() - began


class TestGone:
    async def test_waiting_is_forgotten(self, broker_on):
        """A request that is given up while it waits leaves nothing behind, and is never sent."""
        server = Server()
        server.open.clear()
        broker = await broker_on(server)
        full = [Message(b"%d" % n) for n in range(1_000 * CALLS_IN_FLIGHT)]
        sent = asyncio.create_task(broker.publish(full))
        await server.called(CALLS_IN_FLIGHT)
        gone = [asyncio.create_task(broker.publish([Message(b"gone")] * 3)) for _ in range(50)]
        await asyncio.sleep(0)  # one turn: every publish has begun
        assert len(broker._waiting) == 150
        for task in gone:
            task.cancel()
        await asyncio.wait(gone)
        assert all(task.cancelled() for task in gone)
        assert not broker._waiting
        server.open.set()
        await sent
        await broker.publish([Message(b"next")])
        assert b"gone" not in chain.from_iterable(server.calls)

    async def test_what_failed_is_freed(self, broker_on):
        """A message that was refused is gone with its request: no cycle keeps its bytes."""
        broker = await broker_on(Server(statuses=[StatusCode.NOT_FOUND] * 10))
        gc.collect()
        gc.disable()
        try:
            for _ in range(10):
                with pytest.raises(BrokerError):
                    await broker.publish([Message(b"x")])
            await asyncio.sleep(0.01)  # the last call's end
            kept = [one for one in gc.get_objects() if type(one).__name__ == "_Waiting"]
            assert len(kept) <= 1  # pytest holds on to the last error
        finally:
            gc.enable()


class TestClose:
    async def test_bounded(self, broker_on):
        """The end does not wait for a broker that is silent: what has no ack fails, and says so."""
        server = Server()
        server.open.clear()
        broker = await broker_on(server)
        called = asyncio.create_task(broker.publish([Message(b"x" * 9_000_000)] * 4))
        await server.called(CALLS_IN_FLIGHT)
        waiting = asyncio.create_task(broker.publish([Message(b"waits")]))
        await asyncio.sleep(0)
        began = asyncio.get_running_loop().time()
        await broker.close(0.2)
        assert asyncio.get_running_loop().time() - began < 1.5
        outcomes = await asyncio.gather(called, waiting, return_exceptions=True)
        assert [(str(one), one.code) for one in outcomes] == [
            ("the service is going down", CLOSED)
        ] * 2

    async def test_flushes(self, broker_on):
        """What waited when the end came is published."""
        server = Server()
        broker = await broker_on(server)
        sent = [Message(b"%d" % n) for n in range(6_000)]
        publishing = asyncio.create_task(broker.publish(sent))
        await asyncio.sleep(0)
        await broker.close(SECONDS)
        await publishing
        assert sorted(chain.from_iterable(server.calls)) == sorted(m.data for m in sent)


class TestCheck:
    async def test_publisher_alone_is_ready(self, broker_on, caplog):
        """Who may publish and not look is ready, and the log says once what was not checked."""
        caplog.set_level(logging.WARNING, "publisher")
        server = Server({PUBLISH})
        broker = await broker_on(server)
        await broker.check()
        await broker.check()
        assert server.asked == [TOPIC, TOPIC]
        (note,) = [record.getMessage() for record in caplog.records]
        assert note.startswith(f"not checked: whether {TOPIC} has a subscription")
        assert "pubsub.topics.get is missing" in note
        assert note.endswith("grant roles/pubsub.viewer on the topic")

    async def test_not_permitted_to_publish(self, broker_on):
        """Who may neither look nor publish is not ready, and told what to grant."""
        broker = await broker_on(Server(set()))
        with pytest.raises(BrokerError, match=r"grant roles/pubsub\.publisher on the topic"):
            await broker.check()

    async def test_unknown_permissions(self, broker_on):
        """A service that can't say what is permitted is not ready, with its reason."""
        broker = await broker_on(Server(set(), error=grpc.StatusCode.UNAVAILABLE))
        with pytest.raises(BrokerError, match=f"{TOPIC}: ServiceUnavailable: not now"):
            await broker.check()

    @pytest.mark.parametrize("pages", [[["s"]], [[], ["s"]], [[], [], ["s", "t"]]])
    async def test_an_empty_page_is_not_the_last(self, broker_on, pages):
        """A subscription counts on whatever page its name comes."""
        server = Server({GET, PUBLISH}, pages)
        await (await broker_on(server)).check()
        assert server.asked == []

    async def test_only_empty_pages(self, broker_on):
        """Pages without a name are no subscription."""
        broker = await broker_on(Server({GET, PUBLISH}, [[], []]))
        with pytest.raises(BrokerError, match="has no subscription"):
            await broker.check()
