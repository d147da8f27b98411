"""The request that the service is for, `POST /`: from its headers to its answer.

The order is the contract's: room, who is asking, the body, what it is, whether the asker may send
that, and only then the topic. A sender hears a 2xx when Pub/Sub has every message of the request.
"""

import asyncio
import json
import logging
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from publisher import intake
from publisher.access import Access, Caller, Stranger
from publisher.body import Bounds, read_body
from publisher.broker import Broker, BrokerError
from publisher.cycle import WHOLE_BODY
from publisher.form import Form, read_form
from publisher.head import Head, Headers, Kind
from publisher.intake import Accepted, Refused, Stamp
from publisher.metrics import Metrics
from publisher.page import Page, render
from publisher.room import Full, Place, Room
from publisher.tokens import KeysUnavailable
from schemas.message import Message

# A full queue moves on within a second; an outage takes longer.
FULL_RETRY_SECONDS = 1
RETRY_SECONDS = 5

# A larger body is judged in a thread. Measured: a batch of this size takes 30 ms, nine megabytes of
# JSON one to three seconds. Python's JSON scanner lets the event loop run only where it calls back
# (at a number, at the end of an object), so a thread helps but does not shield: nine megabytes of
# numbers hold the loop for 20 ms at a time, of strings 0.1 s, of empty arrays, the worst, 1.4 s.
INLINE_BYTES = 16_384
# Two threads are no faster than one, Python runs one at a time; each may take 200 MB.
JUDGED_AT_ONCE = 1

# A form may have its key as a field, so it is read before anybody has shown one. Of a larger one
# (nine megabytes can take four seconds to part) the key must be in the header, as for all else.
MAX_BYTES_OF_STRANGERS = 262_144
# Whom nobody knows does not hold room for long either.
SECONDS_OF_STRANGERS = 5.0
_OF_STRANGERS = (
    f"form: more than {MAX_BYTES_OF_STRANGERS} bytes, of which the key is not looked for; send it "
    "as X-API-Key"
)

# How refusals are counted, by status.
_COUNTED = {400: "bad_request", 408: "too_slow", 413: "too_large", 415: "wrong_type"}

log = logging.getLogger("publisher")


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is no success.

    Args:
        status: Of HTTP.
        reason: For the sender.
        counted: For the metrics.
        headers: Beside the content's.
    """

    status: int
    reason: str
    counted: str
    headers: Mapping[str, str] = field(default_factory=dict)


class _Seen:
    """What is known of a request when it fails."""

    __slots__ = ("accept", "form", "kind")

    def __init__(self, accept: bytes) -> None:
        self.accept = accept
        self.kind: Kind | None = None
        self.form: Form | None = None

    @property
    def page(self) -> bool:
        """Whether the sender is answered by the page: forms are, unless JSON is asked for.

        Until its body is read, a form may still be JSON that curl sends without a content type.
        """
        if self.form is not None:
            return b"application/json" not in self.accept
        return self.kind is Kind.FORM and b"text/html" in self.accept


def bounds_of(seconds: float) -> tuple[Bounds, Bounds]:
    """What a body may be, and what one that comes before its key.

    Args:
        seconds: How long it may take.
    """
    few = min(seconds, SECONDS_OF_STRANGERS)
    return Bounds(seconds), Bounds(few, MAX_BYTES_OF_STRANGERS, _OF_STRANGERS)


@dataclass(frozen=True, slots=True, eq=False)
class Post:
    """Takes `POST /`, as an ASGI application of its own: no router stands before it.

    Args:
        broker: Where messages go.
        room: Bounds what is held at once.
        access: Who may send what.
        metrics: Told of every outcome.
        stamp: Where ids and times of manual issues come from.
        bounds: What a body may be.
        bounds_of_strangers: And one that comes before its key.
        reshape: What each message becomes before it is published; None leaves it as it is.
        judging: Where large bodies are judged.
    """

    broker: Broker
    room: Room
    access: Access
    metrics: Metrics
    stamp: Stamp
    bounds: Bounds
    bounds_of_strangers: Bounds
    reshape: Callable[[Message], Message] | None = None
    judging: Executor = field(default_factory=lambda: ThreadPoolExecutor(JUDGED_AT_ONCE))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers the request."""
        head = Head(scope["headers"])
        seen = _Seen(head.accept)
        try:
            with self.room.enter(0) as place:
                accepted = await self._take(scope, head, receive, place, seen)
        except ClientDisconnect:
            self.metrics.refused("client_gone")
            return
        except Exception as error:  # noqa: BLE001  # no error leaves without an answer
            refusal = refusal_of(error)
            self.metrics.refused(refusal.counted)
            response = self._refused(refusal, seen)
            await response(scope, receive, send)
            return
        self.metrics.accepted(accepted.kind.value, len(accepted.messages))
        if accepted.answer is None:
            await send(_NO_CONTENT)
            await send(_NO_BODY)
        elif seen.page:
            page = self._page(issue_id=accepted.answer["issue_id"])
            await render(page)(scope, receive, send)
        else:
            await _send_json(send, accepted.answer)

    async def _take(
        self, scope: Scope, head: Head, receive: Receive, place: Place, seen: _Seen
    ) -> Accepted:
        """What was accepted, once Pub/Sub has it."""
        headers: Headers = scope["headers"]
        kind = seen.kind = head.kind
        caller = await self.access.caller(headers)
        if kind is Kind.EVENT or (kind is Kind.JSON and not (caller.events or caller.issues)):
            caller.require(Kind.EVENT.value if kind is Kind.EVENT else Kind.ISSUE.value)
        if caller.events or caller.issues:
            bounds = self.bounds
        else:
            place.be_strange()
            bounds = self.bounds_of_strangers
        place.grow(size=min(head.size, bounds.most))
        # Nearly every body is here, as it was declared: no time is to be watched then.
        whole = scope.get("extensions", _NONE).get(WHOLE_BODY)
        body = whole(head.size) if whole and 0 < head.size <= bounds.most else None
        if body is None:
            body = await read_body(receive, place, bounds, declared=head.size, waits=head.waits)
        if len(body) > INLINE_BYTES:
            # Not under a lock: a sender that goes leaves its thread at work, and the next one in.
            run = copy_context().run
            accepted = await asyncio.get_running_loop().run_in_executor(
                self.judging, run, self._judge, headers, head, body, caller, seen
            )
        else:
            accepted = self._judge(headers, head, body, caller, seen)
        if len(accepted.messages) > 1:
            place.grow(messages=len(accepted.messages) - 1)
        await self.broker.publish(accepted.messages)
        return accepted

    def _judge(
        self, headers: Headers, head: Head, body: bytes, caller: Caller, seen: _Seen
    ) -> Accepted:
        form = None
        if seen.kind is Kind.FORM:
            form = read_form(head.content_type.decode("latin-1"), body)
        if form is None:
            accepted = intake.judge(headers, body, self.stamp, caller.client, head)
        else:
            seen.form = form
            if form.api_key and not caller.issues:
                caller = self.access.caller_by_key(form.api_key)
            # Before the form is judged: a stranger learns nothing of what is wrong with it.
            caller.require(Kind.ISSUE.value)
            accepted = intake.judge_form(form, self.stamp, caller.client, headers)
        caller.require(accepted.kind.value)
        if self.reshape:
            messages = tuple(self.reshape(message) for message in accepted.messages)
            accepted = replace(accepted, messages=messages)
        return accepted

    def _refused(self, refusal: Refusal, seen: _Seen) -> Response:
        if not seen.page:
            return error_response(refusal)
        shown: dict[str, Any] = {"error": refusal.reason, "status": refusal.status}
        if seen.form is not None:
            # The same key again: what was sent may be on the topic all the same.
            shown |= {"values": seen.form.values, "key": seen.form.idempotency_key}
        response = render(self._page(**shown))
        response.headers.update(refusal.headers)
        return response

    def _page(self, key: str = "", **shown: Any) -> Page:
        return Page(self.access.required, key or str(uuid.uuid4()), **shown)


