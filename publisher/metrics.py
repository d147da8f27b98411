"""The service's metrics: what they are, in one list, and the class that counts them.

They are served to a sidecar on 127.0.0.1 (METRICS_PORT). The containers of a Cloud Run instance
share its network, and only the service's own port is reached from outside
(https://cloud.google.com/run/docs/deploying#sidecars), so Google's Prometheus sidecar sees them and
strangers don't. Requests, their statuses and latencies, instances, CPU and memory are Cloud Run's
own metrics and are not repeated here.

Every series is there from the start, at zero: a rate over a counter that appears with its first
event misses that event.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from schemas.problem import Problem, ProblemsFound

ADDRESS = "127.0.0.1"
_STOP_SECONDS = 5.0

KINDS = ("event", "issue")

REASONS = (
    "bad_request",  # 400: can never be a message
    "too_large",  # 413
    "wrong_type",  # 415
    "too_slow",  # 408: the head or the body did not come in time
    "headers_too_large",  # 431
    "unauthenticated",  # 401
    "forbidden",  # 403
    "cross_site",  # 403: a browser, from a page of another site
    "queue_full",  # 429
    "not_published",  # 503: no ack in time
    "not_checked",  # 503: Google's keys could not be had
    "client_gone",  # its connection ended before its answer
    "internal",  # 500: a fault of the service
)

# gRPC's codes by name (https://grpc.github.io/grpc/core/md_doc_statuscodes.html): what a
# call to Pub/Sub can end with.
OUTCOMES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)

# From the emulator's 2 ms over Pub/Sub's usual 10 to 100 ms; 1 s is what an accepted request may
# take under overload, 8 s the deadline of a publish, 10 s Eventarc's.
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 8.0, 10.0)
# One is a request alone, 1,000 the most that Pub/Sub takes in a call.
_MESSAGES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric as it is declared.

    Args:
        name: As Prometheus has it; a counter's ends in `_total`.
        kind: `counter`, `gauge` or `histogram`.
        help: What it counts.
        labels: Every label with all values that it can have.
        buckets: Upper bounds of a histogram's.
    """

    name: str
    kind: str
    help: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    buckets: tuple[float, ...] = ()


ACCEPTED = Metric(
    "publisher_accepted_messages_total",
    "counter",
    "Messages that Pub/Sub has and that were answered with a 2xx.",
    {"kind": KINDS},
)
REFUSED = Metric(
    "publisher_refused_requests_total",
    "counter",
    "Requests that were not answered with a 2xx.",
    {"reason": REASONS},
)
HELD_MESSAGES = Metric(
    "publisher_held_messages",
    "gauge",
    "Messages in the process: being read, judged, waiting, on their way.",
)
HELD_BYTES = Metric("publisher_held_bytes", "gauge", "Bytes of the same.")
CALLS = Metric(
    "publisher_publish_calls_total",
    "counter",
    "Publish calls to Pub/Sub, each retry one, by gRPC's code.",
    {"outcome": OUTCOMES},
)
CALL_SECONDS = Metric(
    "publisher_publish_call_seconds",
    "histogram",
    "Seconds that a publish call took, whatever its outcome.",
    buckets=_SECONDS,
)
CALL_MESSAGES = Metric(
    "publisher_publish_call_messages",
    "histogram",
    "Messages in a publish call.",
    buckets=_MESSAGES,
)

METRICS = (ACCEPTED, REFUSED, HELD_MESSAGES, HELD_BYTES, CALLS, CALL_SECONDS, CALL_MESSAGES)


class Held(Protocol):
    """What the process holds at this moment; `Room` is one."""

    @property
    def messages(self) -> int:
        """How many messages."""

    @property
    def bytes(self) -> int:
        """How many bytes."""


class Serving:
    """Metrics on their port, until it is closed.

    Args:
        server: Listens.
        thread: Serves.
    """

    def __init__(self, server: WSGIServer, thread: threading.Thread) -> None:
        self._server = server
        self._thread = thread
        self.port = int(server.server_port)

    def close(self) -> None:
        """Frees the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(_STOP_SECONDS)


class Metrics:
    """Counts, in a registry of its own: two services in one process don't mix.

    A label's value that is not declared is an error of the program and raises `KeyError`.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._accepted = self._counters(ACCEPTED)
        self._refused = self._counters(REFUSED)
        self._calls = self._counters(CALLS)
        self._call_seconds = self._histogram(CALL_SECONDS)
        self._call_messages = self._histogram(CALL_MESSAGES)
        self._held_messages = Gauge(HELD_MESSAGES.name, HELD_MESSAGES.help, registry=self.registry)
        self._held_bytes = Gauge(HELD_BYTES.name, HELD_BYTES.help, registry=self.registry)

    def accepted(self, kind: str, messages: int) -> None:
        """Pub/Sub has the messages of a request.

        Args:
            kind: One of `KINDS`.
            messages: How many.
        """
        self._accepted[kind].inc(messages)

    def refused(self, reason: str) -> None:
        """A request was not answered with a 2xx.

        Args:
            reason: One of `REASONS`.
        """
        self._refused[reason].inc()

    def called(self, outcome: str, seconds: float, messages: int) -> None:
        """A publish call ended.

        Args:
            outcome: One of `OUTCOMES`.
            seconds: How long it took.
            messages: How many were in it.
        """
        self._calls[outcome].inc()
        self._call_seconds.observe(seconds)
        self._call_messages.observe(messages)

    def watch(self, held: Held) -> None:
        """Whose figures the gauges show when they are asked.

        Args:
            held: The process's room; asked from the thread that serves.
        """
        self._held_messages.set_function(lambda: held.messages)
        self._held_bytes.set_function(lambda: held.bytes)

    def serve(self, port: int) -> Serving:
        """Serves the metrics on 127.0.0.1, from a thread that ends with the process.

        Args:
            port: 0 lets the system choose.

        Raises:
            ProblemsFound: The port is not to be had.
        """
        try:
            server, thread = start_http_server(port, ADDRESS, self.registry)
        except OSError as error:
            what = f"{ADDRESS}:{port} is not to be had: {error.strerror}"
            remedy = "name a free port; 0 serves no metrics"
            raise ProblemsFound([Problem("METRICS_PORT", what, remedy)]) from error
        return Serving(server, thread)

    def _counters(self, metric: Metric) -> dict[str, Counter]:
        """One counter a value of the metric's only label."""
        ((label, values),) = metric.labels.items()
        counter = Counter(metric.name, metric.help, [label], registry=self.registry)
        return {value: counter.labels(value) for value in values}

    def _histogram(self, metric: Metric) -> Histogram:
        return Histogram(metric.name, metric.help, buckets=metric.buckets, registry=self.registry)


def metrics_table() -> str:
    """The list as a table in Markdown, for docs/publisher.md."""
    rows = ["| metric | kind | what it counts | labels |", "|---|---|---|---|"]
    for metric in METRICS:
        labels = "; ".join(
            f"`{label}`: {', '.join(values)}" for label, values in metric.labels.items()
        )
        if metric.buckets:
            labels = "buckets up to " + ", ".join(f"{bound:g}" for bound in metric.buckets)
        rows.append(f"| `{metric.name}` | {metric.kind} | {metric.help} | {labels} |")
    return "\n".join(rows) + "\n"
