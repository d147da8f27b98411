"""Whether the service is ready: its broker, and its room."""

import asyncio

from publisher.readiness import BAD_SECONDS, FRESH_SECONDS, Readiness
from publisher.room import Room
from tests.contract.broker_contract import MemoryBroker


async def test_cached():
    """The broker is asked once in a few seconds, by any number of questions."""
    now = 0.0
    broker = MemoryBroker()
    readiness = Readiness(broker, Room(1, 1), lambda: now)
    assert await asyncio.gather(*(readiness.reason() for _ in range(10))) == [""] * 10
    broker.topic_exists = False
    assert (await readiness.reason(), broker.checks) == ("", 1)
    now += FRESH_SECONDS
    assert (await readiness.reason(), broker.checks) == ("NotFound", 2)


async def test_bad_answers_are_asked_again_soon():
    """A service that was not ready is ready soon after its broker is."""
    now = 0.0
    broker = MemoryBroker(subscribed=False)
    readiness = Readiness(broker, Room(1, 1), lambda: now)
    assert await readiness.reason() == "has no subscription"
    broker.subscribed = True
    now += BAD_SECONDS
    assert await readiness.reason() == ""


async def test_full():
    """A full queue is told at once, and its end too; a broker's reason goes before it."""
    broker = MemoryBroker()
    room = Room(1, 100)
    readiness = Readiness(broker, room, lambda: 0.0)
    assert await readiness.reason() == ""
    with room.enter(0):
        assert await readiness.reason() == "the queue is full"
    assert await readiness.reason() == ""
    assert broker.checks == 1
    broker.topic_exists = False
    with room.enter(0):
        assert await Readiness(broker, room, lambda: 0.0).reason() == "NotFound"
