"""What chaos is to do and when: drawn from a seed, the same each time."""

import random
from dataclasses import dataclass

OUTAGE_SECONDS = 10.0

# What starting BigQuery's emulator again adds to its outage, about.
_STARTING_SECONDS = 4.0
# How far into an outage of BigQuery the job is killed: soon, so that the next one, which takes
# some seconds to look for BigQuery, finds it away.
_INTO_OUTAGE = (0.5, 2.0)
_WORKING = (0.2, 1.5)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to happen to a run.

    Args:
        events: How many are published.
        rate: Events a second.
        kills: SIGKILLs of the job.
        bigquery_outages: Times that BigQuery's emulator is killed for `OUTAGE_SECONDS`.
        pubsub_outages: Times that Pub/Sub is out of reach for `OUTAGE_SECONDS`.
        seed: Of the random moments.
    """

    events: int = 20_000
    rate: float = 500.0
    kills: int = 5
    bigquery_outages: int = 2
    pubsub_outages: int = 1
    seed: int = 0

    @property
    def feeding_seconds(self) -> float:
        """How long the events are coming in."""
        return self.events / self.rate

    @property
    def settle_seconds(self) -> float:
        """How long it may take after all harm until each event is there: 100/s, and a start."""
        return 50.0 + self.events / 100

    @property
    def harms(self) -> int:
        """How many there are."""
        return self.kills + self.bigquery_outages + self.pubsub_outages


@dataclass(frozen=True, slots=True)
class Kill:
    """A SIGKILL of the job.

    Args:
        at: Seconds after the first event.
        patience: Seconds that it waits for a job that is still starting to be connected; then
            that one is killed.
        working: Seconds that a job that was waited for is let work, while events come in: one
            that is killed as it starts holds nothing that could be lost.
    """

    at: float
    patience: float = 6.0
    working: float = 0.0


@dataclass(frozen=True, slots=True)
class Schedule:
    """The moments, each kind in order; seconds after the first event, while events come in.

    Args:
        feeding: How long they come in.
        kills: Of the job.
        bigquery_outages: When each begins.
        pubsub_outages: When each begins.
    """

    feeding: float
    kills: tuple[Kill, ...] = ()
    bigquery_outages: tuple[float, ...] = ()
    pubsub_outages: tuple[float, ...] = ()


def schedule(plan: Plan) -> Schedule:
    """Draws the moments: each kind spread over the feeding time, apart from the others.

    With kills and outages of BigQuery, the kill nearest to the first outage is put into it.
    """
    dice = random.Random(plan.seed)  # noqa: S311  # no secret
    feeding = plan.feeding_seconds
    away = OUTAGE_SECONDS + _STARTING_SECONDS
    moments = _spread(dice, plan.kills, feeding, 0.0)
    kills = [Kill(at, working=dice.uniform(*_WORKING)) for at in moments]
    bigquery = _spread(dice, plan.bigquery_outages, feeding, away)
    pubsub = _spread(dice, plan.pubsub_outages, feeding, OUTAGE_SECONDS)
    if kills and bigquery:
        at = min(bigquery[0] + dice.uniform(*_INTO_OUTAGE), feeding)
        nearest = min(range(len(kills)), key=lambda i: abs(kills[i].at - at))
        kills[nearest] = Kill(at, patience=0.0)
    kills.sort(key=lambda kill: kill.at)
    return Schedule(feeding, tuple(kills), tuple(bigquery), tuple(pubsub))


def _spread(dice: random.Random, count: int, seconds: float, lasts: float) -> list[float]:
    """One moment in each of as many equal parts of the time.

    In its first three quarters, so that two are never one; and early enough for what lasts to be
    over in its part, where that is long enough.
    """
    part = seconds / max(count, 1)
    latest = max(min(part - lasts, part * 0.75), part * 0.25)
    return [part * i + dice.uniform(0.0, latest) for i in range(count)]
