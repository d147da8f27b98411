"""An application and its senders, with a real server and real bytes between them."""

import asyncio
import json
from contextlib import asynccontextmanager

from publisher.connection import MAX_HEAD_BYTES
from publisher.server import server_of
from publisher.settings import Settings

SECONDS = 10
HELLO = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


class App:
    """Answers each request with its path, body and headers; or holds it until it is let."""

    def __init__(self):
        self.refused = []
        self.busy = ""
        self.begun = []
        self.cancelled = []
        self.another = asyncio.Condition()
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            scope["state"].update(refused=self.refused.append, busy=lambda: self.busy)
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        path = scope["path"]
        await self.tell(self.begun, path)
        if path == "/fails":
            raise KeyError("a secret")
        if path == "/silent":
            return
        try:
            body, more = b"", path != "/early"
            while more:
                event = await receive()
                body += event["body"]
                more = event["more_body"]
            await self.open.wait()
        except asyncio.CancelledError:
            await self.tell(self.cancelled, path)
            raise
        names = [name.decode() for name, _ in scope["headers"]]
        answer = json.dumps({"path": path, "body": body.decode(), "names": names}).encode()
        headers = [(b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def tell(self, told, what):
        async with self.another:
            told.append(what)
            self.another.notify_all()

    async def until(self, reached):
        async with asyncio.timeout(SECONDS), self.another:
            await self.another.wait_for(reached)


class Sender:
    """One end of a connection."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    def send(self, data):
        self.writer.write(data)

    async def answer(self):
        """Status, headers and body of the next answer; None when the connection is closed."""
        async with asyncio.timeout(SECONDS):
            try:
                head = await self.reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError as error:
                if error.partial:
                    raise
                return None
            first, *lines = head[:-4].decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines)
            body = await self.reader.readexactly(int(headers["content-length"]))
            return int(first.split()[1]), headers, json.loads(body)

    async def refusal(self):
        """Status and reason of an answer that closes the connection."""
        status, headers, body = await self.answer()
        assert headers["connection"] == "close"
        assert headers["content-type"] == "application/json"
        assert await self.answer() is None
        return status, body["error"]

    async def flood_until_refused(self):
        """Sends more and more of a header until an answer comes; returns the refusal."""
        reading = asyncio.create_task(self.refusal())
        sent = 0
        while not reading.done():
            self.send(b"x" * 1_024)
            await asyncio.wait_for(self.writer.drain(), SECONDS)
            await asyncio.sleep(0)
            sent += 1_024
            assert sent < 100 * MAX_HEAD_BYTES
        return await reading

    async def closed(self):
        """Waits until the connection is closed without a further byte."""
        async with asyncio.timeout(SECONDS):
            try:
                return await self.reader.read() == b""
            except ConnectionResetError:
                return True


@asynccontextmanager
async def serving(app):
    """A server of the application, as a function that opens connections to it; ended after."""
    server = server_of(app, Settings("demo-project", host="127.0.0.1", port=0))
    ending = asyncio.create_task(server.serve())
    async with asyncio.timeout(SECONDS):
        while not server.started:  # noqa: ASYNC110  # uvicorn tells nobody
            await asyncio.sleep(0.01)
    port = server.listeners[0].sockets[0].getsockname()[1]

    @asynccontextmanager
    async def connect():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield Sender(reader, writer)
        finally:
            writer.close()

    connect.server = server
    connect.ending = ending
    yield connect
    app.open.set()
    server.should_exit = True
    await asyncio.wait_for(ending, SECONDS)
