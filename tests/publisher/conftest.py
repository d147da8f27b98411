"""The service around a broker in memory, called without a network."""

import asyncio
from contextlib import asynccontextmanager

import httpx
import pytest

from publisher.app import create_app
from publisher.intake import Stamp
from publisher.settings import Settings
from tests.contract.broker_contract import MemoryBroker

NOW = 1_795_514_400_000_000  # 2026-11-24T10:00:00Z


@asynccontextmanager
async def started(app):
    """Runs an application's lifespan around the block; yields what it answered to the start."""
    asked, answered = asyncio.Queue(), asyncio.Queue()
    life = asyncio.create_task(app({"type": "lifespan"}, asked.get, answered.put))
    await asked.put({"type": "lifespan.startup"})
    start = await asyncio.wait_for(answered.get(), 10)
    yield start
    if start["type"] == "lifespan.startup.complete":
        await asked.put({"type": "lifespan.shutdown"})
        assert await asyncio.wait_for(answered.get(), 10) == {"type": "lifespan.shutdown.complete"}
    await asyncio.wait_for(life, 10)


@pytest.fixture
def lifespan():
    return started


@pytest.fixture
async def broker():
    return MemoryBroker()


@pytest.fixture
async def app(broker):
    """The service, started; ids are id-1, id-2, ... and the time stands still."""
    ids = (f"id-{n}" for n in range(1, 100))
    stamp = Stamp(new_id=lambda: next(ids), now=lambda: NOW)
    app = create_app(lambda: Settings(project="demo-project"), lambda *_: broker, stamp)
    async with started(app):
        yield app
    assert broker.closed


@pytest.fixture
async def client(app):
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://publisher") as client:
        yield client
