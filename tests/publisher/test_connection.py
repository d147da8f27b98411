"""What a connection does with real bytes: bounds on heads, on time, on how many; JSON answers."""

import asyncio
import logging

import pytest

from publisher import connection
from publisher.browsers import EVERY_ANSWER
from publisher.connection import MAX_HEAD_BYTES, MAX_HEADERS, MAX_PIPELINED
from tests.publisher.senders import HELLO, SECONDS, App, serving


@pytest.fixture
async def app():
    return App()


@pytest.fixture
async def connect(app, monkeypatch):
    """Opens connections to a server that serves the application and looks ten times a second."""
    monkeypatch.setattr("publisher.server.LOOK_TICKS", 1)
    async with serving(app) as connect:
        yield connect


class TestHead:
    async def test_endless_header(self, app, connect):
        """A header that never ends is refused when it is too large, whole or not."""
        async with connect() as sender:
            sender.send(b"POST / HTTP/1.1\r\nHost: x\r\nX-Endless: ")
            answer = await sender.flood_until_refused()
            assert answer == (431, f"headers: more than {MAX_HEAD_BYTES} bytes")
        assert app.begun == []
        assert app.refused == ["headers_too_large"]

    @pytest.mark.parametrize(
        ("head", "reason"),
        [
            (b"/ HTTP/1.1\r\n" + b"A: b\r\n" * (MAX_HEADERS + 1), f"more than {MAX_HEADERS}"),
            (b"/ HTTP/1.1\r\nA: " + b"x" * MAX_HEAD_BYTES + b"\r\n", f"than {MAX_HEAD_BYTES} b"),
            (
                b"/ HTTP/1.1\r\n" + (b"A: " + b"x" * 16_384 + b"\r\n") * 2,
                f"than {MAX_HEAD_BYTES} b",
            ),
            (b"/" + b"x" * MAX_HEAD_BYTES + b" HTTP/1.1\r\n", f"than {MAX_HEAD_BYTES} bytes"),
            (b"/" * 30_000 + b" HTTP/1.1\r\nA: " + b"x" * 3_000 + b"\r\n", "bytes"),
        ],
        ids=["count", "one", "sum", "url", "both"],
    )
    async def test_too_large(self, app, connect, head, reason):
        """Too many headers, or too large ones, are a 431 with the reason, as JSON."""
        async with connect() as sender:
            sender.send(b"POST " + head + b"\r\n")
            status, error = await sender.refusal()
        assert status == 431
        assert reason in error
        assert app.begun == []

    async def test_largest(self, connect):
        """A head of just the bounds is served, in whatever pieces it comes."""
        value = b"x" * (MAX_HEAD_BYTES - len(b"/") - 2 * MAX_HEADERS + 2 - len(b"LongHost") - 1)
        lines = [b"B: x"] * (MAX_HEADERS - 2) + [b"Host: x", b"Long: " + value]
        head = b"GET / HTTP/1.1\r\n" + b"\r\n".join(lines) + b"\r\n\r\n"
        async with connect() as sender:
            for start in range(0, len(head), 5_000):
                sender.send(head[start : start + 5_000])
                await sender.writer.drain()
            status, _, body = await sender.answer()
        assert (status, len(body["names"])) == (200, MAX_HEADERS)

    async def test_trailers(self, app, connect):
        """What follows a chunked body is no header of the request, and bounded like one."""
        start = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
        async with connect() as sender:
            sender.send(start + b"ce-type: smuggled\r\n\r\n")
            assert (await sender.answer())[2]["names"] == ["host", "transfer-encoding"]
            sender.send(start + b"X: ")
            answer = await sender.flood_until_refused()
            assert answer == (431, f"headers: more than {MAX_HEAD_BYTES} bytes")
        assert app.refused == ["headers_too_large"]

    async def test_no_http(self, app, connect):
        """What is no HTTP is told so, as JSON."""
        for data in (b"\x16\x03\x01\x02\x00\x01\x00", b"GET /\xff HTTP/1.1\r\n\r\n"):
            async with connect() as sender:
                sender.send(data)
                assert await sender.refusal() == (400, "not a valid HTTP/1.1 request")
        assert app.refused == ["bad_request"] * 2

    async def test_upgrade(self, connect):
        """Who offers HTTP/2 gets HTTP/1.1; with a body, whose bytes the parser drops, a 400."""
        offer = b"Host: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
        async with connect() as sender:
            sender.send(b"GET /a HTTP/1.1\r\n" + offer + b"\r\n")
            assert (await sender.answer())[0] == 200
            sender.send(b"POST /b HTTP/1.1\r\n" + offer + b"Content-Length: 2\r\n\r\n{}")
            status, error = await sender.refusal()
        assert status == 400
        assert error.endswith("send the body without an Upgrade header")


