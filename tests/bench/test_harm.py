"""Threads of chaos: none fails unheard, none outlives another's failure."""

import threading
import time

import pytest

from bench.harm import Harms, together
from bench.plan import Kill, Schedule
from schemas.times import now_micros


class Broken(Exception):
    """What a thread may meet."""


def broken():
    raise Broken("the feeder's topic is gone")


def test_what_one_of_them_raises_is_raised():
    """Not lost with its thread; the others are told to end and are waited for."""
    off, ended = threading.Event(), []

    def patient():
        ended.append(off.wait(20))

    began = time.monotonic()
    with pytest.raises(Broken, match="topic is gone"):
        together(off, patient, broken)
    assert ended == [True]
    assert time.monotonic() - began < 10


def test_without_a_failure_all_are_waited_for():
    """And nobody is told to end before its time."""
    off, done = threading.Event(), []
    together(off, lambda: done.append(1), lambda: done.append(2))
    assert sorted(done) == [1, 2]
    assert not off.is_set()


class Job:
    """Stands in for the keeper: a kill is a restart, at once."""

    def __init__(self):
        self.restarts = 0
        self.child = self
        self.asked = []

    def running(self):
        return True

    def wait_ready(self, seconds):
        self.asked.append(seconds)
        return seconds > 0

    def kill(self):
        self.restarts += 1


class Proxy:
    def __init__(self, calls):
        self.refuse = lambda: calls.append("refused")
        self.resume = lambda: calls.append("resumed")


class Stack:
    """Stands in for the local stack; BigQuery takes its time to come back."""

    def __init__(self, job=None):
        self.calls = []
        self.job = job
        self.pubsub_proxy = Proxy(self.calls)

    def kill_bigquery(self):
        self.calls.append("killed")

    def start_bigquery(self):
        self.calls.append("started")


def test_kills_are_done_at_their_moments_and_told_with_the_jobs_state():
    """A kill waits for a job that starts, yet never makes the next one late."""
    job, began = Job(), now_micros()
    planned = Schedule(60.0, (Kill(0.0, 6.0, working=9.0), Kill(0.3, 0.0)))
    harms = Harms(Stack(job), planned, time.monotonic(), lambda _: None)
    together(harms.off, *harms.lanes())
    assert job.restarts == 2
    now, waited, *second = job.asked
    assert (now, second) == (0, [0, 0])
    assert 0 < waited <= 0.3
    assert [(done.what, done.at_work) for done in harms.done] == [
        ("job killed", True),
        ("job killed", False),
    ]
    assert harms.done[1].at >= harms.done[0].at >= began + 200_000


def test_a_job_that_was_waited_for_is_let_work_while_events_come_in():
    """Killed as it starts, it would hold nothing; later, it might have done all."""
    done = []
    for feeding in (0.5, 0.0):
        planned = Schedule(feeding, (Kill(0.0, working=0.3),))
        began = now_micros()
        harms = Harms(Stack(Job()), planned, time.monotonic(), lambda _: None)
        together(harms.off, *harms.lanes())
        done.append(harms.done[0].at - began)
    assert done[0] >= 300_000 > done[1]


def test_a_restart_without_bigquery_is_told(monkeypatch):
    """A kill in an outage restarts the job in it; BigQuery is started again after it."""
    monkeypatch.setattr("bench.harm.OUTAGE_SECONDS", 0.6)
    stack = Stack(Job())
    planned = Schedule(60.0, (Kill(0.2, 0.0), Kill(1.2, 0.0)), (0.0,), ())
    harms = Harms(stack, planned, time.monotonic(), lambda _: None)
    together(harms.off, *harms.lanes())
    assert stack.calls == ["killed", "started"]
    kills = [done for done in harms.done if done.what == "job killed"]
    assert [kill.restarted_in_outage for kill in kills] == [True, False]


def test_an_outage_ends_at_once_when_something_broke():
    """What was taken away is given back, and nothing more is done."""
    stack = Stack(Job())
    planned = Schedule(60.0, (Kill(30.0),), (0.0, 40.0), (0.0, 40.0))
    harms = Harms(stack, planned, time.monotonic(), lambda _: None)
    began = time.monotonic()

    def break_off():
        while len(stack.calls) < 2:
            time.sleep(0.01)
        broken()

    with pytest.raises(Broken):
        together(harms.off, break_off, *harms.lanes())
    assert time.monotonic() - began < 5
    assert sorted(stack.calls) == ["killed", "refused", "resumed", "started"]
    assert stack.job.restarts == 0


def test_without_a_job_there_is_nothing_to_kill():
    """A kill of nothing is an error, not a kill."""
    harms = Harms(Stack(), Schedule(60.0, (Kill(0.0),)), time.monotonic(), lambda _: None)
    with pytest.raises(RuntimeError, match="no job"):
        together(harms.off, *harms.lanes())
