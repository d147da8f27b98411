"""The end of the server: who is being served is answered, and it does not wait for ever."""

import asyncio
import signal
import socket

import pytest

from publisher import server
from publisher.server import server_of
from publisher.settings import Settings
from tests.publisher.senders import HELLO, SECONDS, App, serving

GOING_DOWN = (503, "the service is going down: send it again")


class Broker(App):
    """An application that answers what it holds when it is told to end, as the real one does."""

    def __init__(self):
        super().__init__()
        self.ended = False
        self.answers_at_the_end = True

    async def __call__(self, scope, receive, send):
        if scope["type"] != "lifespan":
            return await super().__call__(scope, receive, send)

        async def sent(message):
            if message["type"] == "lifespan.shutdown.complete":
                self.ended = True
                if self.answers_at_the_end:
                    self.open.set()
            await send(message)

        return await super().__call__(scope, receive, sent)


@pytest.fixture
async def app():
    return Broker()


@pytest.fixture
async def connect(app):
    async with serving(app) as connect:
        yield connect


@pytest.fixture
def quick(monkeypatch):
    """The seconds of the end, in tenths."""
    for name in ("BODY_SECONDS", "ANSWER_SECONDS", "FLUSH_SECONDS"):
        monkeypatch.setattr(server, name, getattr(server, name) / 10)


def end(connect):
    """What SIGTERM does."""
    connect.server.handle_exit(signal.SIGTERM, None)


async def ended(connect):
    """Seconds until the server has ended."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    await asyncio.wait_for(asyncio.shield(connect.ending), SECONDS)
    return loop.time() - began


async def test_idle(app, connect):
    """With nothing to do it ends at once, and unused connections are closed."""
    async with connect() as used, connect() as unused:
        used.send(HELLO)
        assert (await used.answer())[0] == 200
        end(connect)
        assert await used.closed()
        assert await unused.closed()
        assert await ended(connect) < 2
    assert app.ended
    assert not connect.server.force_exit


async def test_in_flight(app, connect):
    """A request that is being served has its own answer, and then the connection ends."""
    app.open.clear()
    async with connect() as sender:
        sender.send(HELLO)
        await app.until(lambda: app.begun == ["/"])
        end(connect)
        with pytest.raises(OSError):  # noqa: PT012  # nobody new is let in
            async with asyncio.timeout(SECONDS):
                while True:
                    async with connect():
                        await asyncio.sleep(0.01)
        app.open.set()
        status, headers, body = await sender.answer()
        assert (status, headers["connection"], body["body"]) == (200, "close", "{}")
        assert await sender.answer() is None
        await ended(connect)
    assert app.cancelled == []


@pytest.mark.usefixtures("quick")
async def test_body_still_coming(app, connect):
    """A body that is still coming has a while; then its sender is told to send it again."""
    start = b"POST /%s HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{"
    async with connect() as slow, connect() as stuck:
        slow.send(start % b"slow")
        stuck.send(start % b"stuck")
        await app.until(lambda: len(app.begun) == 2)
        end(connect)
        slow.send(b"}")
        assert (await slow.answer())[2]["body"] == "{}"
        assert await stuck.refusal() == GOING_DOWN
        assert await ended(connect) < 1
    assert app.cancelled == ["/stuck"]
    assert app.refused == ["not_published"]


@pytest.mark.usefixtures("quick")
async def test_broker_is_closed(app, connect):
    """Who has no answer in time gets the one that the application's end gives."""
    app.open.clear()
    async with connect() as sender:
        sender.send(HELLO)
        await app.until(lambda: app.begun == ["/"])
        end(connect)
        seconds = asyncio.create_task(ended(connect))
        assert (await sender.answer())[0] == 200
        assert 0.7 < await seconds < 1.5
    assert app.ended


@pytest.mark.usefixtures("quick")
async def test_never_answered(app, connect):
    """Who has none even then is told to send it again, and the end comes all the same."""
    app.answers_at_the_end = False
    app.open.clear()
    async with connect() as sender:
        sender.send(HELLO)
        await app.until(lambda: app.begun == ["/"])
        end(connect)
        seconds = asyncio.create_task(ended(connect))
        assert await sender.refusal() == GOING_DOWN
        assert await seconds < 1.5
    assert app.cancelled == ["/"]


async def test_second_signal(app, connect):
    """A second signal ends it at once, whoever waits."""
    app.open.clear()
    async with connect() as sender:
        sender.send(HELLO)
        await app.until(lambda: app.begun == ["/"])
        end(connect)
        end(connect)
        assert await ended(connect) < 1
    assert connect.server.force_exit


async def test_port_taken(app, caplog):
    """A port that is taken ends it with exit code 3 and a sentence, and the application, too."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings("demo-project", host="127.0.0.1", port=taken.getsockname()[1])
        with pytest.raises(SystemExit) as ended:
            await server_of(app, settings).serve()
    assert ended.value.code == 3
    assert app.ended
    assert "HOST, PORT: [Errno" in caplog.text