class TestBody:
    async def test_kept_alive(self, connect):
        """Requests follow each other on one connection."""
        async with connect() as sender:
            for _ in range(3):
                sender.send(HELLO)
                status, headers, body = await sender.answer()
                assert (status, body["body"], "connection" in headers) == (200, "{}", False)

    async def test_broken_chunk(self, app, connect):
        """A body that is broken on its way is a 400, and whoever read it is ended."""
        async with connect() as sender:
            sender.send(b"POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            await app.until(lambda: app.begun == ["/b"])
            sender.send(b"no number\r\n")
            assert await sender.refusal() == (400, "not a valid HTTP/1.1 request")
        assert app.cancelled == ["/b"]
        assert app.refused == ["bad_request"]

    async def test_sender_gone(self, app, connect, caplog):
        """A request whose sender is gone is ended at once, counted, and no error in the log."""
        app.open.clear()
        async with connect() as sender:
            sender.send(HELLO)
            await app.until(lambda: app.begun == ["/"])
        await app.until(lambda: app.cancelled == ["/"])
        async with connect() as sender:  # whatever the first connection did is done
            app.open.set()
            sender.send(HELLO)
            assert (await sender.answer())[0] == 200
        assert app.refused == ["client_gone"]
        assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []

    @pytest.mark.parametrize("path", [b"/fails", b"/silent"])
    async def test_failure(self, app, connect, caplog, path):
        """A fault is a 500 without its text, which is in the log."""
        async with connect() as sender:
            sender.send(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await sender.refusal() == (500, "internal error")
        assert app.refused == ["internal"]
        assert caplog.records[-1].exc_info


class TestPipelined:
    async def test_in_order(self, connect):
        """Requests that are sent ahead are answered one after the other."""
        async with connect() as sender:
            paths = [f"/{n}" for n in range(MAX_PIPELINED)]
            sender.send(b"".join(b"GET %s HTTP/1.1\r\n\r\n" % path.encode() for path in paths))
            assert [(await sender.answer())[2]["path"] for _ in paths] == paths

    @pytest.mark.parametrize("more", [b"no HTTP\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n" * 20])
    async def test_bad_follower(self, app, connect, more):
        """A bad request is not answered in the place of the one before: that has its answer."""
        app.open.clear()
        async with connect() as sender:
            sender.send(b"GET /first HTTP/1.1\r\n\r\n" + more)
            await app.until(lambda: app.begun)
            app.open.set()
            answers = []
            while one := await sender.answer():
                answers.append(one[0])
        assert app.begun[0] == "/first"
        assert answers == [200] * len(app.begun)
        assert len(answers) <= MAX_PIPELINED + 1


class TestTime:
    @pytest.mark.parametrize(
        "data", [b"", b"\r\n", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\nA: b"]
    )
    async def test_slow_head(self, monkeypatch, app, connect, data):
        """A connection whose first request does not come, or not whole, is closed."""
        monkeypatch.setattr(connection, "HEAD_SECONDS", 0.1)
        async with connect() as sender:
            sender.send(data)
            assert await sender.closed()
        assert app.begun == []
        assert app.refused == (["too_slow"] if data else [])

    async def test_dripping(self, monkeypatch, connect):
        """A head that comes drop by drop has no longer than one that does not come."""
        monkeypatch.setattr(connection, "HEAD_SECONDS", 0.3)
        async with connect() as sender:
            sender.send(HELLO)
            assert (await sender.answer())[0] == 200
            closing = asyncio.create_task(sender.closed())
            async with asyncio.timeout(SECONDS):
                while not closing.done():
                    sender.send(b"\r\n")
                    await asyncio.sleep(0.02)
            assert closing.result()

    async def test_idle(self, monkeypatch, connect):
        """An unused connection outlives the time of a head, and ends with its own."""
        monkeypatch.setattr(connection, "HEAD_SECONDS", 0.1)
        monkeypatch.setattr(connection, "KEEP_ALIVE_SECONDS", 0.8)
        async with connect() as sender:
            sender.send(HELLO)
            assert (await sender.answer())[0] == 200
            began = asyncio.get_running_loop().time()
            assert await sender.closed()
            assert asyncio.get_running_loop().time() - began > 0.7

    async def test_rest_of_a_body(self, monkeypatch, connect):
        """An answer may come before the body is through; the rest is waited for a while."""
        monkeypatch.setattr(connection, "HEAD_SECONDS", 0.5)
        early = b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n{"
        async with connect() as sender:
            sender.send(early)
            assert (await sender.answer())[0] == 200
            sender.send(b"} " + HELLO)
            assert (await sender.answer())[2]["path"] == "/"
            sender.send(early)
            assert (await sender.answer())[0] == 200
            assert await sender.closed()


class TestBusy:
    async def test_turned_away(self, app, connect):
        """While there is no room a POST is a 429, the connection is kept, and others are served."""
        app.busy = "busy: send it again"
        async with connect() as sender:
            for _ in range(2):
                sender.send(HELLO)
                status, headers, body = await sender.answer()
                assert (status, headers["retry-after"]) == (429, "1")
                assert "connection" not in headers
                assert body == {"error": "busy: send it again"}
            sender.send(b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await sender.answer())[0] == 200
            app.busy = ""
            sender.send(HELLO)
            assert (await sender.answer())[0] == 200
        assert app.begun == ["/live", "/"]
        assert app.refused == ["queue_full"] * 2

    async def test_body_is_dropped(self, app, connect):
        """What a sender who was turned away still sends is no part of its next request."""
        app.busy = "busy"
        async with connect() as sender:
            sender.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n{")
            assert (await sender.answer())[0] == 429
            app.busy = ""
            sender.send(b" " * 99_999 + HELLO)
            assert (await sender.answer())[2]["body"] == "{}"

    async def test_in_order(self, app, connect):
        """Requests that were sent ahead are answered in their order, turned away or not."""
        app.open.clear()
        async with connect() as sender:
            sender.send(b"GET /first HTTP/1.1\r\n\r\n" + HELLO * 2)
            await app.until(lambda: app.begun == ["/first"])
            app.busy = "busy"
            app.open.set()
            assert [(await sender.answer())[0] for _ in range(3)] == [200, 429, 429]

    async def test_http_1_0(self, app, connect):
        """Who does not keep connections is told so, and its connection ends."""
        app.busy = "busy"
        async with connect() as sender:
            sender.send(b"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}")
            assert await sender.refusal() == (429, "busy")

    @pytest.mark.parametrize(
        "line", [b"Origin: https://a.example", b"Content-Type: multipart/form-data; boundary=x"]
    )
    async def test_the_application_s(self, app, connect, line):
        """A form, and a script of another origin, get the application's own 429."""
        app.busy = "busy"
        async with connect() as sender:
            sender.send(HELLO.replace(b"Host: x", b"Host: x\r\n" + line))
            assert (await sender.answer())[0] == 200  # this application's
        assert app.begun == ["/"]

    async def test_guarded_as_every_answer(self, app, connect):
        """It has the headers that every answer has."""
        app.busy = "busy"
        async with connect() as sender:
            sender.send(HELLO)
            _, headers, _ = await sender.answer()
        for name, value in EVERY_ANSWER:
            assert headers[name.decode()] == value.decode().lower()

    async def test_broken_meanwhile(self, app, connect, caplog):
        """A request that breaks before it is turned away is answered once."""
        app.busy = "busy"
        async with connect() as sender:
            sender.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
            assert await sender.refusal() == (400, "not a valid HTTP/1.1 request")
        assert app.refused == ["bad_request"]
        assert caplog.text == ""


class TestUnread:
    LARGE = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n\r\n" + b"x" * 8_000_000

    @staticmethod
    async def ended(connect):
        async with asyncio.timeout(SECONDS):
            while connect.server.server_state.connections:  # noqa: ASYNC110  # uvicorn tells nobody
                await asyncio.sleep(0.01)

    async def test_answers_that_nobody_reads(self, monkeypatch, app, connect):
        """A sender that leaves its answers unread does not keep its connection for ever."""
        monkeypatch.setattr(connection, "UNREAD_SECONDS", 0.3)
        async with connect() as sender:
            sender.writer.transport.pause_reading()
            sender.send(self.LARGE)
            await app.until(lambda: app.begun == ["/"])
            await self.ended(connect)

    async def test_the_last_answer(self, monkeypatch, connect):
        """Nor when the connection is to be closed after it."""
        monkeypatch.setattr(connection, "LINGER_SECONDS", 0.3)
        async with connect() as sender:
            sender.writer.transport.pause_reading()
            sender.send(self.LARGE.replace(b"HTTP/1.1", b"HTTP/1.0"))
            await self.ended(connect)

    async def test_a_body_that_was_not_read(self, connect):
        """A connection that rests keeps nothing of the body of its last request."""
        async with connect() as sender:
            sender.send(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n")
            sender.send(b"x" * 9_000)
            assert (await sender.answer())[0] == 200
            [served] = connect.server.server_state.connections
            assert (len(served.cycle.body), "extensions" in served.cycle.scope) == (0, False)


class TestMany:
    async def test_surplus(self, monkeypatch, app, connect):
        """One connection too many is answered 429, the others are served; far too many, closed."""
        monkeypatch.setattr(connection, "MAX_CONNECTIONS", 2)
        async with connect() as one, connect() as two:
            for sender in (one, two):
                sender.send(HELLO)
                assert (await sender.answer())[0] == 200
            async with connect() as three, connect() as four:
                three.send(HELLO)
                status, headers, body = await three.answer()
                assert (status, headers["retry-after"], headers["connection"]) == (
                    429,
                    "1",
                    "close",
                )
                assert body == {"error": "busy: too many connections; send it again"}
                async with connect() as five, connect() as six:
                    assert await six.closed()
                    one.send(HELLO)
                    assert (await one.answer())[0] == 200
                    assert five, four
        assert app.refused == ["queue_full"]

    async def test_crowded(self, monkeypatch, connect):
        """Unused connections are closed while there are too many."""
        monkeypatch.setattr(connection, "MAX_CONNECTIONS", 1)
        monkeypatch.setattr("publisher.server.MAX_CONNECTIONS", 1)
        async with connect() as idle:
            idle.send(HELLO)
            assert (await idle.answer())[0] == 200
            async with connect() as another:
                assert await idle.closed()
                assert another
            statuses = [429]  # until the server has seen that the other one is gone
            async with asyncio.timeout(SECONDS):
                while statuses[-1] == 429:
                    async with connect() as next_one:
                        next_one.send(HELLO)
                        statuses.append((await next_one.answer())[0])
            assert statuses[-1] == 200
