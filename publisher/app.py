"""The ASGI application: what is served where, and the service's life."""

import uuid
from collections.abc import Callable
from importlib import import_module
from typing import cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from publisher import page
from publisher.access import open_access
from publisher.broker import Broker
from publisher.browsers import guarded
from publisher.intake import Stamp
from publisher.metrics import Metrics
from publisher.openapi import document as openapi_document
from publisher.post import RETRY_SECONDS, Post, Refusal, bounds_of, error_response, later
from publisher.pubsub import Observe
from publisher.readiness import Readiness
from publisher.room import Room
from publisher.settings import FLAT, Settings
from schemas.message import Message
from schemas.problem import ProblemsFound

OpenBroker = Callable[[Settings, Observe], Broker]


def create_app(
    settings: Callable[[], Settings],
    open_broker: OpenBroker,
    stamp: Stamp | None = None,
) -> ASGIApp:
    """The service; settings are read and the broker opened when the server starts.

    Args:
        settings: Reads them; `ProblemsFound` ends the start with its sentences.
        open_broker: Opens it, in the event loop that serves.
        stamp: Where ids and times of manual issues come from; the system's by default.
    """
    serve: ASGIApp | None = None

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal serve
        if scope["type"] == "http":
            if serve is None:
                raise RuntimeError("not started: the lifespan protocol comes first")
            await serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            # By hand: Starlette's own prints a traceback for a wrong setting.
            await receive()
            try:
                read = settings()
                metrics = Metrics()
                broker = open_broker(read, metrics.called)
                room = Room(read.queue_messages, read.queue_bytes)
                serve = service(read, broker, metrics, stamp or Stamp(), room)
                served = metrics.serve(read.metrics_port) if read.metrics_port else None
            except ProblemsFound as error:
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            # By these the server refuses before there is a request, and counts it.
            scope.get("state", {}).update(refused=metrics.refused, busy=room.busy)
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await broker.close()
            if served:
                served.close()
            await send({"type": "lifespan.shutdown.complete"})
        else:
            raise NotImplementedError(f"no {scope['type']} is served")

    return app


def service(
    settings: Settings, broker: Broker, metrics: Metrics, stamp: Stamp, room: Room
) -> ASGIApp:
    """What is served once the settings are read and the broker is open.

    Args:
        settings: What it runs with.
        broker: Where messages go; closed by whoever opened it.
        metrics: Told of every outcome.
        stamp: Where ids and times of manual issues come from.
        room: Bounds what is held at once.
    """
    metrics.watch(room)
    access = open_access(settings)
    readiness = Readiness(broker, room)
    bounds = bounds_of(settings.body_deadline)
    post = Post(broker, room, access, metrics, stamp, *bounds, _reshape(settings))
    rest = Starlette(
        routes=routes(settings, readiness),
        exception_handlers={HTTPException: _http_error, Exception: _server_error},
    )
    rest.router.redirect_slashes = False

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        # `POST /` is nearly all there is: it passes by the router.
        if scope["method"] == "POST" and scope["path"] == "/":
            await post(scope, receive, send)
        else:
            await rest(scope, receive, send)

    return guarded(
        dispatch,
        settings.origins,
        open_to_all=not settings.auth,
        refused=metrics.refused,
    )


def routes(settings: Settings, readiness: Readiness) -> list[BaseRoute]:
    """All routes but `POST /`."""
    document = openapi_document(settings)

    async def form(_: Request) -> Response:
        return page.render(page.Page(settings.auth, str(uuid.uuid4())))

    async def live(_: Request) -> Response:
        return JSONResponse({"status": "live"})

    async def ready(_: Request) -> Response:
        if reason := await readiness.reason():
            return error_response(later(503, reason, "not_ready", RETRY_SECONDS))
        return JSONResponse({"status": "ready"})

    async def contract(_: Request) -> Response:
        return JSONResponse(document)

    return [
        # POST comes by here never: it is named for the Allow of a 405.
        Route("/", form, methods=["GET", "POST"]),
        Route("/live", live),
        Route("/ready", ready),
        Route("/openapi.json", contract),
        *page.routes(),
    ]


def _reshape(settings: Settings) -> Callable[[Message], Message] | None:
    """What a message becomes before it is published; None leaves it as it is."""
    if settings.message_format != FLAT:
        return None
    # Only here: it brings the protobuf decoder, which the usual format does without.
    return cast("Callable[[Message], Message]", import_module("publisher.flat").to_flat)


def _http_error(_: Request, error: Exception) -> Response:
    """404 and 405, as JSON like every other error."""
    if not isinstance(error, HTTPException):
        raise error
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


def _server_error(_: Request, __: Exception) -> Response:
    """An unforeseen error: its traceback is in the server's log, never in the answer."""
    return error_response(Refusal(500, "internal error", "internal"))
