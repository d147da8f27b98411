"""An answer's way out: rendered once, in one write, where it can be; else as uvicorn has it."""

import asyncio

import pytest

from tests.publisher.senders import SECONDS, serving

JSON_HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"2")]


class Scripted:
    """An application that answers every request with the messages that it was given.

    Attributes:
        bodies: What came, in whole.
    """

    def __init__(self, *messages):
        self.messages = messages
        self.bodies = []
        self.open = asyncio.Event()

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        body, more = b"", True
        while more:
            event = await receive()
            body += event["body"]
            more = event["more_body"]
        self.bodies.append(body)
        for message in self.messages:
            await send(message)


def start(headers=JSON_HEADERS, status=200):
    return {"type": "http.response.start", "status": status, "headers": headers}


def body(data=b"{}", **more):
    return {"type": "http.response.body", "body": data, **more}


async def answers(app, *requests):
    """All that comes back on one connection, without the date, until nothing more does."""
    async with serving(app) as connect, connect() as sender:
        found = []
        for request in requests:
            sender.send(request)
            async with asyncio.timeout(SECONDS):
                head = await sender.reader.readuntil(b"\r\n\r\n")
            lines = head.split(b"\r\n")
            assert lines[1].startswith(b"date: ")
            found.append([lines[0], *lines[2:-2]])
            left = 0
            for line in lines:
                if line.startswith(b"content-length: "):
                    left = int(line[16:])
            if not request.startswith(b"HEAD") and left:
                async with asyncio.timeout(SECONDS):
                    found.append(await sender.reader.readexactly(left))
        sender.writer.write_eof()
        async with asyncio.timeout(SECONDS):
            found.append(await sender.reader.read())
        return found


GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LINES = [b"HTTP/1.1 200 OK", b"content-type: application/json", b"content-length: 2"]


async def test_in_one_write():
    """Head and body of an answer that says its length leave together, time after time."""
    assert await answers(Scripted(start(), body()), GET, GET) == [LINES, b"{}", LINES, b"{}", b""]


async def test_in_pieces():
    """A body in several pieces comes whole."""
    app = Scripted(start(), body(b"{", more_body=True), body(b"}"))
    assert await answers(app, GET) == [LINES, b"{}", b""]


async def test_without_a_length():
    """An answer that does not say its length is chunked."""
    app = Scripted(start(JSON_HEADERS[:1]), body())
    [lines, rest] = await answers(app, GET)
    assert lines == [LINES[0], LINES[1], b"transfer-encoding: chunked"]
    assert rest == b"2\r\n{}\r\n0\r\n\r\n"


async def test_nothing():
    """A 204 has no body, and no header that speaks of one."""
    assert await answers(Scripted(start((), 204), body(b"")), GET) == [
        [b"HTTP/1.1 204 No Content"],
        b"",
    ]


async def test_head():
    """HEAD is answered without a body, with the length that it would have."""
    head = b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"
    assert await answers(Scripted(start(), body()), head, GET) == [LINES, LINES, b"{}", b""]


@pytest.mark.parametrize("name", [b"connection", b"Connection"])
async def test_close(name):
    """An answer that closes its connection says so once, and the connection ends."""
    app = Scripted(start([*JSON_HEADERS, (name, b"Close")]), body())
    async with serving(app) as connect, connect() as sender:
        sender.send(GET)
        status, headers, _ = await sender.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert await sender.answer() is None


async def test_an_older_sender():
    """HTTP/1.0 is answered, and its connection closed."""
    async with serving(Scripted(start(), body())) as connect, connect() as sender:
        sender.send(b"GET / HTTP/1.0\r\n\r\n")
        status, headers, _ = await sender.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert await sender.answer() is None


@pytest.mark.parametrize(
    "messages",
    [
        [start([(b"x", b"a\r\nb: c"), *JSON_HEADERS]), body()],
        [start([(b"x\r\ny", b"a"), *JSON_HEADERS]), body()],
        [start(), body(b"{}}")],
        [start(), body(b"{")],
    ],
    ids=["value", "name", "longer", "shorter"],
)
async def test_what_no_sender_may_see(messages, caplog):
    """A header that would be two, or a body not of its length, never looks like an answer."""
    async with serving(Scripted(*messages)) as connect, connect() as sender:
        sender.send(GET)
        async with asyncio.timeout(SECONDS):
            assert b"b: c" not in await sender.reader.read()
    assert "unforeseen" in caplog.text


async def test_a_body_that_is_here_is_received_once():
    """A body in one piece, in many, chunked, or none at all: the same for the application."""
    app = Scripted(start(), body())
    sized = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"
    chunked = (
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
    )
    await answers(app, sized, chunked, GET)
    assert app.bodies == [b"body", b"body", b""]
