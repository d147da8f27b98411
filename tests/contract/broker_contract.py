"""What every broker must do, and the broker of the unit tests; run on that one and on Pub/Sub."""

import asyncio
from collections import Counter

import pytest

from publisher.broker import CLOSED, BrokerError
from schemas.message import Message


class MemoryBroker:
    """A broker in memory.

    Args:
        topic_exists: Whether there is a topic.
        subscribed: Whether something is subscribed to it.
    """

    def __init__(self, *, topic_exists=True, subscribed=True):
        self.topic_exists = topic_exists
        self.subscribed = subscribed
        self.refuses = ""
        self.messages = []
        self.checks = 0
        self.closed = False
        self.open = asyncio.Event()
        self.open.set()
        self.begun = asyncio.Event()
        self.idle = asyncio.Event()
        self.idle.set()
        self.in_flight = 0

    async def publish(self, messages):
        if self.closed:
            raise BrokerError("the service is going down", CLOSED)
        self.begun.set()
        self.idle.clear()
        self.in_flight += 1
        try:
            await self.open.wait()
        finally:
            self.in_flight -= 1
            if not self.in_flight:
                self.idle.set()
        if self.refuses or not self.topic_exists:
            raise BrokerError(self.refuses or "NotFound", "NOT_FOUND")
        if not all(message.data or message.attributes for message in messages):
            raise BrokerError("InvalidArgument", "INVALID_ARGUMENT")
        self.messages += messages

    async def check(self):
        self.checks += 1
        if not self.topic_exists:
            raise BrokerError("NotFound")
        if not self.subscribed:
            raise BrokerError("has no subscription")

    async def close(self):
        await self.idle.wait()
        self.closed = True


class BrokerContract:
    """One suite for all; the fixture `stage` makes brokers and shows what their topic got.

    `stage.broker(topic_exists=True, subscribed=True)` gives a broker on a topic of its own;
    `await stage.received(broker, count)` waits for that many messages and returns all there are.
    """

    @staticmethod
    def exactly(messages):
        return Counter((m.data, frozenset(m.attributes.items())) for m in messages)

    async def test_publishes_bytes_and_attributes(self, stage):
        """A message is on the topic as it was given: any bytes, any Unicode."""
        broker = stage.broker()
        sent = [
            Message(bytes(range(256)), {"ce-id": "1", "ce-subject": "Grüße 😀", "ce-empty": ""}),
            Message(b"", {"only": "attributes"}),
            Message(b"only data"),
        ]
        await broker.publish(sent)
        assert self.exactly(await stage.received(broker, 3)) == self.exactly(sent)

    async def test_nothing_to_publish(self, stage):
        """To publish nothing succeeds and puts nothing on the topic."""
        broker = stage.broker()
        await broker.publish([])
        await broker.publish([Message(b"last")])
        assert self.exactly(await stage.received(broker, 1)) == self.exactly([Message(b"last")])

    async def test_many_at_once(self, stage):
        """Requests that share calls get their own messages through, each exactly once."""
        broker = stage.broker()
        sent = [Message(b"%d" % n, {"n": str(n)}) for n in range(2_500)]
        await asyncio.gather(*(broker.publish([message]) for message in sent[:1_000]))
        await broker.publish(sent[1_000:])
        assert self.exactly(await stage.received(broker, len(sent))) == self.exactly(sent)

    async def test_large(self, stage):
        """More than one call may carry is published by several."""
        broker = stage.broker()
        sent = [Message(letter * 9_000_000) for letter in (b"a", b"b")]
        await broker.publish(sent)
        assert self.exactly(await stage.received(broker, 2)) == self.exactly(sent)

    async def test_one_bad_message(self, stage):
        """A message that the broker refuses fails its own request and no other."""
        broker = stage.broker()
        sent = [Message(b"1"), Message(b""), Message(b"2")]  # an empty one is none
        outcomes = await asyncio.gather(
            *(broker.publish([message]) for message in sent), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [type(None), BrokerError, type(None)]
        received = await stage.received(broker, 2)
        assert self.exactly(received) == self.exactly([sent[0], sent[2]])

    async def test_missing_topic(self, stage):
        """Without a topic nothing is acknowledged, and the broker is not ready."""
        broker = stage.broker(topic_exists=False)
        with pytest.raises(BrokerError, match="NotFound") as refused:
            await broker.publish([Message(b"lost")])
        assert refused.value.code == "NOT_FOUND"
        with pytest.raises(BrokerError, match="NotFound"):
            await broker.check()

    async def test_ready(self, stage):
        """A topic with a subscription is ready; one without would keep no message."""
        await stage.broker().check()
        with pytest.raises(BrokerError, match="has no subscription"):
            await stage.broker(subscribed=False).check()

    async def test_close_waits(self, stage):
        """Closing ends after what is in flight is acknowledged."""
        broker = stage.broker()
        sent = [Message(b"%d" % n) for n in range(50)]
        publishing = [asyncio.create_task(broker.publish([message])) for message in sent]
        await asyncio.sleep(0)  # one turn: every publish has begun
        await broker.close()
        await asyncio.gather(*publishing)
        assert self.exactly(await stage.received(broker, 50)) == self.exactly(sent)

    async def test_closed(self, stage):
        """Nothing is published after the end, and whoever tries hears so."""
        broker = stage.broker()
        await broker.publish([Message(b"in time")])
        await broker.close()
        with pytest.raises(BrokerError) as refused:
            await broker.publish([Message(b"late")])
        assert refused.value.code == CLOSED
        assert [message.data for message in await stage.received(broker, 1)] == [b"in time"]

    async def test_gone(self, stage):
        """A request that is given up takes no other with it."""
        broker = stage.broker()
        sent = [Message(b"%d" % n) for n in range(20)]
        publishing = [asyncio.create_task(broker.publish([message])) for message in sent]
        await asyncio.sleep(0)  # one turn: every publish has begun
        for task in publishing[::2]:
            task.cancel()
        await asyncio.wait(publishing)
        assert [task.exception() for task in publishing[1::2]] == [None] * 10
        received = await stage.received(broker, 10)
        assert not self.exactly(sent[1::2]) - self.exactly(received)
