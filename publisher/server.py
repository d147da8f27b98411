"""Serves the application, and ends within the time that Cloud Run leaves."""

import asyncio
import contextlib
import gc
import logging
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE

from publisher.broker import CLOSE_SECONDS
from publisher.connection import MAX_CONNECTIONS, Connection
from publisher.listener import Listener, bind
from publisher.settings import Settings

# Cloud Run kills an instance 10 s after SIGTERM:
# https://cloud.google.com/run/docs/container-contract#instance-shutdown
# Seconds after the signal, and what happens then to whoever is not through.
BODY_SECONDS = 3.0  # the rest of a body is not waited for: 503
ANSWER_SECONDS = 7.5  # the broker is closed, for `CLOSE_SECONDS`; what has no ack then: 503
FLUSH_SECONDS = 0.2  # for those answers after that, and once more for them to leave

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_POLL_SECONDS = 0.05
LOOK_TICKS = 10  # of uvicorn's, 0.1 s each

GC_OBJECTS = 20_000
"""New objects between two runs of the garbage collector: some 500 requests' worth."""

log = logging.getLogger("publisher")


class Server(uvicorn.Server):
    """uvicorn's server with an end that is bounded: a signal ends it, a second one at once."""

    async def startup(self, sockets: object = None) -> None:  # noqa: ARG002
        """Starts the application, then listens; in place of uvicorn's, for `listener`'s reason.

        Raises:
            SystemExit: With 3: the application, or an address, is not to be had.
        """
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            raise SystemExit(STARTUP_FAILURE)
        try:
            listening = await bind(self.config.host, self.config.port)
        except OSError as error:
            log.error("HOST, PORT: %s", error)  # noqa: TRY400  # the reason is all there is
            await self.lifespan.shutdown()
            raise SystemExit(STARTUP_FAILURE) from error
        self.listeners = [Listener(one, self._connection) for one in listening]
        self._log_started_message(listening)
        self.started = True

    def _connection(self) -> Connection:
        return Connection(self.config, self.server_state, self.lifespan.state)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Hears signals while it serves; uvicorn's would die of them again afterwards."""
        before = {one: signal.signal(one, self.handle_exit) for one in _SIGNALS}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """The first signal ends what is under way, the second does not wait for it."""
        if self.should_exit:
            self.force_exit = True
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: uvicorn's own work, and once a second every connection's time."""
        if counter % LOOK_TICKS == 0:
            now = asyncio.get_running_loop().time()
            crowded = len(self.server_state.connections) > MAX_CONNECTIONS
            for connection in self._connections():
                connection.look(now, crowded=crowded)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: object = None) -> None:  # noqa: ARG002
        """No new connection; who is being served is answered; then the end of the application."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        log.info("going down: %d requests to answer", len(self.server_state.tasks))
        for listener in self.listeners:
            listener.close()
        for connection in self._connections():
            connection.shutdown()
        if not await self._until(self._answered, began + BODY_SECONDS):
            for connection in self._connections():
                connection.stop_reading()
        await self._until(self._answered, began + ANSWER_SECONDS)
        ending = asyncio.create_task(self.lifespan.shutdown())
        await self._until(ending.done, began + ANSWER_SECONDS + CLOSE_SECONDS)
        if not await self._until(self._answered, loop.time() + FLUSH_SECONDS):
            for task in self.server_state.tasks:
                task.cancel()  # which is answered by a 503, too
        await self._until(lambda: not self.server_state.connections, loop.time() + FLUSH_SECONDS)

    def _connections(self) -> list[Connection]:
        return cast("list[Connection]", list(self.server_state.connections))

    def _answered(self) -> bool:
        return not self.server_state.tasks

    async def _until(self, done: Callable[[], bool], deadline: float) -> bool:
        """Waits until it is done, time is up, or a second signal came; returns the first."""
        loop = asyncio.get_running_loop()
        while not done():
            if self.force_exit or loop.time() >= deadline:
                return False
            await asyncio.sleep(_POLL_SECONDS)
        return True


def serve(app: ASGIApp, settings: Settings) -> int:
    """Serves until SIGTERM or SIGINT.

    Args:
        app: The application. Its lifespan may leave two functions in `state`: `refused` is called
            with the reason of every refusal that the application does not see itself; what `busy`
            returns, if anything, is the reason why a POST is answered 429 in its place.
        settings: Name host and port.

    Returns:
        The exit code: 1 when a second signal ended it before all was answered.

    Raises:
        SystemExit: With 3, when it could not start.
    """
    server = server_of(app, settings)
    # What is there now stays; a request leaves little that only the collector can free. At Python's
    # own threshold it took a tenth of all time.
    gc.freeze()
    gc.set_threshold(GC_OBJECTS)
    server.run()
    return 1 if server.force_exit else 0


def server_of(app: ASGIApp, settings: Settings) -> Server:
    """The server, not started yet; arguments are those of `serve`."""
    return Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            http=Connection,
            ws="none",
            lifespan="on",
            log_config=None,  # `logs.configure` is called before
            access_log=False,  # Cloud Run logs each request itself
            server_header=False,
            proxy_headers=False,  # nothing here asks who the client is
        )
    )
