"""Riding out an outage: on an engine that ends at the first exception, waiting is ours to do.

Google's own retries are switched off (`retry=None`): they give up after ten minutes, say nothing
meanwhile and cannot be told to stop.
"""

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

import requests
from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError, TransportError

from pipeline import resident

T = TypeVar("T")
_log = logging.getLogger(__name__)

# Codes that say nothing about the request, only about the moment:
# https://cloud.google.com/pubsub/docs/reference/error-codes and
# https://cloud.google.com/bigquery/docs/error-messages
TRANSIENT: tuple[type[Exception], ...] = (
    exceptions.ServiceUnavailable,  # UNAVAILABLE: no connection, or the service asks to come again
    exceptions.DeadlineExceeded,  # DEADLINE_EXCEEDED: no answer in time
    exceptions.GatewayTimeout,  # HTTP 504, REST's DEADLINE_EXCEEDED
    exceptions.InternalServerError,  # INTERNAL: the service's own fault
    exceptions.BadGateway,  # HTTP 502
    exceptions.Aborted,  # ABORTED: lost against another request
    exceptions.Cancelled,  # CANCELLED: by the other side
    exceptions.ResourceExhausted,  # RESOURCE_EXHAUSTED: quota; comes back
    exceptions.TooManyRequests,  # HTTP 429
    exceptions.Unknown,  # UNKNOWN: a proxy's or a channel's fault
    exceptions.RetryError,  # a client's own retry gave up on one of these
    TransportError,  # no access token could be fetched
    # REST, whose client hands on what requests raises; none of these is Python's own of that name.
    requests.exceptions.ConnectionError,  # no connection, or it broke
    requests.exceptions.Timeout,  # no answer in time
    requests.exceptions.ChunkedEncodingError,  # it broke in mid-answer
    ConnectionError,
    TimeoutError,
)
# BigQuery's REST answers a spent quota with 403, as it does a missing right:
# https://cloud.google.com/bigquery/docs/error-messages
_QUOTA_REASONS = frozenset(("rateLimitExceeded", "quotaExceeded"))
FIRST_WAIT = 0.1
LONGEST_WAIT = 10.0
_SAY_AGAIN = 30.0


def is_transient(error: BaseException) -> bool:
    """Whether an error says nothing about the request, only about the moment."""
    if isinstance(error, TRANSIENT):
        return True
    if isinstance(error, exceptions.Forbidden):
        return any(
            isinstance(each, dict) and each.get("reason") in _QUOTA_REASONS for each in error.errors
        )
    return isinstance(error, GoogleAuthError) and bool(error.retryable)


class StoppedWaiting(Exception):
    """The job was told to stop while it waited; nothing of what it held is acknowledged."""


class Backoff:
    """Waits between attempts: full jitter between half and all of 0.1 s, 0.2 s, ... 10 s.

    Args:
        what: What is waited for, for the log.
        wait: Waits so many seconds; True when told to stop.
        clock: Monotonic seconds.
        repeated: Called at each wait, to count it.
    """

    def __init__(
        self,
        what: str,
        wait: Callable[[float], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
        repeated: Callable[[], None] | None = None,
    ) -> None:
        self._what = what
        self._wait = wait or resident.stopping.wait
        self._clock = clock
        self._repeated = repeated
        self._since: float | None = None
        self._said = 0.0
        self._next = FIRST_WAIT

    def pause(self, why: object) -> None:
        """Waits before the next attempt.

        Raises:
            StoppedWaiting: The job was told to stop.
        """
        now = self._clock()
        if self._since is None:
            self._since = now
        if not self._said or now - self._said >= _SAY_AGAIN:
            self._said = now
            _log.warning(
                "waiting for %s for %.0f s: %s", self._what, now - self._since, _short(why)
            )
        if self._repeated is not None:
            self._repeated()
        if self._wait(self._next * random.uniform(0.5, 1.0)):  # noqa: S311 - jitter, no secret
            raise StoppedWaiting(f"told to stop while waiting for {self._what}: {_short(why)}")
        self._next = min(self._next * 2, LONGEST_WAIT)

    def done(self) -> None:
        """Says that the wait is over, if there was one; the next starts from the beginning."""
        if self._since is not None:
            _log.warning("%s is back after %.1f s", self._what, self._clock() - self._since)
        self._since, self._said, self._next = None, 0.0, FIRST_WAIT


def ride_out(
    what: str,
    attempt: Callable[[], T],
    *,
    repeated: Callable[[], None] | None = None,
) -> T:
    """Calls until the service answers, waiting out the transient errors without end.

    Args:
        what: What is waited for, for the log.
        attempt: One call, with a deadline of its own.
        repeated: Called at each wait, to count it.

    Raises:
        StoppedWaiting: The job was told to stop meanwhile.
    """
    backoff = Backoff(what, repeated=repeated)
    while True:
        try:
            result = attempt()
        except Exception as error:
            if not is_transient(error):
                raise
            backoff.pause(error)
        else:
            backoff.done()
            return result


def _short(why: object) -> str:
    text = " ".join(str(why).split())
    return text if len(text) <= 300 else text[:300] + "..."
