"""`make chaos`: events under kills and outages, accounted for one by one.

20,000 events at 500/s while the job is killed by SIGKILL five times at random moments, BigQuery's
emulator twice for ten seconds (its data stay), and the Pub/Sub emulator is out of reach for ten
seconds once (a proxy that refuses: it keeps messages in memory only). Then every `event_id` must
be in the table exactly once, by set, and the job must not have ended by itself.
"""

import argparse
import json
import random
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from local import load
from local.account import Account, Ledger
from local.layout import Options
from local.resources import (
    ACCOUNT_SUBSCRIPTION,
    DATASET,
    LETTERS_SUBSCRIPTION,
    TOPIC,
    topic_path,
)
from local.stack import Stack
from schemas import live
from schemas.table_file import shipped

OUTAGE_SECONDS = 10.0
_SETTLE_SECONDS = 300.0
_READY_SECONDS = 60.0
_RESULT = Path("build/bench/chaos.json")


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
        seconds: From the first event to the balanced account.
    """

    published: int
    rows: int
    distinct: int
    letters: int
    missing: int
    doubled: int
    unknown: int
    restarts: int
    seconds: float

    def holds(self, plan: Plan) -> bool:
        """Whether each event is in the table exactly once and the job ended by our hand only."""
        return (
            self.published == self.rows == self.distinct == plan.events
            and not (self.letters or self.missing or self.doubled or self.unknown)
            and self.restarts == plan.kills
        )


def run(stack: Stack, plan: Plan, say: Callable[[str], None]) -> Result:
    """Publishes the events while things go wrong, and accounts for them.

    Args:
        stack: Up, with `pubsub_proxy` and the job; nothing else publishes.
        plan: What is to happen.
        say: Told what happens.
    """
    project = stack.addresses.project
    ledger = Ledger(
        subscriber=live.subscriber_client(),
        client=live.bigquery_client(project),
        dataset=DATASET,
        tables=shipped(),
        published=ACCOUNT_SUBSCRIPTION,
        letters=LETTERS_SUBSCRIPTION,
    )
    publisher = live.publisher_client()
    topic = topic_path(project, TOPIC)
    run_id = f"chaos-{plan.seed}-{time.time_ns()}"
    began = time.monotonic()
    feeder = threading.Thread(
        target=load.publish,
        args=(publisher, topic, load.changes(plan.events, run_id)),
        kwargs={"rate": plan.rate},
    )
    feeder.start()
    _do_harm(stack, plan, say)
    feeder.join()
    say(f"all is published after {time.monotonic() - began:.0f} s; waiting for the account")
    account = ledger.settle(_SETTLE_SECONDS, lambda found: len(found.published) == plan.events)
    say(str(account))
    return _result(account, stack, time.monotonic() - began)


def _do_harm(stack: Stack, plan: Plan, say: Callable[[str], None]) -> None:
    """One harm after another, at random moments while events come in."""
    dice = random.Random(plan.seed)  # noqa: S311
    harms = (
        [_kill_job] * plan.kills
        + [_bigquery_outage] * plan.bigquery_outages
        + [_pubsub_outage] * plan.pubsub_outages
    )
    dice.shuffle(harms)
    for harm in harms:
        # Not a wait for something: the random moment itself.
        time.sleep(dice.uniform(0.5, 4.0))
        harm(stack, say)


def _kill_job(stack: Stack, say: Callable[[str], None]) -> None:
    job = stack.job
    if job is None or not job.wait_ready(_READY_SECONDS):
        raise RuntimeError("the job does not run, so it cannot be killed")
    before = job.restarts
    job.kill()
    say("killed the job")
    _until(lambda: job.restarts > before)


def _bigquery_outage(stack: Stack, say: Callable[[str], None]) -> None:
    stack.kill_bigquery()
    say(f"killed BigQuery for {OUTAGE_SECONDS:.0f} s")
    time.sleep(OUTAGE_SECONDS)
    stack.start_bigquery()


def _pubsub_outage(stack: Stack, say: Callable[[str], None]) -> None:
    proxy = stack.pubsub_proxy
    if proxy is None:
        raise RuntimeError("the stack has no proxy before Pub/Sub")
    proxy.refuse()
    say(f"Pub/Sub is out of reach for {OUTAGE_SECONDS:.0f} s")
    time.sleep(OUTAGE_SECONDS)
    proxy.resume()


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("the job was not started again")
        time.sleep(0.05)


def _result(account: Account, stack: Stack, seconds: float) -> Result:
    return Result(
        published=len(account.published),
        rows=len(account.rows),
        distinct=len(account.in_tables),
        letters=len(account.in_letters),
        missing=len(account.missing),
        doubled=len(account.doubled),
        unknown=len(account.unknown),
        restarts=stack.job.restarts if stack.job else 0,
        seconds=round(seconds, 1),
    )


def main(argv: list[str] | None = None) -> int:
    """Runs a plan on a stack of its own; exit code 0 when every event is there exactly once."""
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
