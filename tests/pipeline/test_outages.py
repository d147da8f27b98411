"""Waiting for a service that is away."""

import logging

import pytest
import requests
from google.api_core import exceptions
from google.auth.exceptions import RefreshError, TransportError

from pipeline import outages, resident
from pipeline.outages import FIRST_WAIT, LONGEST_WAIT, TRANSIENT, Backoff, StoppedWaiting, ride_out
from tests.pipeline.fakes import Clock


def waits_of(count, monkeypatch, share):
    """The seconds of the first waits, with jitter at `share` of its range."""
    monkeypatch.setattr(outages.random, "uniform", lambda low, high: low + (high - low) * share)
    waited = []
    backoff = Backoff("it", wait=lambda seconds: bool(waited.append(seconds)))
    for _ in range(count):
        backoff.pause("away")
    return waited


def test_waits_double_up_to_ten_seconds(monkeypatch):
    """Without jitter the waits are 0.1, 0.2, 0.4, ... and then 10 s for ever."""
    waited = waits_of(10, monkeypatch, share=1)
    assert waited == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10, 10])


def test_jitter_stays_between_half_and_all(monkeypatch):
    """The least jitter halves each wait, and never less."""
    assert waits_of(9, monkeypatch, share=0) == pytest.approx(
        [seconds / 2 for seconds in waits_of(9, monkeypatch, share=1)]
    )


def test_jitter_differs():
    """Two waiters do not come back in step: fifty first waits are not all alike."""
    waited = []
    for _ in range(50):
        Backoff("it", wait=lambda seconds: bool(waited.append(seconds))).pause("away")
    assert len(set(waited)) > 10
    assert FIRST_WAIT / 2 <= min(waited) <= max(waited) <= FIRST_WAIT


def test_begins_anew_after_done(monkeypatch):
    """The wait after a recovery is the shortest again."""
    monkeypatch.setattr(outages.random, "uniform", lambda low, high: high)
    waited = []
    backoff = Backoff("it", wait=lambda seconds: bool(waited.append(seconds)))
    for _ in range(3):
        backoff.pause("away")
    backoff.done()
    backoff.pause("away")
    assert waited == pytest.approx([0.1, 0.2, 0.4, 0.1])


def test_says_so_at_once_and_every_thirty_seconds(caplog):
    """One line when the wait begins, one each 30 s, one when it is over; none without a wait."""
    clock = Clock()
    backoff = Backoff("BigQuery", wait=lambda seconds: False, clock=clock)
    with caplog.at_level(logging.INFO):
        backoff.done()
        for _ in range(13):  # 0 to 60 s
            backoff.pause("no\n  connection")
            clock.advance(5)
        backoff.done()
        backoff.done()
    assert [record.getMessage() for record in caplog.records] == [
        "waiting for BigQuery for 0 s: no connection",
        "waiting for BigQuery for 30 s: no connection",
        "waiting for BigQuery for 60 s: no connection",
        "BigQuery is back after 65.0 s",
    ]


def test_says_it_again_after_a_recovery(caplog):
    """A second outage is told of at once, however soon it comes."""
    backoff = Backoff("it", wait=lambda seconds: False, clock=Clock())
    with caplog.at_level(logging.WARNING):
        backoff.pause("first")
        backoff.done()
        backoff.pause("second")
    assert [record.getMessage() for record in caplog.records][2:] == [
        "waiting for it for 0 s: second"
    ]


def test_a_long_reason_is_cut(caplog):
    """A reason goes into the log with 300 characters at the most."""
    Backoff("it", wait=lambda seconds: False).pause("x" * 5_000)
    assert caplog.records[0].getMessage().endswith("x" * 300 + "...")
    assert len(caplog.records[0].getMessage()) < 350


def test_told_to_stop():
    """A wait that ends because the job is to stop raises, with what was waited for and why."""
    backoff = Backoff("BigQuery", wait=lambda seconds: True)
    with pytest.raises(StoppedWaiting, match="stop while waiting for BigQuery: no route"):
        backoff.pause("no route")


def test_the_process_wide_stop_ends_a_wait():
    """Without a wait of its own, a backoff heeds `resident.stop`."""
    resident.stop()
    with pytest.raises(StoppedWaiting):
        ride_out("it", failing(exceptions.ServiceUnavailable("away")))


def test_rides_out_until_the_answer_comes(no_waiting):
    """Transient errors are repeated and counted; the answer is handed on."""
    errors = [exceptions.ServiceUnavailable("away"), ConnectionError("refused"), TimeoutError()]
    counted = []
    answer = ride_out("it", failing(*errors, answer=42), repeated=lambda: counted.append(1))
    assert (answer, len(counted), len(no_waiting.waits)) == (42, 3, 3)


@pytest.mark.parametrize(
    "error",
    [
        exceptions.ServiceUnavailable("UNAVAILABLE"),
        exceptions.DeadlineExceeded("DEADLINE_EXCEEDED"),
        exceptions.GatewayTimeout("504"),
        exceptions.InternalServerError("INTERNAL"),
        exceptions.BadGateway("502"),
        exceptions.Aborted("ABORTED"),
        exceptions.Cancelled("CANCELLED"),
        exceptions.ResourceExhausted("RESOURCE_EXHAUSTED"),
        exceptions.TooManyRequests("429"),
        exceptions.Unknown("UNKNOWN"),
        exceptions.RetryError("gave up", cause=exceptions.ServiceUnavailable("away")),
        TransportError("no token"),
        ConnectionResetError("reset"),
        ConnectionRefusedError("refused"),
        TimeoutError("timed out"),
        requests.exceptions.ConnectionError("what the REST client raises"),
        requests.exceptions.ReadTimeout("no answer"),
        requests.exceptions.ChunkedEncodingError("broke off"),
        exceptions.Forbidden("quota", errors=[{"reason": "rateLimitExceeded"}]),
        RefreshError("metadata server", retryable=True),
    ],
    ids=lambda error: type(error).__name__,
)
def test_transient(error, no_waiting):
    """What says nothing about the request is waited out."""
    assert ride_out("it", failing(error, answer="ok")) == "ok"


@pytest.mark.parametrize(
    "error",
    [
        exceptions.NotFound("no such table"),
        exceptions.InvalidArgument("bad row"),
        exceptions.BadRequest("bad query"),
        exceptions.PermissionDenied("no"),
        exceptions.Forbidden("no"),
        exceptions.Unauthenticated("who"),
        exceptions.AlreadyExists("there"),
        exceptions.FailedPrecondition("state"),
        exceptions.OutOfRange("offset"),
        exceptions.MethodNotImplemented("what"),
        exceptions.DataLoss("gone"),
        ValueError("ours"),
        KeyError("ours"),
        OSError("disk full"),
        exceptions.Forbidden("right", errors=[{"reason": "accessDenied"}]),
        RefreshError("revoked", retryable=False),
    ],
    ids=lambda error: type(error).__name__,
)
def test_not_transient(error, no_waiting):
    """What speaks of the request, the rights or our own fault is raised at once, as it is."""
    with pytest.raises(type(error)) as raised:
        ride_out("it", failing(error, answer="never"))
    assert raised.value is error
    assert no_waiting.waits == []


def test_the_longest_wait_is_short_enough_for_a_stop():
    """No pause outlasts the ten seconds that a container is given to end."""
    assert LONGEST_WAIT <= 10
    assert all(issubclass(error, Exception) for error in TRANSIENT)


def failing(*errors, answer=None):
    """A call that raises each error in turn, then answers."""
    left = list(errors)

    def call():
        if left:
            raise left.pop(0)
        return answer

    return call
