"""The service's log: one record a line on stdout, as Cloud Logging reads it, or as people do.

On Cloud Run a line that is a JSON object becomes an entry of its own, and these names in it are
taken out of it (https://cloud.google.com/logging/docs/structured-logging#special-payload-fields):

| field | what it is |
|---|---|
| `severity`, `message`, `time` | of the record; the time is RFC 3339 in UTC, with microseconds |
| `logging.googleapis.com/trace` | `projects/PROJECT/traces/ID` of the request that caused it |
| `logging.googleapis.com/spanId`, `.../trace_sampled` | of the same, where the caller told them |
| `logging.googleapis.com/sourceLocation` | file, line and function that wrote it |
| `logger` | its logger's name; not a special field, so it stays in `jsonPayload` |

A traceback follows the message inside `message`, where Error Reporting looks for it and groups it.

No library: `google-cloud-logging` writes the same lines, and brings four clients and gRPC
services for it; `python-json-logger` knows none of these fields. What is logged is this
package's own sentences. Bodies, keys and tokens are never given to a logger; what looks like a
token or a key of ours is cut out all the same, since libraries log too.
"""

import contextvars
import json
import logging
import re
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from publisher.keys import KEY_PREFIX
from schemas.times import format_micros

# An entry may have 256 KiB (https://cloud.google.com/logging/quotas#log-limits). Nobody reads that
# much, and a flood of bad requests must not become a flood of long lines.
MAX_CHARACTERS = 8_192

Headers = Iterable[tuple[bytes, bytes]]

# uvicorn's: it would write to streams and in forms of its own.
_SERVERS = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")

_SEVERITIES = (
    (logging.CRITICAL, "CRITICAL"),
    (logging.ERROR, "ERROR"),
    (logging.WARNING, "WARNING"),
    (logging.INFO, "INFO"),
    (logging.NOTSET, "DEBUG"),
)

