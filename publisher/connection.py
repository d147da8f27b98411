"""One connection of a sender: uvicorn's HTTP/1.1 protocol, with bounds where it has none.

uvicorn with httptools keeps a header of any size in memory while it streams in, waits for ever for
headers that do not come, and answers in plain text what never reaches the application. Here all
three are bounded and every answer is JSON. A request whose sender is gone is cancelled, so that it
makes room for others. The parts of uvicorn that this leans on are not public: `constraints.txt`
pins it, and the tests send real bytes.
"""

import asyncio
import functools
import json
import math
from collections.abc import Callable, Iterable
from typing import Any, cast
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from publisher.browsers import EVERY_ANSWER
from publisher.cycle import WHOLE_BODY, Cycle
from publisher.form import FORM_TYPES

# Eventarc sends a dozen headers, a browser thirty. Cloud Run's own bound is 64 KiB:
# https://cloud.google.com/run/quotas
MAX_HEADERS = 100
MAX_HEAD_BYTES = 32_768

# Requests that one connection may have waiting behind the one that is served.
MAX_PIPELINED = 16

# More than Cloud Run sends requests at a time (1,000). A further connection is answered 429 once
# its request is here; beyond twice as many it is closed unheard. The head of a request is all that
# one holds which `room` does not count: 200 MB if 4,000 strangers send the longest one at a time.
MAX_CONNECTIONS = 2_000

# How long headers may take, and the rest of a body that nobody waits for any more.
HEAD_SECONDS = 10.0
# Longer than a load balancer leaves a connection unused, or its next request meets a closed one.
KEEP_ALIVE_SECONDS = 75.0
# How long the sender of a bad request may take to read its answer, and every sender the rest of one
# when the connection is to end.
LINGER_SECONDS = 2.0
# How long a sender may leave answers unread that fill the buffers between.
UNREAD_SECONDS = 20.0

_FORMS = tuple(type_.encode() for type_ in FORM_TYPES)

RETRY_SECONDS = 1
BUSY = "busy: too many connections; send it again"
GOING_DOWN = "the service is going down: send it again"

# Told why a request was refused; names of the metrics' closed set.
Refused = Callable[[str], None]

_PHRASES = {
    400: b"Bad Request",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
}


class BadHead(Exception):
    """The head of a request can't be taken.

    Args:
        status: HTTP status.
        reason: For the sender.
    """

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        self.reason = reason
        super().__init__(reason)


_TOO_MANY = (431, f"headers: more than {MAX_HEADERS}")
_TOO_LARGE = (431, f"headers: more than {MAX_HEAD_BYTES} bytes")
_PIPELINED = (400, f"more than {MAX_PIPELINED} requests before the first answer")
_UPGRADE = (400, "HTTP/1.1 alone is spoken here: send the body without an Upgrade header")
_NO_HTTP = (400, "not a valid HTTP/1.1 request")


