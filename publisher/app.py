"""The ASGI application: routes, statuses and the service's life, around `intake` and `broker`."""

import asyncio
import logging
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from publisher.body import read_body
from publisher.broker import Broker, BrokerError
from publisher.intake import Refused, Stamp, judge
from publisher.readiness import Readiness
from publisher.settings import Settings
from schemas.problem import ProblemsFound

RETRY_AFTER_SECONDS = 5
# A larger body is judged in a thread. Measured: a batch of this size takes 30 ms, nine megabytes of
# JSON one to three seconds. Python's JSON scanner lets the event loop run only where it calls back
# (at a number, at the end of an object), so a thread helps but does not shield: nine megabytes of
# numbers hold the loop for 20 ms at a time, of strings 0.1 s, of empty arrays, the worst, 1.4 s.
INLINE_BYTES = 16_384
# Two threads are no faster than one, Python runs one at a time; each may take 200 MB.
JUDGED_AT_ONCE = 1

log = logging.getLogger("publisher")


def create_app(
    settings: Callable[[], Settings],
    broker: Callable[[Settings], Broker],
    stamp: Stamp | None = None,
) -> ASGIApp:
    """The service; settings are read and the broker opened when the server starts.

    Args:
        settings: Reads them; `ProblemsFound` ends the start with its sentences.
        broker: Opens it, in the event loop that serves.
        stamp: Where ids and times of manual issues come from; the system's by default.
    """
    http = Starlette(
        routes=[
            Route("/", _post, methods=["POST"]),
            Route("/live", _live),
            Route("/ready", _ready),
        ],
        exception_handlers={HTTPException: _http_error, Exception: _server_error},
    )
    http.router.redirect_slashes = False
    http.state.stamp = stamp or Stamp()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live_through(http, settings, broker, receive, send)
        elif scope["type"] == "http":
            await http(scope, receive, send)
        else:
            raise NotImplementedError(f"no {scope['type']} is served")

    return app


async def _live_through(
    http: Starlette,
    settings: Callable[[], Settings],
    open_broker: Callable[[Settings], Broker],
    receive: Receive,
    send: Send,
) -> None:
    """The lifespan protocol, by hand: Starlette's own prints a traceback for a wrong setting."""
    await receive()
    try:
        broker = open_broker(settings())
    except ProblemsFound as error:
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        return
    http.state.broker = broker
    http.state.readiness = Readiness(broker)
    http.state.judging = asyncio.Semaphore(JUDGED_AT_ONCE)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await broker.close()
    await send({"type": "lifespan.shutdown.complete"})


async def _post(request: Request) -> Response:
    """Every kind of request; answered only when the broker has its messages."""
    headers = request.headers
    try:
        body = await read_body(
            request.stream(),
            headers.get("content-length", ""),
            waits=headers.get("expect", "").lower() == "100-continue",
        )
        arguments = (headers.raw, body, request.app.state.stamp)
        if len(body) > INLINE_BYTES:
            async with request.app.state.judging:
                accepted = await asyncio.to_thread(judge, *arguments)
        else:
            accepted = judge(*arguments)
    except ClientDisconnect:
        return Response(status_code=400)  # nobody is there to read it
    except Refused as refused:
        # Eventarc drops an event that is answered so: the log is where it can be found.
        log.warning("refused %s", refused)
        return _error(refused.status, refused.reason)
    try:
        await request.app.state.broker.publish(accepted.messages)
    except BrokerError as error:
        log.error("not published: %s", error)  # noqa: TRY400  # the reason is all there is
        return _error(503, "the message was not taken in time: send it again")
    if accepted.answer is None:
        return Response(status_code=204)
    return JSONResponse(accepted.answer)


async def _live(_: Request) -> Response:
    return JSONResponse({"status": "live"})


async def _ready(request: Request) -> Response:
    reason = await request.app.state.readiness.reason()
    return _error(503, reason) if reason else JSONResponse({"status": "ready"})


def _error(status: int, reason: str) -> JSONResponse:
    headers = {}
    if status == 503:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    if status in (408, 413):
        headers["Connection"] = "close"  # part of the body may still be on its way
    return JSONResponse({"error": reason}, status, headers)


def _http_error(_: Request, error: Exception) -> Response:
    """404 and 405, as JSON like every other error."""
    if not isinstance(error, HTTPException):
        raise error
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


def _server_error(_: Request, __: Exception) -> Response:
    """An unforeseen error: its traceback is in the server's log, never in the answer."""
    return _error(500, "internal error")
