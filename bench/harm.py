"""Does to a stack what chaos has planned: kills and outages, each kind on a thread of its own."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

from bench.plan import OUTAGE_SECONDS, Kill, Schedule
from local.ports import wait_until
from local.stack import Stack
from schemas.times import now_micros

_RESTART_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Done:
    """One harm as it was done.

    Args:
        what: Which kind.
        at: When it began; microseconds since the epoch.
        at_work: Of a kill: whether the job was connected.
        restarted_in_outage: Of a kill: whether the job was started again while BigQuery was away.
        feeding: Whether events were still coming in.
        waiting: How many were published and not read yet, by a job that lived to write them.
    """

    what: str
    at: int
    at_work: bool = False
    restarted_in_outage: bool = False
    feeding: bool = False
    waiting: int = 0

    @property
    def in_load(self) -> bool:
        """Whether there was anything to lose."""
        return self.feeding or self.waiting > 0

    def with_load(self, *, feeding: bool, waiting: int) -> "Done":
        """The same, with what was going on at that moment."""
        return replace(self, feeding=feeding, waiting=waiting)

    def __str__(self) -> str:
        notes = [
            "events coming in" if self.feeding else "all published",
            f"{self.waiting} waiting",
            *(["the job was connected"] if self.at_work else []),
            *(["started again without BigQuery"] if self.restarted_in_outage else []),
        ]
        return f"{self.what}: {', '.join(notes)}"


class Harms:
    """Carries out a schedule.

    Args:
        stack: Up, with `pubsub_proxy` and the job.
        planned: What is to be done.
        began: `time.monotonic()` of the first event.
        say: Told what is done.

    Attributes:
        off: Set when something broke off: nothing more is done then.
        done: What was done so far.
    """

    def __init__(
        self, stack: Stack, planned: Schedule, began: float, say: Callable[[str], None]
    ) -> None:
        self.off = threading.Event()
        self.done: list[Done] = []
        self._stack = stack
        self._planned = planned
        self._began = began
        self._say = say
        self._bigquery_away = threading.Event()

    def lanes(self) -> list[Callable[[], None]]:
        """What is to run at once: kills, outages of BigQuery, outages of Pub/Sub."""
        return [self._kills, self._bigquery_outages, self._pubsub_outages]

    def _kills(self) -> None:
        ends = [*(self._began + kill.at for kill in self._planned.kills[1:]), float("inf")]
        for kill, end in zip(self._planned.kills, ends, strict=False):
            if self._pause(self._began + kill.at):
                self._kill(kill, end)

    def _bigquery_outages(self) -> None:
        for at in self._planned.bigquery_outages:
            if self._pause(self._began + at):
                self.done.append(Done("BigQuery killed", now_micros()))
                self._say(f"killing BigQuery for {OUTAGE_SECONDS:.0f} s")
                self._bigquery_away.set()
                self._stack.kill_bigquery()
                self._pause(time.monotonic() + OUTAGE_SECONDS)
                self._stack.start_bigquery()
                self._bigquery_away.clear()

    def _pubsub_outages(self) -> None:
        for at in self._planned.pubsub_outages:
            if self._pause(self._began + at):
                proxy = self._stack.pubsub_proxy
                if proxy is None:
                    raise RuntimeError("the stack has no proxy before Pub/Sub")
                self.done.append(Done("Pub/Sub out of reach", now_micros()))
                self._say(f"Pub/Sub is out of reach for {OUTAGE_SECONDS:.0f} s")
                proxy.refuse()
                self._pause(time.monotonic() + OUTAGE_SECONDS)
                proxy.resume()

    def _kill(self, kill: Kill, end: float) -> None:
        """Kills the job, before `end`: the next kill is not to be late, it may need an outage."""
        job = self._stack.job
        if job is None:
            raise RuntimeError("the stack has no job")
        at_work = job.wait_ready(0.0)
        if not at_work:
            at_work = job.wait_ready(max(min(kill.patience, end - time.monotonic()), 0.0))
            fed = self._began + self._planned.feeding
            until = min(time.monotonic() + kill.working, end, fed)
            if at_work and not self._pause(until):
                return
        self._until(job.child.running, "the job does not run, so it cannot be killed")
        before, at = job.restarts, now_micros()
        job.kill()
        self._say("killed the job")
        self._until(lambda: job.restarts > before, "the job was not started again")
        in_outage = self._bigquery_away.is_set()
        self.done.append(Done("job killed", at, at_work, in_outage))

    def _pause(self, until: float) -> bool:
        """Waits for the moment; whether there is anything to do then."""
        return not self.off.wait(max(until - time.monotonic(), 0.0))

    def _until(self, condition: Callable[[], bool], otherwise: str) -> None:
        over = wait_until(
            lambda: self.off.is_set() or condition(), time.monotonic() + _RESTART_SECONDS
        )
        if not over:
            raise RuntimeError(otherwise)


def together(off: threading.Event, *tasks: Callable[[], None]) -> None:
    """Runs tasks at once, each on a thread of its own, and waits for all of them.

    Args:
        off: Set when one has failed, or the wait is broken off: the others are to end.
        *tasks: What to run.

    Raises:
        Exception: What the first one that failed has raised.
    """
    with ThreadPoolExecutor(len(tasks), thread_name_prefix="chaos") as threads:
        running = [threads.submit(each) for each in tasks]
        try:
            first = wait(running, return_when=FIRST_EXCEPTION).done
            if any(task.exception() for task in first):
                off.set()
            wait(running)
        except BaseException:
            off.set()
            raise
    for task in (*first, *running):
        task.result()
