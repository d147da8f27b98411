"""A load client for HTTP/1.1 with connections that are kept: cheap, so that it shares a machine.

It reads of an answer only what it must: the status, where it ends, whether the connection stays.
Run it on uvloop (`run`): there it sends several times what a Python service can answer.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine
from time import monotonic  # the loop's own clock has whole milliseconds
from typing import Any, TypeVar, cast

import uvloop

from bench.publisher.requests import Stream
from bench.publisher.tally import NO_ANSWER, Answered, Tally
from local.ports import split

# How long what is in flight at the end of a load is waited for: longer than the service's own
# deadlines (8 s for the broker).
PATIENCE_SECONDS = 20.0
_CONNECT_SECONDS = 5.0
_AGAIN_SECONDS = 0.05
_TICK_SECONDS = 0.002
_LENGTH = b"\r\ncontent-length:"

_T = TypeVar("_T")


def run(load: Coroutine[Any, Any, _T]) -> _T:
    """Runs a load to its end, on uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(load)


class UnreadableError(Exception):
    """An answer whose end can't be known."""


class Connection(asyncio.Protocol):
    """One connection: one request at a time.

    Args:
        load: Told what becomes of it.

    Attributes:
        number: Of the request that is in flight; None between two.
        due: When that one was to be sent.
    """

    __slots__ = ("_buffer", "_load", "_transport", "due", "number")

    def __init__(self, load: "Load") -> None:
        self._load = load
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self.number: int | None = None
        self.due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.BaseProtocol`."""
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast(asyncio.Transport, transport)

    def send(self, number: int, due: float, request: bytes) -> None:
        """Sends a request; the connection must be free."""
        self.number = number
        self.due = due
        if self._transport is not None:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._buffer:
            data = self._buffer + data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._buffer = data
            return
        status = int(data[9:12])
        head = data[: end + 2].lower()
        body = b""
        if status != 204:
            at = head.find(_LENGTH)
            if at < 0:
                self._load.fail(UnreadableError(f"no Content-Length in {head!r}"))
                self.close()
                return
            whole = end + 4 + int(head[at + len(_LENGTH) : head.index(b"\r", at + 2)])
            if len(data) < whole:
                self._buffer = data
                return
            body = data[end + 4 : whole]
        self._buffer = b""
        self._load.answered(self, status, head, body)
        if b"\r\nconnection: close" in head:
            self.close()
        else:
            self._load.free(self)

    def connection_lost(self, _: Exception | None) -> None:
        """See `asyncio.BaseProtocol`."""
        self._transport = None
        self._load.lost(self)

    def close(self) -> None:
        """Ends it; `Load.lost` is told."""
        if self._transport is not None:
            self._transport.close()


class Load:
    """What closed and open loops share: connections, and what is noted of their answers.

    Args:
        address: `host:port` of the service.
        stream: Where the requests come from.
        tally: Where what became of them is noted.
    """

    def __init__(self, address: str, stream: Stream, tally: Tally) -> None:
        self._host, self._port = split(address)
        self._stream = stream
        self._tally = tally
        self._loop = asyncio.get_running_loop()
        self._open: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._over = asyncio.Event()
        self._error: Exception | None = None

    def answered(self, connection: Connection, status: int, head: bytes, body: bytes) -> None:
        """An answer is whole."""
        number = connection.number
        if number is None:
            self.fail(UnreadableError(f"an answer without a request: {head!r}"))
            return
        connection.number = None
        tally = self._tally
        tally.answers.append(Answered(number, status, connection.due, monotonic() - connection.due))
        if status == 200:
            tally.bodies[number] = body
        elif status in (429, 503) and b"\r\nretry-after:" not in head:
            tally.without_retry_after += 1

    def lost(self, connection: Connection) -> None:
        """A connection has ended; what was in flight on it has no answer."""
        self._open.discard(connection)
        if connection.number is not None:
            seconds = monotonic() - connection.due
            self._tally.answers.append(
                Answered(connection.number, NO_ANSWER, connection.due, seconds)
            )
            self.unanswered(connection.number)
            connection.number = None
        if self._stopping:
            self._look_whether_over()
        else:
            self.replace(connection)

    def free(self, connection: Connection) -> None:
        """A connection can take a request."""
        raise NotImplementedError

    def replace(self, connection: Connection) -> None:
        """A connection has gone while the load goes on."""
        raise NotImplementedError

    def unanswered(self, number: int) -> None:
        """A request was sent and its connection has gone."""

    def fail(self, error: Exception) -> None:
        """Something went wrong that makes the load worthless: `finish` raises it."""
        self._error = self._error or error

    def connect(self) -> None:
        """Opens a connection; `free` is told, after as many attempts as it takes."""
        task = self._loop.create_task(self._connect())
        self._tasks.add(task)
        task.add_done_callback(self._connected)

    async def finish(self) -> None:
        """Ends the load: nothing new is sent, what is in flight is waited for.

        What has no answer after `PATIENCE_SECONDS` is noted as `NO_ANSWER`.

        Raises:
            UnreadableError: An answer was none that this client reads.
        """
        self._tally.ended = monotonic()
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        for connection in list(self._open):
            if connection.number is None:
                connection.close()
        self._look_whether_over()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._over.wait()
        except TimeoutError:
            for connection in list(self._open):
                connection.close()
            await self._over.wait()
        if self._error is not None:
            raise self._error

    async def _connect(self) -> None:
        while not self._stopping:
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    _, connection = await self._loop.create_connection(
                        lambda: Connection(self), self._host, self._port
                    )
            except OSError:  # refused or timed out: the service is being started again
                self._tally.refused_connections += 1
                await asyncio.sleep(_AGAIN_SECONDS)
            else:
                self._open.add(connection)
                if self._stopping:
                    connection.close()
                else:
                    self.free(connection)
                return

    def _connected(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.result()
        if self._stopping:
            self._look_whether_over()

    def _look_whether_over(self) -> None:
        if not self._open and not self._tasks:
            self._over.set()


class ClosedLoop(Load):
    """Each connection sends its next request when the last one is answered."""

    def free(self, connection: Connection) -> None:
        """See `Load.free`."""
        if self._stopping:
            connection.close()
            return
        number = self._stream.next()
        self._tally.offered += 1
        connection.send(number, monotonic(), self._stream.request(number))

    def replace(self, _: Connection) -> None:
        """See `Load.replace`."""
        self.connect()

    async def run(self, connections: int, seconds: float) -> None:
        """Sends for so many seconds over so many connections."""
        self._tally.began = monotonic()
        for _ in range(connections):
            self.connect()
        await asyncio.sleep(seconds)
        await self.finish()


class OpenLoop(Load):
    """Requests are due at a rate, whatever the answers; connections are opened as needed."""

    def __init__(self, address: str, stream: Stream, tally: Tally) -> None:
        super().__init__(address, stream, tally)
        self._free: dict[Connection, None] = {}  # the last one to be free is taken first
        self._waiting: deque[tuple[int, float]] = deque()  # each has a connection on its way

    def free(self, connection: Connection) -> None:
        """See `Load.free`."""
        if self._waiting:
            number, due = self._waiting.popleft()
            connection.send(number, due, self._stream.request(number))
        elif self._stopping:
            connection.close()
        else:
            self._free[connection] = None

    def lost(self, connection: Connection) -> None:
        """See `Load.lost`."""
        self._free.pop(connection, None)
        super().lost(connection)

    def replace(self, _: Connection) -> None:
        """See `Load.replace`: the next request that needs one opens it."""

    async def run(self, rate: float, connections: int, seconds: float) -> None:
        """Sends so many requests a second for so many seconds, over at most so many connections.

        What finds no free connection, and none that may still be opened, is not sent.
        """
        tally = self._tally
        tally.began = monotonic()
        end = tally.began + seconds
        while (now := monotonic()) < end:
            wanted = int((now - tally.began) * rate) + 1
            while tally.offered < wanted:
                self._offer(tally.began + tally.offered / rate, connections)
                tally.offered += 1
            await asyncio.sleep(_TICK_SECONDS)
        tally.not_sent += len(self._waiting)
        self._waiting.clear()
        await self.finish()

    def _offer(self, due: float, connections: int) -> None:
        if self._free:
            connection, _ = self._free.popitem()
            number = self._stream.next()
            connection.send(number, due, self._stream.request(number))
        elif len(self._open) + len(self._tasks) < connections:
            self._waiting.append((self._stream.next(), due))
            self.connect()
        else:
            self._tally.not_sent += 1


async def closed(address: str, stream: Stream, connections: int, seconds: float) -> Tally:
    """A closed loop to its end."""
    tally = Tally()
    await ClosedLoop(address, stream, tally).run(connections, seconds)
    return tally


async def opened(
    address: str, stream: Stream, rate: float, connections: int, seconds: float
) -> Tally:
    """An open loop to its end."""
    tally = Tally()
    await OpenLoop(address, stream, tally).run(rate, connections, seconds)
    return tally
