"""What a browser must be told, and what must not be taken from one.

**Every answer** carries the headers of `ANSWER_HEADERS`: scripts, styles and forms only from and
to the service itself, in no frame, nothing guessed from content. `Referrer-Policy: same-origin`
and not `no-referrer`: with the latter a browser sends `Origin: null` with the page's own form
(https://fetch.spec.whatwg.org/#append-a-request-origin-header), which is what a stranger's page
in a sandbox sends. Answers that say nothing of their own are never stored.

**Requests that change something** are refused when a browser sends them for a page of another
site. CORS does not stop those: a form posted from a stranger's page is sent without asking. It
matters most when access is off, on a laptop. The judgement is Go's `http.CrossOriginProtection`
(https://go.dev/src/net/http/csrf.go): a listed origin passes; `Sec-Fetch-Site`, which no script
can set, must say `same-origin` or `none`; a browser without it (an old one, or over plain HTTP)
must send an `Origin` that is the `Host`'s. Who sends neither is no browser and passes.

**DNS rebinding**: a stranger's name that suddenly resolves to 127.0.0.1 makes a stranger's page
same-origin. With access on it gains nothing, a browser holds no credential of ours. With access
off (`open_to_all`) browsers are taken only where the name can't be a stranger's: `localhost`, an
IP address, or the host of a listed origin.
"""

import ipaddress
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from publisher.logs import use_trace

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

ANSWER_HEADERS = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    # A year, of this name alone; a browser heeds it only over HTTPS (RFC 6797, 7.2).
    (b"strict-transport-security", b"max-age=31536000"),
)
_NOT_STORED = (b"cache-control", b"no-store")
EVERY_ANSWER = (*ANSWER_HEADERS, _NOT_STORED)
"""Those of an answer that says nothing of caches itself."""

CORS_HEADERS = ("Content-Type", "X-API-Key", "Idempotency-Key")
CORS_SECONDS = 600

# RFC 9110, 9.2.1: these change nothing.
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

CROSS_SITE = "cross_site"
_REASON = "a page of another site may not send this: list its origin in CORS_ORIGINS if it may"
_REASON_HOST = (
    "access is off, so a browser is taken only at localhost or an IP address: use one of them, or "
    "list this origin in CORS_ORIGINS"
)

log = logging.getLogger("publisher.browsers")


def guarded(
    app: ASGIApp,
    origins: Sequence[str],
    *,
    open_to_all: bool = False,
    refused: Callable[[str], None] | None = None,
) -> ASGIApp:
    """The application behind all of this.

    Args:
        app: What answers.
        origins: Whose pages may send requests, as browsers write them (`https://example.com`).
        open_to_all: Whether access is off.
        refused: Told `CROSS_SITE` for each request that is refused here.
    """
    listed = frozenset(origin.encode("latin-1") for origin in origins)
    hosts = frozenset(_authority(origin) for origin in listed) if open_to_all else None
    inner = app
    if origins:
        inner = CORSMiddleware(
            _unshared(app),
            allow_origins=list(origins),
            allow_methods=["POST"],
            allow_headers=CORS_HEADERS,
            expose_headers=["Retry-After"],
            max_age=CORS_SECONDS,
        )

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        use_trace(scope["headers"])

        def send_on(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                # A new one: the application may send the same object every time.
                headers = tuple(message.get("headers", ()))
                message = {**message, "headers": _with_ours(headers)}
            return send(message)

        reason = ""
        if scope["method"] not in _SAFE:
            reason = refusal(scope["headers"], listed, hosts)
        if reason:
            log.warning("refused: from a page of another site, or under a name that is not ours")
            if refused:
                refused(CROSS_SITE)
            await _forbid(reason, send_on)
        else:
            await inner(scope, receive, send_on)

    return guard


def _unshared(app: ASGIApp) -> ASGIApp:
    """The application, each of whose messages is a new object.

    CORSMiddleware writes its headers into the message that it is handed. Where that is the same
    one every time, the next page of any origin would be answered with this one's permission.
    """

    async def copying(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_copy(message: Message) -> None:
            await send({**message})

        await app(scope, receive, send_copy)

    return copying


def refusal(
    headers: Iterable[tuple[bytes, bytes]],
    listed: frozenset[bytes],
    hosts: frozenset[bytes] | None = None,
) -> str:
    """Why a request that changes something is not taken; '' when it is.

    Args:
        headers: As ASGI has them.
        listed: Origins that may send it.
        hosts: Names under which browsers are taken beside localhost and addresses; None takes
            them under any.
    """
    origins, site, host = _from_browser(headers)
    if not origins and site is None:
        return ""
    if len(origins) > 1:
        return _REASON
    if origins and origins[0] in listed:
        return ""
    # What a browser says of itself comes before what a proxy may have made of the Host.
    own = _authority(origins[0]) == host if site is None else site in (b"same-origin", b"none")
    if not own:
        return _REASON
    if hosts is not None and host not in hosts and not _is_local(host):
        return _REASON_HOST
    return ""


def _from_browser(
    headers: Iterable[tuple[bytes, bytes]],
) -> tuple[list[bytes], bytes | None, bytes]:
    """Every Origin, Sec-Fetch-Site if there is one, and the Host in lower case."""
    origins, site, host = [], None, b""
    for name, value in headers:
        if name == b"origin":
            origins.append(value)
        elif name == b"sec-fetch-site":
            site = value
        elif name == b"host":
            host = value.lower()
    return origins, site, host


def _authority(origin: bytes) -> bytes:
    """Host and port of an origin; its scheme is left out, as TLS ends before us.

    `null` has none: it gives itself, which is no Host.
    """
    return origin.partition(b"://")[2].lower() or b"null://"


def _is_local(host: bytes) -> bool:
    """Whether no name server was asked for this Host: localhost or an address."""
    try:
        name = urlsplit("//" + host.decode("latin-1")).hostname or ""
    except ValueError:
        return False
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761, 6.3
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=256)
def _with_ours(headers: tuple[tuple[bytes, bytes], ...]) -> tuple[tuple[bytes, bytes], ...]:
    for name, _ in headers:
        if name == b"cache-control":
            return headers + ANSWER_HEADERS
    return headers + EVERY_ANSWER


async def _forbid(reason: str, send: Send) -> None:
    body = json.dumps({"error": reason}).encode()
    headers = (
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    )
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})
