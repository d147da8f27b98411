"""HTTP to the stack's own parts: one request, one connection, a deadline, and no proxy between."""

import http.client
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from local.ports import is_served_by, split
from local.processes import Child

_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes

    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


def call(
    method: str,
    where: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    seconds: float = _SECONDS,
) -> Answer:
    """Sends one request.

    Args:
        method: GET, POST, ...
        where: `host:port/path?query`, percent-encoded; without a path, `/` is meant.
        body: What to send.
        headers: Sent as they are; `Content-Length` is added.
        seconds: For the connection and for each wait on it.

    Raises:
        OSError: It is not reached, or breaks off.
        http.client.HTTPException: What answers does not speak HTTP.
    """
    address, _, path = where.partition("/")
    host, port = split(address)
    connection = http.client.HTTPConnection(host, port, timeout=seconds)
    try:
        connection.request(method, f"/{path}", body=body, headers=dict(headers or {}))
        answer = connection.getresponse()
        return Answer(answer.status, answer.read())
    finally:
        connection.close()


def answers(where: str) -> bool:
    """Whether a GET is answered 200 within a second."""
    try:
        return call("GET", where, seconds=1).status == HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False


def serving(address: str, path: str = "") -> Callable[[Child], bool]:
    """Whether it is the child that answers there, and with 200."""
    port = split(address)[1]
    return lambda child: answers(f"{address}/{path}") and is_served_by(child.pid, port)
