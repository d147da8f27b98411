"""Runs the machine, and asks for the faults that its draws have not brought."""

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from bench.fire.faults import ALL
from bench.fire.ledger import Ledger
from bench.fire.machine import CLOSED, KILLED, LEFT, OUTAGE, STOPPED, Fire
from bench.fire.rows import Rows
from bench.fire.stage import DROPPED, Stage
from local.write_faults import LATE_FIRST, LATE_SECOND, OF_A_REFUSAL

KINDS = frozenset(
    (
        *(fault.name for fault in ALL),
        *(CLOSED, DROPPED, KILLED, LEFT, OUTAGE, STOPPED),
        *(LATE_FIRST, LATE_SECOND, OF_A_REFUSAL),
    )
)
"""Every kind that a run is to have met."""


class Run:
    """One ledger over many examples.

    Args:
        stage: Entered.
    """

    def __init__(self, stage: Stage) -> None:
        self.ledger = Ledger(faults=stage.write.hits)
        names = {"stage": stage, "ledger": self.ledger, "made": Rows()}
        self._machine: type[Fire] = type("Fire", (Fire,), names)

    def draw(self, examples: int, steps: int, number: int | None = None) -> None:
        """Runs examples.

        Args:
            examples: How many.
            steps: Of each, at the most.
            number: Seeds the draws; None: the same draws each time.

        Raises:
            AssertionError: A row is lost, twice, unknown or wrongly refused.
            Exception: What the sink raised and should not have.
        """
        chosen = settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            derandomize=number is None,
            # Without shrinking: each try costs seconds, and no two runs have the same timing.
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=list(HealthCheck),
        )
        if number is not None:
            # A class of its own, since the seed stays with what it is given to.
            machine = seed(number)(type("Fire", (self._machine,), {}))
        else:
            machine = self._machine
        run_state_machine_as_test(machine, settings=chosen)

    def missing(self) -> set[str]:
        """The kinds that have not happened yet."""
        return set(KINDS - {name for name, count in self.ledger.faults.items() if count})

    def call_the_roll(self) -> None:
        """Brings about what the draws may have left out, one by one.

        First the combinations that are always wanted, then each kind that has not happened yet.

        Raises:
            AssertionError: As `draw` does.
        """
        machine = self._machine()
        machine.begin()
        try:
            machine.directed()
            missing = self.missing()
            for fault in ALL:
                if fault.name in missing:
                    machine.roll_call(fault)
        finally:
            machine.teardown()
