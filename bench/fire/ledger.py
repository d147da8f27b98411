"""What the run did, and what came of it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Key = tuple[str, int, int]
"""A row as it is known here: its `event_id`, its number, and the length of its padding."""


@dataclass(slots=True)
class Ledger:
    """Counts, over all tables of a run.

    Args:
        faults: How often each kind happened; a fault that met no call is not in here.
        tables: Tables written to.
        appends: Batches handed to the sink.
        given: Rows in them, each counted once however often it was handed over.
        refused: Of these, the bad ones that the sink named.
        found: Rows in the tables at the end.
        doubled: Rows in a table more often than once.
        lost: Good rows of a known outcome that are not in their table.
        unknown: Rows in a table that were not given to it, or that should have been refused.
        broken_off: Rows whose append was stopped, or whose process was killed; they are handed
            over again if the table lacks them, as the job does.
        broken_off_written: Of these, those that the table had.
        writers: Writers opened, each with a thread and a client of its own.
        streams: Write streams made by the writers of this process.
        waits: Times that the sink waited for BigQuery.
    """

    faults: Counter[str] = field(default_factory=Counter)
    tables: int = 0
    appends: int = 0
    given: int = 0
    refused: int = 0
    found: int = 0
    doubled: int = 0
    lost: int = 0
    unknown: int = 0
    broken_off: int = 0
    broken_off_written: int = 0
    writers: int = 0
    streams: int = 0
    waits: int = 0

    @property
    def balanced(self) -> bool:
        """Whether every row that was given is there once, or was refused."""
        harm = self.lost or self.doubled or self.unknown
        return not harm and self.found == self.given - self.refused

    def __str__(self) -> str:
        kinds = sum(1 for count in self.faults.values() if count)
        return (
            f"{sum(self.faults.values())} faults of {kinds} kinds; {self.given} rows given, "
            f"{self.refused} refused, {self.found} found, {self.doubled} doubled, "
            f"{self.lost} lost, {self.unknown} unknown; {self.writers} writers, "
            f"{self.streams} streams, {self.waits} waits"
        )

    def figures(self) -> dict[str, object]:
        """Everything, for a file."""
        names = [name for name in self.__dataclass_fields__ if name != "faults"]
        return {
            **{name: getattr(self, name) for name in names},
            "faults": sum(self.faults.values()),
            "kinds": dict(sorted(self.faults.items())),
        }


@dataclass(frozen=True, slots=True)
class Difference:
    """How a table differs from what it should hold."""

    lost: tuple[str, ...] = ()
    doubled: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.lost or self.doubled or self.unknown)


def difference(expected: Mapping[str, Key], found: Iterable[Key]) -> Difference:
    """Compares a table with the model.

    Args:
        expected: The rows that it should hold, by `event_id`.
        found: Those that it holds; a row with other contents is unknown, and its own is lost.
    """
    counts = Counter(found)
    return Difference(
        lost=tuple(name for name, key in expected.items() if key not in counts),
        doubled=tuple(key[0] for key, count in counts.items() if count > 1),
        unknown=tuple(key[0] for key in counts if expected.get(key[0]) != key),
    )
