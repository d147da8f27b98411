"""What chaos calls held."""

from dataclasses import replace

import pytest

from bench.chaos import QUIET_SECONDS, Result, judged
from bench.harm import Done
from bench.plan import Plan
from local.resources import ACK_DEADLINE_SECONDS
from pipeline.leases import LEASE_SECONDS

PLAN = Plan(events=10, kills=2, bigquery_outages=1, pubsub_outages=1)
GOOD = Result(
    published=10,
    rows=10,
    distinct=10,
    letters=0,
    missing=0,
    doubled=0,
    unknown=0,
    restarts=2,
    restarts_in_outage=1,
    kills_at_work=1,
    harms_in_load=4,
    seconds=1.0,
)


def test_each_event_exactly_once_under_load_holds():
    """And a plan without outages asks for no restart in one."""
    assert GOOD.holds(PLAN)
    kills_only = replace(PLAN, bigquery_outages=0, pubsub_outages=0)
    assert replace(GOOD, restarts_in_outage=0, harms_in_load=2).holds(kills_only)


@pytest.mark.parametrize(
    "wrong",
    [
        {"published": 9},
        {"rows": 11},
        {"distinct": 9},
        {"letters": 1},
        {"missing": 1},
        {"doubled": 1},
        {"unknown": 1},
        {"restarts": 3},
        {"restarts": 1},
        {"restarts_in_outage": 0},
        {"kills_at_work": 0},
        {"harms_in_load": 3},
    ],
    ids=str,
)
def test_anything_less_does_not_hold(wrong):
    """A lost or doubled event, an end of the job by itself, a harm after the load."""
    assert not replace(GOOD, **wrong).holds(PLAN)


def test_a_harm_is_judged_by_what_was_published_and_not_read_at_that_moment():
    """In the load: events come in, or wait. A row is read when its `ingest_time` says."""
    harms = [Done("late", 40), Done("fed", 20), Done("waited", 30)]
    first, second, third = judged(harms, published=[10, 15, 25], ingested=[12, 18, 35], events=3)
    assert (first.what, first.feeding, first.waiting, first.in_load) == ("fed", True, 0, True)
    assert (second.what, second.feeding, second.waiting, second.in_load) == (
        "waited",
        False,
        1,
        True,
    )
    assert (third.what, third.feeding, third.waiting, third.in_load) == ("late", False, 0, False)


def test_the_account_is_closed_after_every_lease_of_a_killed_job():
    """Its messages come back after the subscription's deadline, or the lease it had extended."""
    assert QUIET_SECONDS >= ACK_DEADLINE_SECONDS + 5
    assert QUIET_SECONDS >= LEASE_SECONDS + 5


def test_the_short_form_ends_before_its_test_would_be_ended():
    """Start, feeding, the job's restarts, settling and quiet are less than pytest's 180 s."""
    short = Plan(events=2_000, rate=400.0, kills=2, bigquery_outages=0, pubsub_outages=0)
    start, restarts = 30, 20
    assert start + short.feeding_seconds + restarts + short.settle_seconds + QUIET_SECONDS < 180
