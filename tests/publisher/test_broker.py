"""The broker in memory keeps the real one's contract; the real one's bookkeeping, by itself."""

import asyncio
from itertools import chain

import pytest
from google.api_core import exceptions

from publisher.broker import CALLS_IN_FLIGHT, BrokerError, PubSubBroker
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