class Connection(HttpToolsProtocol):
    """A connection with bounds; `Server.on_tick` calls `look` to hold those of time."""

    # As `connection_made` leaves it.
    _surplus = False
    _idle = False
    _refused = False
    _head = 0
    _silent = 0
    _until = math.inf
    _unread_until = math.inf
    _task: asyncio.Task[None] | None = None
    # What is being served; `cycle`, uvicorn's, is the last that came.
    _serving: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Counts the connection; its first request must come soon."""
        super().connection_made(transport)
        self._surplus = len(self.connections) > MAX_CONNECTIONS
        self._until = self.loop.time() + HEAD_SECONDS
        if len(self.connections) > 2 * MAX_CONNECTIONS:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends what nobody waits for any more."""
        super().connection_lost(exc)
        self.pipeline.clear()
        self._abandon()

    def pause_writing(self) -> None:
        """Answers wait for a sender that does not read them: not for ever."""
        super().pause_writing()
        self._unread_until = self.loop.time() + UNREAD_SECONDS

    def resume_writing(self) -> None:
        """The sender has read some."""
        super().resume_writing()
        self._unread_until = math.inf

    def data_received(self, data: bytes) -> None:
        """Parses what came, and refuses a head that grows too large before it is whole."""
        if self._refused:
            return  # read only so that the sender gets to reading the answer
        if self._idle:
            self._idle = False
            self._until = self.loop.time() + HEAD_SECONDS
        # A header is handed over only when it is whole: what is between is counted here.
        self._silent += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return  # to HTTP/2, say: not spoken here, which is no error
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            self.refuse(cause if isinstance(cause, BadHead) else BadHead(*_NO_HTTP))
        except httptools.HttpParserError:
            self.refuse(BadHead(*_NO_HTTP))
        else:
            if self._silent > MAX_HEAD_BYTES:
                self.refuse(BadHead(*_TOO_LARGE))

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._head = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or after a chunked body a trailer, is here."""
        self._head += len(name) + len(value)
        if self._head > MAX_HEAD_BYTES:
            raise BadHead(*_TOO_LARGE)
        if len(self.headers) == MAX_HEADERS:
            raise BadHead(*_TOO_MANY)
        # As uvicorn does.
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is whole: the request is served."""
        self._silent = 0
        self._until = math.inf
        if len(self.url) + self._head > MAX_HEAD_BYTES:
            raise BadHead(*_TOO_LARGE)
        if len(self.pipeline) == MAX_PIPELINED:
            raise BadHead(*_PIPELINED)
        # The parser drops the body of such a request.
        if self.parser.should_upgrade() and any(
            name in (b"content-length", b"transfer-encoding") for name, _ in self.headers
        ):
            raise BadHead(*_UPGRADE)
        self._begin()
        self.headers = []  # trailers are no headers of a request that is being judged

    def _begin(self) -> None:
        """Makes the request, and serves it or has it wait; in place of uvicorn's, for `Cycle`."""
        parser, scope = self.parser, self.scope
        version = parser.get_http_version()
        scope["method"] = parser.get_method().decode("ascii")
        scope["http_version"] = version
        scope["path"], scope["raw_path"], scope["query_string"] = _target(self.url)
        before = self.cycle
        self.cycle = cycle = Cycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if before is None or before.response_complete:
            self._start_asgi_task(cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

    def on_body(self, body: bytes) -> None:
        """A piece of a body is here."""
        self._silent = 0
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        """A request is whole."""
        cycle = self.cycle
        if cycle.response_complete:  # answered before: nobody waited for the rest
            self._rest()
            return
        cycle.more_body = False
        cycle.message_event.set()

    def on_response_complete(self) -> None:
        """A request is answered; the next one of the connection is served.

        In place of uvicorn's, which makes a timer for every answer.
        """
        self.server_state.total_requests += 1
        if self._serving:
            # A connection keeps its last request, and may rest for long.
            self._serving.body = bytearray()
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self.cycle.more_body:
            self._until = self.loop.time() + HEAD_SECONDS
        else:
            self._rest()

    def _rest(self) -> None:
        self._idle = True
        self._until = self.loop.time() + KEEP_ALIVE_SECONDS

    def _abandon(self) -> None:
        """Ends the request that is being served, unanswered."""
        if self._task and self._serving and not self._serving.response_complete:
            self._serving.disconnected = True
            self._task.cancel()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._serving = cycle
        if (self._surplus and (reason := BUSY)) or (
            cycle.scope["method"] == "POST"
            and (reason := self.app_state.get("busy", _nothing)())
            and not _wants_more(cycle.scope["headers"])
        ):
            # Not here and now: libuv, under uvloop, reads on while senders of 1,024 connections
            # answer at once, and nothing else is done; acks wait for seconds.
            self.loop.call_soon(self._turn_away, cycle, reason)
            return
        whole_body = cast("Cycle", cycle).whole_body
        cycle.scope["extensions"] = {WHOLE_BODY: whole_body}  # type: ignore[dict-item]
        self._task = self.loop.create_task(self._serve(cycle, app))
        self._task.add_done_callback(self.tasks.discard)
        self.tasks.add(self._task)

    def _turn_away(self, cycle: RequestResponseCycle, reason: str) -> None:
        """Answers 429 without a task, or anything else that costs time: there is none."""
        if cycle.disconnected or self._refused:
            return
        if self.flow.write_paused:  # it reads no answers: more of them would only be kept
            self.transport.abort()
            return
        self._count("queue_full")
        if self._surplus:
            cycle.keep_alive = False
        self._write(429, reason, close=not cycle.keep_alive)
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _write(self, status: int, reason: str, *, close: bool) -> None:
        """Writes an answer that is not the application's."""
        date = b"".join(b"%s: %s\r\n" % header for header in self.server_state.default_headers)
        status_line, rest = _rendered(status, reason, close)
        self.transport.write(status_line + date + rest)

    async def _serve(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Serves a request; in place of uvicorn's, which logs a cancelled one as an error."""
        try:
            await app(cycle.scope, cycle.receive, cycle.send)
            if not cycle.response_complete and not cycle.disconnected:
                raise RuntimeError("the application has not answered")  # noqa: TRY301
        except asyncio.CancelledError:
            # By `connection_lost`, or by the server, whose time is over.
            if not cycle.disconnected:
                await self._answer(cycle, 503, GOING_DOWN, "not_published")
            elif not self._refused:
                self._count("client_gone")
        except Exception:
            self.logger.exception("unforeseen")
            await self._answer(cycle, 500, "internal error", "internal")
        finally:
            cycle.on_response = _nothing
            # It holds the request: the two would be a cycle, freed by nobody but the collector.
            cycle.scope.pop("extensions", None)
            if not cycle.response_complete and not cycle.disconnected:
                self.transport.close()

    async def _answer(
        self, cycle: RequestResponseCycle, status: int, reason: str, counted: str
    ) -> None:
        """Answers in the application's place, and closes the connection."""
        if cycle.response_started:
            return
        self._count(counted)
        body = _body(reason)
        headers = [*_headers(status, body), (b"connection", b"close")]
        await cycle.send({"type": "http.response.start", "status": status, "headers": headers})
        await cycle.send({"type": "http.response.body", "body": body, "more_body": False})

    def refuse(self, bad: BadHead) -> None:
        """Answers what is no request, and reads on for a while without listening.

        To close at once would reset the connection under the sender, who would not see the answer.
        """
        self._refused = True
        last = self.cycle
        if last and not last.response_complete and not last.more_body:
            # The answer that is due first is another request's: it comes, and then no more.
            last.keep_alive = False
            return
        self._until = self.loop.time() + LINGER_SECONDS
        self._count("headers_too_large" if bad.status == 431 else "bad_request")
        if last and not last.response_complete:  # it is the body of this one that is broken
            self.pipeline.clear()
            self._abandon()
            if last is not self._serving or last.response_started:
                self.transport.close()
                return
        self._write(bad.status, bad.reason, close=True)
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def look(self, now: float, *, crowded: bool) -> None:
        """Closes the connection when its time is over, or when it rests while many want one."""
        if now >= self._unread_until:
            self.transport.abort()
        elif self.transport.is_closing():
            # It ends once all is written, and a sender that reads nothing would keep it.
            self._until = min(self._until, now + LINGER_SECONDS)
            if now >= self._until:
                self.transport.abort()
        elif now >= self._until or (crowded and self._idle):
            if self._silent and not self._idle and not self._refused:
                self._count("too_slow")
            self._until = math.inf
            self.transport.close()

    def stop_reading(self) -> None:
        """Ends a request whose body is not here yet."""
        if self._task and self._serving and self._serving.more_body:
            self._task.cancel()

    def _count(self, reason: str) -> None:
        self.app_state.get("refused", _nothing)(reason)


@functools.lru_cache(maxsize=64)
def _target(url: bytes) -> tuple[str, bytes, bytes]:
    """Path, raw path and query of a request's target.

    Raises:
        HttpParserError: It is no target.
    """
    parsed = httptools.parse_url(url)
    path = parsed.path.decode("ascii")
    return unquote(path) if "%" in path else path, parsed.path, parsed.query or b""


def _wants_more(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a 429 must be the application's: it is the page, or a script of another origin sees
    only an answer that says that it may.
    """
    return any(
        name == b"origin" or (name == b"content-type" and value.lower().startswith(_FORMS))
        for name, value in headers
    )


def _nothing(*_: object) -> None:
    """Where nobody counts."""


def _body(reason: str) -> bytes:
    return json.dumps({"error": reason}).encode()


def _headers(status: int, body: bytes) -> list[tuple[bytes, bytes]]:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        *EVERY_ANSWER,
    ]
    if status in (429, 503):
        headers.append((b"retry-after", b"%d" % RETRY_SECONDS))
    return headers


@functools.lru_cache(maxsize=64)
def _rendered(status: int, reason: str, close: bool) -> tuple[bytes, bytes]:
    """An answer's first line, and all but its date: a flood is answered by a few of them."""
    body = _body(reason)
    headers = _headers(status, body)
    if close:
        headers.append((b"connection", b"close"))
    lines = b"".join(b"%s: %s\r\n" % header for header in headers)
    return b"HTTP/1.1 %d %s\r\n" % (status, _PHRASES[status]), lines + b"\r\n" + body
