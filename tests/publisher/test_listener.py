"""How connections are let in."""

import asyncio
import errno
import logging
import socket
from contextlib import ExitStack

import pytest

from publisher import listener
from publisher.listener import Listener, bind

SECONDS = 10


class Greeting(asyncio.Protocol):
    """Says one byte and ends."""

    def connection_made(self, transport):
        transport.write(b"x")
        transport.close()


class Socket(socket.socket):
    """A listening socket whose first calls of accept fail."""

    errors = 0

    def accept(self):
        if self.errors:
            self.errors -= 1
            raise OSError(errno.EMFILE, "no descriptor is free")
        return super().accept()


@pytest.fixture
def listening():
    with Socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen(listener.BACKLOG)
        yield one


def connected(listening):
    one = socket.create_connection(listening.getsockname(), SECONDS)
    one.setblocking(False)
    return one


async def greeted(one):
    async with asyncio.timeout(SECONDS):
        return await asyncio.get_running_loop().sock_recv(one, 10)


async def test_all_at_once(listening, monkeypatch):
    """All that wait are let in in one turn, so that none waits for the others' requests."""
    accepted = []
    monkeypatch.setattr(Listener, "_open", lambda _, one: greet(one))

    async def greet(one):
        accepted.append(one)

    letting = Listener(listening, Greeting)
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(connected(listening))
        letting._accept()
        for _ in range(2):  # turns of the loop
            await asyncio.sleep(0)
        assert len(accepted) == 100
        for one in accepted:
            assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
            one.close()
    letting.close()


async def test_served(listening):
    """Whoever is let in is served, and nobody once it is closed."""
    letting = Listener(listening, Greeting)
    with connected(listening) as one, connected(listening) as two:
        assert [await greeted(one), await greeted(two)] == [b"x", b"x"]
    address = listening.getsockname()
    letting.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, SECONDS)


async def test_no_descriptor_free(listening, monkeypatch, caplog):
    """A system that has no descriptor free is waited for, with a line in the log a try."""
    monkeypatch.setattr(listener, "_PAUSE_SECONDS", 0.01)
    listening.errors = 3
    letting = Listener(listening, Greeting)
    with connected(listening) as one:
        assert await greeted(one) == b"x"
    letting.close()
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert (
        lines
        == [f"no connection can be accepted: [Errno {errno.EMFILE}] no descriptor is free"] * 3
    )


async def test_closed_while_it_waits(listening):
    """A pause that has begun does not outlive the listener."""
    listening.errors = 1
    letting = Listener(listening, Greeting)
    with connected(listening):
        letting._accept()
        letting.close()
        assert letting._paused.cancelled()


async def test_bind():
    """Every address of the host is bound, and one that is taken is an error."""
    (one,) = await bind("127.0.0.1", 0)
    with one:
        host, port = one.getsockname()
        assert host == "127.0.0.1"
        with pytest.raises(OSError, match="in use"):
            await bind("127.0.0.1", port)
    for one in await bind("localhost", 0):
        assert one.getsockname()[0] in ("127.0.0.1", "::1")
        one.close()