def error_response(refusal: Refusal) -> JSONResponse:
    """The refusal as JSON."""
    return JSONResponse({"error": refusal.reason}, refusal.status, dict(refusal.headers))


def refusal_of(error: Exception) -> Refusal:
    """What an exception means to the sender; logged here, with what the sender is not told."""
    if isinstance(error, Refused):
        # Eventarc drops an event that is answered so: the log is where it can be found.
        log.warning("refused %s", error)
        # Part of such a body may still be on its way.
        headers = {"Connection": "close"} if error.status in (408, 413) else {}
        return Refusal(error.status, error.reason, _COUNTED[error.status], headers)
    if isinstance(error, Full):
        return later(429, str(error), "queue_full", FULL_RETRY_SECONDS)
    if isinstance(error, BrokerError):
        log.error("not published: %s", error)
        reason = "the message was not taken in time: send it again"
        return later(503, reason, "not_published", RETRY_SECONDS)
    if isinstance(error, Stranger):
        counted = "forbidden" if error.status == 403 else "unauthenticated"
        headers = {"WWW-Authenticate": error.challenge} if error.challenge else {}
        return Refusal(error.status, error.reason, counted, headers)
    if isinstance(error, KeysUnavailable):
        reason = "who is asking cannot be checked now: send it again"
        return later(503, reason, "not_checked", RETRY_SECONDS)
    log.error("unforeseen", exc_info=error)
    return Refusal(500, "internal error", "internal")


def later(status: int, reason: str, counted: str, seconds: int) -> Refusal:
    """A refusal that may pass by itself; the sender is told when to come again."""
    return Refusal(status, reason, counted, {"Retry-After": str(seconds)})


_NONE: Mapping[str, Any] = {}
_NO_CONTENT = {"type": "http.response.start", "status": 204, "headers": ()}
_NO_BODY = {"type": "http.response.body", "body": b""}

_encoded = json.JSONEncoder(separators=(",", ":")).encode


async def _send_json(send: Send, answer: Mapping[str, str]) -> None:
    """A 200, as `JSONResponse` sends it; nearly every answer is one, and this costs less."""
    body = _encoded(answer).encode()
    await send(_ok(len(body)))
    await send({"type": "http.response.body", "body": body})


@lru_cache(maxsize=8)
def _ok(length: int) -> dict[str, Any]:
    headers = ((b"content-length", b"%d" % length), (b"content-type", b"application/json"))
    return {"type": "http.response.start", "status": 200, "headers": headers}