# https://www.w3.org/TR/trace-context/#traceparent-header-field-values : lower case only; version ff
# is none, and one after 00 may have more behind it.
_TRACEPARENT = re.compile(
    rb"([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
# https://cloud.google.com/trace/docs/trace-context#legacy-http-header : the span is decimal.
_CLOUD_TRACE = re.compile(rb"(?!0{32})([0-9A-Fa-f]{32})(?:/([0-9]{1,20}))?(?:;o=([0-9]{1,3}))?")
_SAMPLED = 0x01

# A signed token is three parts of base64url, the first two the start of JSON objects; a key begins
# with the prefix of ours.
_SECRET = re.compile(rf"eyJ[\w-]{{6,}}\.eyJ[\w-]*(?:\.[\w-]*)?|{KEY_PREFIX}\w+")

_headers: contextvars.ContextVar[Headers] = contextvars.ContextVar("headers", default=())


class LogSettings(Protocol):
    """The part of the settings that is read here."""

    @property
    def project(self) -> str:
        """Where the traces are."""

    @property
    def log_format(self) -> str:
        """`json` or `text`."""


@dataclass(frozen=True, slots=True)
class Trace:
    """The trace that a request belongs to.

    Args:
        id: 32 lower-case hexadecimal digits.
        span: The caller's span, 16 of them; '' when it told none.
        sampled: Whether the caller records it.
    """

    id: str
    span: str = ""
    sampled: bool = False


def configure(settings: LogSettings) -> None:
    """Makes every record one line on stdout: this package's from INFO on, others' from WARNING.

    Twice is fine. uvicorn must be started with `log_config=None`; what it has set up before (as
    the command `uvicorn` does) is undone.

    Args:
        settings: Project and format.
    """
    is_json = settings.log_format == "json"
    handler = _Stdout()
    handler.setFormatter(_Json(settings.project) if is_json else _Text())
    root = logging.getLogger()
    for old in [one for one in root.handlers if isinstance(one, _Stdout)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in _SERVERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    for name in ("publisher", "uvicorn"):
        logging.getLogger(name).setLevel(logging.INFO)


def use_trace(headers: Headers) -> None:
    """Makes the request's trace that of every record written from here on in this context.

    The server runs each request in a context of its own, and a thread that it hands work to has a
    copy. A task that serves many requests is to be started in an empty one. Nothing is parsed
    until there is a record.

    Args:
        headers: As ASGI has them: lower-case names, values as bytes.
    """
    _headers.set(headers)


def traced(headers: Headers) -> Trace | None:
    """The trace that the headers tell of; one that is malformed or sent twice tells nothing.

    `traceparent` (W3C) comes before `x-cloud-trace-context` (Google's older one); Cloud Run sends
    both.

    Args:
        headers: As ASGI has them.
    """
    parents: list[bytes] = []
    older: list[bytes] = []
    for name, value in headers:
        if name == b"traceparent":
            parents.append(value)
        elif name == b"x-cloud-trace-context":
            older.append(value)
    if len(parents) == 1 and (found := _TRACEPARENT.fullmatch(parents[0])):
        version, trace, span, flags, rest = found.groups()
        if version != b"ff" and not (version == b"00" and rest):
            return Trace(trace.decode(), span.decode(), sampled=bool(int(flags, 16) & _SAMPLED))
    if len(older) == 1 and (found := _CLOUD_TRACE.fullmatch(older[0])):
        span = int(found[2] or 0)
        if span < 1 << 64:
            sampled = bool(int(found[3] or 0) & _SAMPLED)
            return Trace(found[1].decode().lower(), f"{span:016x}" if span else "", sampled)
    return None


class _Stdout(logging.Handler):
    """One write a record, so that lines of several threads don't mix."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stdout.write(self.format(record) + "\n")
            sys.stdout.flush()
        except Exception:  # noqa: BLE001  # as logging's own handlers: a log ends no request
            self.handleError(record)


class _Json(logging.Formatter):
    """A record as a JSON object without line breaks."""

    def __init__(self, project: str) -> None:
        super().__init__()
        self._project = project

    def format(self, record: logging.LogRecord) -> str:
        message = _message(record)
        if trouble := _traceback(record):
            message = f"{message}\n{trouble}"
        entry: dict[str, object] = {
            "severity": _severity(record.levelno),
            "message": message,
            "time": _time(record),
            "logger": record.name,
            "logging.googleapis.com/sourceLocation": {
                "file": record.pathname,
                "line": str(record.lineno),
                "function": record.funcName,
            },
        }
        if trace := traced(_headers.get()):
            entry["logging.googleapis.com/trace"] = f"projects/{self._project}/traces/{trace.id}"
            entry["logging.googleapis.com/trace_sampled"] = trace.sampled
            if trace.span:
                entry["logging.googleapis.com/spanId"] = trace.span
        # ASCII: half of a surrogate pair, and what other readers take for line breaks, is escaped.
        return json.dumps(entry)


class _Text(logging.Formatter):
    """A record as a line to read; a traceback is set in, so that nothing in it starts a line."""

    def format(self, record: logging.LogRecord) -> str:
        head = f"{_time(record)} {_severity(record.levelno):8} {record.name}: "
        line = head + _printable(_message(record))
        if trace := traced(_headers.get()):
            line += f" [{trace.id}]"
        if trouble := _traceback(record):
            rows = trouble.replace("\r", "\\r").split("\n")
            line += "".join(f"\n    {_printable(row)}" for row in rows)
        return line


def _severity(level: int) -> str:
    return next(name for least, name in _SEVERITIES if level >= least)


def _time(record: logging.LogRecord) -> str:
    return format_micros(round(record.created * 1_000_000))


def _message(record: logging.LogRecord) -> str:
    return _bounded(record.getMessage())


def _traceback(record: logging.LogRecord) -> str:
    """The traceback; its end names the error, so its middle goes where it is too long."""
    if not record.exc_info or record.exc_info[1] is None:
        return ""
    return _bounded("".join(traceback.format_exception(record.exc_info[1])).rstrip("\n"))


def _bounded(text: str) -> str:
    if "eyJ" in text or KEY_PREFIX in text:
        text = _SECRET.sub("(a secret)", text)
    if len(text) > MAX_CHARACTERS:
        half = MAX_CHARACTERS // 2
        left_out = len(text) - 2 * half
        text = f"{text[:half]} ... {left_out} characters left out ... {text[-half:]}"
    return text


def _printable(text: str) -> str:
    """The text without line breaks and what else steers a terminal, each as its escape."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )
