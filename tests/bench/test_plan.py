"""When chaos does its harm."""

import pytest

from bench.plan import OUTAGE_SECONDS, Plan, schedule

FULL = Plan()
SHORT = Plan(events=2_000, rate=400.0, kills=2, bigquery_outages=0, pubsub_outages=0, seed=7)


@pytest.mark.parametrize("seed", range(50))
@pytest.mark.parametrize("plan", [FULL, SHORT, Plan(events=4_000, kills=2)])
def test_every_harm_begins_while_events_come_in(plan, seed):
    """As many as were asked for, each kind in order, spread over the feeding time."""
    plan = Plan(**{name: getattr(plan, name) for name in plan.__slots__} | {"seed": seed})
    planned = schedule(plan)
    kills = [kill.at for kill in planned.kills]
    kinds = (kills, list(planned.bigquery_outages), list(planned.pubsub_outages))
    assert tuple(map(len, kinds)) == (plan.kills, plan.bigquery_outages, plan.pubsub_outages)
    for moments in kinds:
        assert moments == sorted(moments)
        assert all(0 <= at <= plan.feeding_seconds for at in moments)
    assert max(kills) > plan.feeding_seconds / 3  # spread, not all in the beginning


@pytest.mark.parametrize("seed", range(50))
def test_of_the_full_plan_a_kill_falls_into_an_outage_of_bigquery(seed):
    """So that the job is started again, and looks for BigQuery, while it is away."""
    planned = schedule(Plan(seed=seed))
    first = planned.bigquery_outages[0]
    inside = [kill for kill in planned.kills if 0.5 <= kill.at - first <= 2.0]
    assert any(kill.patience == 0 for kill in inside)


@pytest.mark.parametrize("seed", range(50))
def test_the_outages_of_the_full_plan_are_over_with_the_feeding(seed):
    """And one of BigQuery is over, its start included, before the next."""
    planned = schedule(Plan(seed=seed))
    first, second = planned.bigquery_outages
    assert second - first > OUTAGE_SECONDS
    for at in (*planned.bigquery_outages, *planned.pubsub_outages):
        assert at + OUTAGE_SECONDS <= FULL.feeding_seconds


def test_a_seed_is_a_schedule():
    """The same each time, and another one with another seed."""
    assert schedule(Plan(seed=3)) == schedule(Plan(seed=3)) != schedule(Plan(seed=4))
