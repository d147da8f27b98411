"""The broker in memory keeps the real one's contract; the real one's bookkeeping, by itself."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain

import grpc.aio
import pytest
from google.api_core import exceptions
from google.iam.v1.iam_policy_pb2 import TestIamPermissionsRequest as PermissionsRequest
from google.iam.v1.iam_policy_pb2 import TestIamPermissionsResponse as PermissionsResponse
from google.pubsub_v1 import types

from publisher.broker import CALLS_IN_FLIGHT, BrokerError, PubSubBroker, open_broker
from publisher.settings import Settings
from schemas.message import Message
from tests.contract.broker_contract import BrokerContract, MemoryBroker


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


class Client:
    """A client that keeps its calls and answers when it is let; or fails."""

    def __init__(self, error=None):
        self.calls = []
        self.full = asyncio.Event()
        self.answers = asyncio.Event()
        self.error = error

    async def publish(self, *, request, retry, timeout):  # noqa: ASYNC109
        self.calls.append([message.data for message in request.messages])
        if len(self.calls) == CALLS_IN_FLIGHT:
            self.full.set()
        await self.answers.wait()
        if self.error:
            raise self.error


def broker_of(client, deadline=10.0):
    return PubSubBroker(client, "projects/p/topics/t", deadline)


class TestPubSubBroker:
    async def test_calls_are_shared(self):
        """What arrives together goes out together, and few calls are in flight at once."""
        client = Client()
        broker = broker_of(client)
        messages = [Message(b"%d" % n) for n in range(10_000)]
        publishing = asyncio.create_task(broker.publish(messages))
        async with asyncio.timeout(10):
            await client.full.wait()
            for _ in range(10):  # turns in which a fifth call would begin
                await asyncio.sleep(0)
            assert [len(call) for call in client.calls] == [1_000] * CALLS_IN_FLIGHT
            client.answers.set()
            await publishing
        assert [*chain.from_iterable(client.calls)] == [message.data for message in messages]

    async def test_unforeseen_is_no_ack(self):
        """Whatever ends a call, a request never hears of an ack that was not given."""
        reported = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))
        fault = RuntimeError("a bug")
        client = Client(fault)
        client.answers.set()
        with pytest.raises(BrokerError, match="without an outcome"):
            await broker_of(client).publish([Message(b"x")])
        await asyncio.sleep(0)
        assert reported == [fault]

    async def test_deadline(self):
        """A request waits for its ack no longer than the deadline, sent or not."""
        client = Client()
        broker = broker_of(client, deadline=0.05)
        messages = [Message(b"x" * 9_000_000) for _ in range(CALLS_IN_FLIGHT + 1)]
        with pytest.raises(BrokerError, match=r"no ack within 0\.05 s"):
            await broker.publish(messages)
        client.answers.set()
        await broker.publish([Message(b"next")])
        # The one that never left is not sent afterwards: its sender was told that it failed.
        assert [len(call[0]) for call in client.calls] == [9_000_000] * CALLS_IN_FLIGHT + [4]

    async def test_permanent_errors_are_named(self):
        """An error that no retry mends is told at once, by its name."""
        client = Client(exceptions.PermissionDenied("no"))
        client.answers.set()
        with pytest.raises(BrokerError, match="PermissionDenied: no"):
            await broker_of(client).publish([Message(b"x")])


@dataclass
class Server:
    """Pub/Sub's answers about one topic, over gRPC: the emulator knows no permissions or pages.

    Args:
        permissions: What the caller may do.
        pages: The topic's subscriptions, page by page.
        error: What the question for permissions is answered with, instead.
    """

    permissions: set[str]
    pages: list[list[str]] = field(default_factory=list)
    error: grpc.StatusCode | None = None
    asked: list[str] = field(default_factory=list)

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

    async def make(answers):
        server = grpc.aio.server()
        for name, methods in answers.handlers.items():
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, methods),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        broker = open_broker(Settings("demo-project", emulator=f"127.0.0.1:{port}"))
        ends.extend((broker.close(), server.stop(None)))
        return broker

    yield make
    for end in ends:
        await asyncio.wait_for(end, 10)


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
