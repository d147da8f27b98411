"""`make chaos`: events under kills and outages, accounted for one by one.

20,000 events at 500/s while the job is killed by SIGKILL five times at random moments, BigQuery's
emulator twice for ten seconds (its data stay), and the Pub/Sub emulator is out of reach for ten
seconds once (a proxy that refuses: it keeps messages in memory only). Kills and outages overlap as
it happens, and one kill is made to fall into an outage of BigQuery, so that the job is started
again while it lasts. Then every `event_id` must be in the table exactly once, by set, and still so
when all that was leased to a killed job has come back; the job must not have ended by itself; and
each harm must have been done while events were coming in or waiting.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from google.cloud import bigquery

from bench.harm import Done, Harms, together
from bench.plan import Plan, schedule
from local import load
from local.account import Account, Ledger
from local.layout import Options
from local.resources import (
    ACCOUNT_SUBSCRIPTION,
    ACK_DEADLINE_SECONDS,
    DATASET,
    LETTERS_SUBSCRIPTION,
    TOPIC,
    topic_path,
)
from local.stack import Stack
from pipeline.leases import LEASE_SECONDS
from schemas import live
from schemas.message import Message
from schemas.table_file import shipped
from schemas.times import now_micros

QUIET_SECONDS = max(ACK_DEADLINE_SECONDS, LEASE_SECONDS) + 5.0
"""A killed job's messages come back when the subscription's deadline, or the lease by which the
job has extended it, is over; and then they take a moment."""

_QUERY_SECONDS = 60.0
_RESULT = Path("build/bench/chaos.json")


@dataclass(frozen=True, slots=True)
class Result:
    """What became of the events.

    Args:
        published: Distinct event_ids on the topic.
        rows: Rows in the table.
        distinct: Distinct event_ids in the table.
        letters: Distinct event_ids in the dead letters.
        missing: Published and nowhere.
        doubled: In the table more than once.
        unknown: In the table and never published.
        restarts: Times that the job was started again.
        restarts_in_outage: Of these, while BigQuery was away.
        kills_at_work: Kills of a job that was connected, not one that was still starting.
        harms_in_load: Harms done while events came in, or waited to be read.
        seconds: From the first event to the balanced account, its quiet included.
        harms: Each harm as it was done.
    """

    published: int
    rows: int
    distinct: int
    letters: int
    missing: int
    doubled: int
    unknown: int
    restarts: int
    restarts_in_outage: int
    kills_at_work: int
    harms_in_load: int
    seconds: float
    harms: tuple[Done, ...] = ()

    def holds(self, plan: Plan) -> bool:
        """Whether each event is there exactly once, and was there under what the plan is for."""
        exactly_once = (
            self.published == self.rows == self.distinct == plan.events
            and not (self.letters or self.missing or self.doubled or self.unknown)
            and self.restarts == plan.kills
        )
        under_load = (
            self.harms_in_load == plan.harms
            and (self.kills_at_work > 0 or not plan.kills)
            and (self.restarts_in_outage > 0 or not (plan.kills and plan.bigquery_outages))
        )
        return exactly_once and under_load


def run(stack: Stack, plan: Plan, say: Callable[[str], None]) -> Result:
    """Publishes the events while things go wrong, and accounts for them.

    Args:
        stack: Up, with `pubsub_proxy` and the job; nothing else publishes.
        plan: What is to happen.
        say: Told what happens, by several threads.

    Raises:
        Exception: What broke off the feeding or a harm.
    """
    project = stack.addresses.project
    client = live.bigquery_client(project)
    ledger = Ledger(
        subscriber=live.subscriber_client(),
        client=client,
        dataset=DATASET,
        tables=shipped(),
        published=ACCOUNT_SUBSCRIPTION,
        letters=LETTERS_SUBSCRIPTION,
    )
    messages = load.changes(plan.events, f"chaos-{plan.seed}-{time.time_ns()}")
    topic = topic_path(project, TOPIC)
    published: list[int] = []
    began, since = time.monotonic(), now_micros()
    harms = Harms(stack, schedule(plan), began, say)

    def feed() -> None:
        def note(batch: Sequence[Message]) -> None:
            published.extend([now_micros()] * len(batch))

        wanted = (message for message in messages if not harms.off.is_set())
        load.publish(live.publisher_client(), topic, wanted, rate=plan.rate, published=note)
        say("all is published")

    together(harms.off, feed, *harms.lanes())
    say(f"all harm is done after {time.monotonic() - began:.0f} s; waiting for the account")
    account = ledger.settle(
        plan.settle_seconds,
        lambda found: len(found.published) == plan.events,
        quiet=QUIET_SECONDS,
    )
    say(str(account))
    done = judged(harms.done, published, _ingest_times(client, since), plan.events)
    for harm in done:
        say(str(harm))
    return _result(account, stack, done, time.monotonic() - began)


def judged(
    harms: list[Done], published: list[int], ingested: list[int], events: int
) -> tuple[Done, ...]:
    """The harms in order, each with what was going on at that moment.

    A row's `ingest_time` is when the job had read its event, before it was written: so what is
    counted as waiting was in no table yet.

    Args:
        harms: As they were done.
        published: When each event was published; microseconds.
        ingested: The `ingest_time` of each row; microseconds.
        events: How many are published in all.
    """
    return tuple(
        harm.with_load(
            feeding=sum(at <= harm.at for at in published) < events,
            waiting=sum(at <= harm.at for at in published) - sum(at <= harm.at for at in ingested),
        )
        for harm in sorted(harms, key=lambda harm: harm.at)
    )


def _ingest_times(client: bigquery.Client, since: int) -> list[int]:
    query = (
        "SELECT UNIX_MICROS(ingest_time) "  # noqa: S608
        f"FROM {DATASET}.issues_stream WHERE ingest_time >= TIMESTAMP_MICROS({since})"
    )
    job = client.query(query, timeout=_QUERY_SECONDS, retry=None, job_retry=None)
    found = job.result(timeout=_QUERY_SECONDS, retry=None, job_retry=None)
    return [int(row[0]) for row in found]


def _result(account: Account, stack: Stack, done: tuple[Done, ...], seconds: float) -> Result:
    return Result(
        published=len(account.published),
        rows=len(account.rows),
        distinct=len(account.in_tables),
        letters=len(account.in_letters),
        missing=len(account.missing),
        doubled=len(account.doubled),
        unknown=len(account.unknown),
        restarts=stack.job.restarts if stack.job else 0,
        restarts_in_outage=sum(harm.restarted_in_outage for harm in done),
        kills_at_work=sum(harm.at_work for harm in done),
        harms_in_load=sum(harm.in_load for harm in done),
        seconds=round(seconds, 1),
        harms=done,
    )


def main(argv: list[str] | None = None) -> int:
    """Runs a plan on a stack of its own; exit code 0 when all that is promised held."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name, value in asdict(Plan()).items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    plan = Plan(**vars(parser.parse_args(argv)))
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {line}", flush=True)

    options = Options(folder=Path("build/chaos").resolve(), pubsub_proxy=True)
    with Stack(options, say) as stack:
        result = run(stack, plan, say)
    _RESULT.parent.mkdir(parents=True, exist_ok=True)
    _RESULT.write_text(json.dumps({"plan": asdict(plan), "result": asdict(result)}, indent=2))
    print(json.dumps(asdict(result)))
    print("held" if result.holds(plan) else "DID NOT HOLD")
    return 0 if result.holds(plan) else 1


if __name__ == "__main__":
    sys.exit(main())
