"""The state machine: batches, faults and new writers in any order, against a model.

What the sink promises starts when rows are handed to a writer and ends when its answer is there:
then each good row is in the table once and each bad one is named, whatever happened meanwhile. It
ends early where the process is told to stop during an outage, or is killed: of those rows each is
in the table once or not at all, and the writers that live on are not disturbed. Which ones are
there is asked by `event_id`, and the rest is handed over again. In the job that is the work of the
warmed duplicate cache and of Pub/Sub; here the machine asks in its place.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from bench.fire.faults import OVERTAKEN, SILENT_APPENDS, WEIGHTED
from bench.fire.ledger import Key, Ledger, difference
from bench.fire.rows import BAD, ENCODERS, GOOD, LARGE, LARGE_ROWS, TABLES, Given, Rows
from bench.fire.stage import Stage
from local.fault import AFTER, APPEND, FINALIZE, Fault
from local.processes import ROOT
from pipeline import resident
from pipeline.append import Sender, table_writer
from pipeline.append_stream import ROW_REFUSED, Refused
from pipeline.outages import StoppedWaiting

# Which table each writer writes to: two share one.
_SLOTS = ("a", "a", "b")
_HIT_SECONDS = 60.0
_APPEND_SECONDS = 120.0

STOPPED = "writer: told to stop in an append"
KILLED = "writer: process killed in an append"
CLOSED = "writer: closed, and another opened"
LEFT = "writer: left without a word, and another opened"
OUTAGE = "outage: every connection refused for a while"

Batch = Sequence[str]
"""Kinds of rows."""

SLOTS = st.integers(0, len(_SLOTS) - 1)
BATCHES = st.one_of(
    st.lists(st.sampled_from((GOOD, GOOD, GOOD, GOOD, *BAD)), max_size=12),
    st.lists(st.just(GOOD), min_size=1, max_size=5),
    st.builds(lambda bad: [GOOD] * 250 + bad + [GOOD] * 250, st.lists(st.sampled_from(BAD))),
)
LARGE_BATCHES = st.sampled_from(
    ([LARGE] * LARGE_ROWS, [*[LARGE] * (LARGE_ROWS - 1), BAD[0]], [LARGE] * (LARGE_ROWS // 2))
)
FAULTS = st.lists(st.sampled_from(WEIGHTED), min_size=1, max_size=6)


class Fire(RuleBasedStateMachine):
    """One example: a dataset of two tables, three writers, and what happens to them."""

    stage: ClassVar[Stage]
    ledger: ClassVar[Ledger]
    made: ClassVar[Rows]

    @initialize()
    def begin(self) -> None:
        """Empty tables, and writers that have not written."""
        self._dataset = self.stage.dataset()
        self.ledger.tables += len(TABLES)
        self._model: dict[str, dict[str, Key]] = {table.name: {} for table in TABLES}
        self._senders = [self._opened(table) for table in _SLOTS]
        self._failed = False

    @rule(slot=SLOTS, batch=BATCHES, faults=FAULTS)
    def append(self, slot: int, batch: Batch, faults: list[Fault]) -> None:
        """One batch."""
        self._round([(slot, batch)], faults)

    @rule(slot=SLOTS, batch=LARGE_BATCHES, faults=st.lists(st.sampled_from(WEIGHTED), max_size=2))
    def append_large(self, slot: int, batch: Batch, faults: list[Fault]) -> None:
        """One batch near the limit of a request."""
        self._round([(slot, batch)], faults)

    @rule(slot=SLOTS, batches=st.lists(BATCHES, min_size=2, max_size=4), faults=FAULTS)
    def append_several(self, slot: int, batches: list[Batch], faults: list[Fault]) -> None:
        """Several batches at one writer, the next given before the answer to the last."""
        self._round([(slot, batch) for batch in batches], faults)

    @rule(batches=st.tuples(BATCHES, BATCHES, BATCHES), faults=FAULTS)
    def append_everywhere(self, batches: tuple[Batch, Batch, Batch], faults: list[Fault]) -> None:
        """All writers at once, so two on one table."""
        self._round(list(enumerate(batches)), faults)

    @rule(slot=SLOTS, batch=BATCHES)
    def outage(self, slot: int, batch: Batch) -> None:
        """Nobody listens for longer than a writer waits for one answer."""
        self.stage.outage()
        before = self._senders[slot].waits
        self._round([(slot, batch)], [])
        if self._senders[slot].waits > before:
            self.ledger.faults[OUTAGE] += 1

    @rule(count=st.integers(1, 4))
    def drop_lookups(self, count: int) -> None:
        """The next questions to the table go wrong."""
        self.stage.rest.drop(count)

    @rule(slot=SLOTS, closed=st.booleans())
    def change_writer(self, slot: int, closed: bool) -> None:
        """Another writer takes the place of one, which is closed or left as it is."""
        if closed:
            self.close(slot)
        else:
            self.leave(slot)

    @rule(
        slot=SLOTS,
        batches=st.lists(BATCHES, min_size=1, max_size=3),
        first=st.sampled_from(SILENT_APPENDS),
        killed=st.booleans(),
    )
    def break_off(self, slot: int, batches: list[Batch], first: Fault, killed: bool) -> None:
        """A process ends while an append waits for its answer."""
        if killed:
            self.kill(len(batches[0]) + 1, first, slot)
        else:
            self.stop(slot, batches, first)

    def close(self, slot: int) -> None:
        """A writer is closed, as at a job's end, and another takes its place."""
        self._retire(slot)
        self.ledger.faults[CLOSED] += 1

    def leave(self, slot: int) -> None:
        """A writer is left as a dead process leaves it: its stream and connection are open."""
        self._count(self._senders[slot])
        self._senders[slot] = self._opened(_SLOTS[slot])
        self.ledger.faults[LEFT] += 1

    def stop(self, slot: int, batches: list[Batch], first: Fault) -> None:
        """The process is told to stop while an append waits for its answer."""
        given = [self._made(batch or [GOOD]) for batch in batches]
        self.stage.write.forget()
        self.stage.write.next_is(first)
        sender = self._senders[slot]
        futures = [sender.send([each.encoded for each in rows]) for rows in given]
        try:
            self._wait_for_hit(futures[0])
            resident.stop()
            outcomes = [self._broken_off(future) for future in futures]
        finally:
            resident.stopping.clear()
        for rows, refused in zip(given, outcomes, strict=True):
            if refused is None:
                self._given_again(slot, rows)
            else:
                self._known(slot, rows, refused)
        self.ledger.faults[STOPPED] += outcomes[0] is None
        self._check()

    def kill(self, count: int, first: Fault, slot: int) -> None:
        """A process with a writer on the same table is killed between an append and its answer."""
        rows = self._made([GOOD] * count)
        self.stage.write.forget()
        child = subprocess.Popen(
            [sys.executable, "-m", "bench.fire.child", self._dataset, _SLOTS[slot]],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=self.stage.environment(),
            text=True,
        )
        try:
            self.stage.write.next_is(first)
            _tell(child, [each.key[1] for each in rows])
            self._wait_for_hit(child)
        finally:
            child.kill()
            child.wait()
        self._given_again(slot, rows)
        self.ledger.faults[KILLED] += 1
        self._check()

    def roll_call(self, fault: Fault) -> None:
        """One fault by itself, where the draws have not brought it."""
        batch: Batch = (GOOD, GOOD)
        if fault.call == APPEND:
            # A lateness is told again until it is over: whoever halves comes down to one row.
            faults = [fault] * (3 if fault.storage else 1)
            if fault.what in ("unnamed", "one named"):
                batch = (GOOD, *BAD)
        else:
            # A stream is made where there is none, and left after five silent tries.
            faults = [fault, *[Fault(APPEND, "code")] * 5]
            self._retire(0)
        self._round([(0, batch)], faults)

    def directed(self) -> None:
        """What the draws seldom bring together, and what the rules do by themselves."""
        self.outage(0, [GOOD])
        # The stream is gone with the answer, and the table can't be asked at first.
        self.drop_lookups(2)
        self.roll_call(Fault(APPEND, "kill", AFTER))
        self.close(0)
        self.leave(0)
        for first in SILENT_APPENDS:
            self.roll_call(first)
            self.stop(1, [[GOOD], [GOOD]], first)
        self.kill(3, SILENT_APPENDS[1], 2)
        self.kill(3, SILENT_APPENDS[0], 2)
        self._round([(0, BAD)], [Fault(APPEND, "code", AFTER)])
        # A request is on its way while its stream is left, and arrives after all is done: only
        # a stream that is really finalized refuses it.
        away = (*[Fault(APPEND, "code")] * 4, Fault(FINALIZE, "code"))
        self._round([(0, [GOOD, GOOD])], [OVERTAKEN, *away])
        self.stage.settle()
        self._check()

    def teardown(self) -> None:
        """What was planned and has not happened happens; then everything is accounted for."""
        if not hasattr(self, "_senders"):
            return
        try:
            if self._failed:
                return
            for _ in range(20):
                if not self.stage.write.waiting(APPEND):
                    break
                self._round([(0, [GOOD])], [])
            for slot in range(len(_SLOTS)):
                self._retire(slot)
            self.stage.settle()
            self._check(last=True)
        finally:
            resident.stopping.set()  # whatever a failed example left waiting ends
            for sender in self._senders:
                sender.close()
            resident.stopping.clear()
            self.stage.write.forget()
            self.stage.rest.forget()

    # What the rules have in common

    def _round(self, batches: Sequence[tuple[int, Batch]], faults: Sequence[Fault]) -> None:
        """Hands batches over, all before the first answer, and checks what came of them."""
        self.stage.write.plan(faults)
        rounds = [(slot, self._made(batch)) for slot, batch in batches]
        futures = [
            self._senders[slot].send([each.encoded for each in rows]) for slot, rows in rounds
        ]
        for (slot, rows), future in zip(rounds, futures, strict=True):
            self._known(slot, rows, future.result(_APPEND_SECONDS))
        self._check()

    def _made(self, batch: Batch) -> list[Given]:
        rows = [self.made.make(kind) for kind in batch]
        self.ledger.appends += 1
        self.ledger.given += len(rows)
        self._failed = True  # until it is accounted for
        return rows

    def _known(self, slot: int, rows: Sequence[Given], refused: Sequence[Refused]) -> None:
        """What an answer says is so from now on."""
        places = [place for place, each in enumerate(rows) if each.bad]
        assert [(each.index, each.error) for each in refused] == [  # noqa: S101
            (place, ROW_REFUSED) for place in places
        ], f"bad rows at {places}, refused: {len(refused)}, the first as {refused[:4]}"
        assert all(each.reason for each in refused), "refused without a reason"  # noqa: S101
        self.ledger.refused += len(refused)
        self._model[_SLOTS[slot]] |= {each.key[0]: each.key for each in rows if not each.bad}

    def _given_again(self, slot: int, rows: Sequence[Given]) -> None:
        """Rows whose append had no answer: those that the table lacks are handed over again."""
        self.stage.settle()
        table = _SLOTS[slot]
        found = set(self.stage.rows(self._dataset, table))
        there = [each for each in rows if each.key in found]
        self.ledger.broken_off += len(rows)
        self.ledger.broken_off_written += len(there)
        self._model[table] |= {each.key[0]: each.key for each in there}
        missing = [each for each in rows if each.key not in found]
        sent = self._senders[slot].send([each.encoded for each in missing])
        self._known(slot, missing, sent.result(_APPEND_SECONDS))

    def _broken_off(self, future: "Future[list[Refused]]") -> list[Refused] | None:
        """The answer of an append, or None where it was broken off."""
        try:
            return future.result(_APPEND_SECONDS)
        except StoppedWaiting:
            return None

    def _wait_for_hit(self, work: Any) -> None:
        """Until the request whose fault comes first has met it, or the work is over."""
        over = work.done if isinstance(work, Future) else lambda: work.poll() is not None
        deadline = time.monotonic() + _HIT_SECONDS
        while self.stage.write.waiting(APPEND) and not over():
            if time.monotonic() > deadline:
                raise TimeoutError("no append came")
            time.sleep(0.005)

    def _check(self, *, last: bool = False) -> None:
        """Each table holds what the model says, each row once."""
        for table, expected in self._model.items():
            found = self.stage.rows(self._dataset, table)
            differs = difference(expected, found)
            if differs or last:
                self.ledger.found += len(found)
                self.ledger.lost += len(differs.lost)
                self.ledger.doubled += len(differs.doubled)
                self.ledger.unknown += len(differs.unknown)
            assert not differs, f"{self._dataset}.{table}: {differs}"  # noqa: S101
        self._failed = False

    def _opened(self, table: str) -> Sender:
        [declared] = [each for each in TABLES if each.name == table]
        self.ledger.writers += 1
        return Sender(table_writer(self._dataset, declared, ENCODERS[table].descriptor))

    def _retire(self, slot: int) -> None:
        self._senders[slot].close()
        self._count(self._senders[slot])
        self._senders[slot] = self._opened(_SLOTS[slot])

    def _count(self, sender: Sender) -> None:
        self.ledger.streams += sender.streams
        self.ledger.waits += sender.waits


def _tell(child: "subprocess.Popen[str]", numbers: list[int]) -> None:
    if child.stdin is None:
        raise RuntimeError("the child has no input")
    child.stdin.write(json.dumps(numbers) + "\n")
    child.stdin.flush()
