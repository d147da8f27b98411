"""Brings the Firestore emulator's events to the publisher, as Eventarc does in the cloud.

The emulator posts each event to `/functions/projects/P/triggers/ID`, and the publisher serves
`POST /`; the relay passes the request on as it came (headers byte for byte, since the emulator
sends raw UTF-8 in them; body bytes as they are), under the publisher's path.

How the emulator delivers, as seen (Google Cloud SDK 528): one event at a time, in the order of
the writes; a write does not wait for its event; an answer that is not 2xx, or a refused
connection, is logged and the event dropped for good; an answer that takes its time holds up all
events behind it. Eventarc repeats instead. So the relay answers 200 as soon as it has the event,
and repeats to the publisher what is not answered 2xx, with backoff, until it is or `give_up` is
over (Eventarc: 24 hours). With 1,000 events in hand it holds its answers back, and with them the
emulator; what it has is lost with the process, which takes the emulator with it.
"""

import asyncio
import contextlib
import json
import logging
import random
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

from local.ports import HOST, split
from local.posted import HEAD_BYTES, Post, UnreadableError, read
from local.web import call

_LOG = logging.getLogger(__name__)

# Events that wait for the publisher, and those that it has at one time.
_EVENTS = 1_000
_ATTEMPTS = 16
# Different reasons that are told, each once.
_REFUSALS = 20
_FIRST_WAIT = 0.1
_LONGEST_WAIT = 5.0
_ANSWER_SECONDS = 60.0
_DAY = 86_400.0
_ANSWERED = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_REFUSED = b"HTTP/1.1 %d %b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

TRIGGER = "issues"
EVENT_TYPE = "google.cloud.firestore.document.v1.written"


class Relay:
    """A server on a thread of its own that takes events and posts them to the publisher.

    Each request is counted: `received` and then `delivered` or, after its time, `dropped`; or
    `refused`, where it can't be read.

    Args:
        port: Where the emulator posts to; 0 for any free one.
        publisher: The publisher's `host:port`; it need not be up yet.
        give_up: Seconds after which an event that is never answered 2xx is dropped.

    Raises:
        ValueError: The publisher's address is none.
    """

    def __init__(self, port: int, publisher: str, give_up: float = _DAY) -> None:
        self.port = port
        self.received = 0
        self.delivered = 0
        self.dropped = 0
        self.refused = 0
        self._publisher = publisher
        self._host, self._port = split(publisher)
        self._give_up = give_up
        self._told: set[str] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def open(self) -> None:
        """Starts to listen.

        Raises:
            OSError: The port is taken.
        """
        up: Future[None] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(up)), name="relay", daemon=True
        )
        self._thread.start()
        up.result()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._loop is not None and self._end is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join()

    @property
    def address(self) -> str:
        """Where the emulator posts to, as its `--functions_emulator` takes it."""
        return f"{HOST}:{self.port}"

    async def _serve(self, up: "Future[None]") -> None:
        room, attempts = asyncio.Semaphore(_EVENTS), asyncio.Semaphore(_ATTEMPTS)
        tasks: set[asyncio.Task[None]] = set()

        def spawn(work: Coroutine[Any, Any, None]) -> None:
            task = asyncio.ensure_future(work)
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        async def deliver(post: Post) -> None:
            try:
                await self._deliver(post, attempts)
            finally:
                room.release()

        async def take(post: Post) -> None:
            await room.acquire()
            self.received += 1
            spawn(deliver(post))

        try:
            server = await asyncio.start_server(
                lambda reader, writer: spawn(self._receive(reader, writer, take)),
                HOST,
                self.port,
                limit=HEAD_BYTES,
            )
        except OSError as error:
            up.set_exception(error)
            return
        self.port = server.sockets[0].getsockname()[1]
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        up.set_result(None)
        await self._end.wait()
        server.close()
        ending = list(tasks)
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    async def _receive(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        take: Callable[[Post], Awaitable[None]],
    ) -> None:
        """One connection of the emulator: each event taken, then answered."""
        with contextlib.closing(writer):
            try:
                while (post := await self._read(reader, writer)) is not None:
                    await take(post)
                    writer.write(_ANSWERED)
                    await writer.drain()
            except ConnectionError as error:
                _LOG.warning("the Firestore emulator's connection broke: %s", error)

    async def _read(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Post | None:
        """The next request of a connection; None at its end, or after one that is refused."""
        try:
            return await read(reader)
        except UnreadableError as error:
            self.refused += 1
            _LOG.error("an event is refused: %s", error)
            writer.write(_REFUSED % (error.status, error.status.phrase.encode()))
            await writer.drain()
            return None

    async def _deliver(self, post: Post, attempts: asyncio.Semaphore) -> None:
        """Posts one event until it is answered 2xx; none waits for another that is refused."""
        begun = time.monotonic()
        wait = _FIRST_WAIT
        while True:
            async with attempts:
                refusal = await self._refusal(post)
            if not refusal:
                self.delivered += 1
                return
            if time.monotonic() - begun > self._give_up:
                self.dropped += 1
                _LOG.error("an event is dropped, %s: %r", refusal, post.headers)
                return
            if refusal not in self._told and len(self._told) < _REFUSALS:
                self._told.add(refusal)
                _LOG.warning("events are sent again until they are taken: %s", refusal)
            # Jitter, so that those that were refused together do not come back together.
            await asyncio.sleep(random.uniform(wait / 2, wait))  # noqa: S311
            wait = min(wait * 2, _LONGEST_WAIT)

    async def _refusal(self, post: Post) -> str:
        """One attempt; why it was not answered 2xx, or nothing."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                reader, writer = await asyncio.open_connection(self._host, self._port)
                with contextlib.closing(writer):
                    writer.write(post.to_bytes(self._publisher))
                    await writer.drain()
                    status = await reader.readline()
                    if status.partition(b" ")[2].startswith(b"2"):
                        return ""
                    answer = await reader.read()
        except (OSError, TimeoutError) as error:
            return f"the publisher is not reached ({error!r})"
        except ValueError as error:  # what `readline` makes of a line beyond its limit
            return f"the publisher's answer is not HTTP ({error})"
        words = answer.rpartition(b"\r\n")[2].decode(errors="replace")
        return f"the publisher answers {status.decode(errors='replace').strip()}: {words}"


def register(firestore: str, project: str, pattern: str = "{path=**}") -> None:
    """Makes the Firestore emulator post every write of the documents that match a pattern.

    The emulator answers 404 without `Content-Type: application/json`, and 200 even when it was
    started without `--functions_emulator` and will post nothing. Registering again replaces.

    Args:
        firestore: The emulator's `host:port`.
        project: The project whose documents are meant.
        pattern: Eventarc's path pattern; the default is every document, however deep.

    Raises:
        OSError: It is not reached, or refuses.
    """
    trigger = {
        "eventType": EVENT_TYPE,
        "database": "(default)",
        "namespace": "(default)",
        "document": {"value": pattern, "matchType": "PATH_PATTERN"},
    }
    answer = call(
        "POST",
        f"{firestore}/emulator/v1/projects/{project}/eventarcTrigger?eventarcTriggerId={TRIGGER}",
        json.dumps(trigger).encode(),
        {"Content-Type": "application/json"},
    )
    if answer.status != HTTPStatus.OK:
        raise OSError(
            f"the Firestore emulator refuses the trigger: {answer.status} {answer.body!r}"
        )
