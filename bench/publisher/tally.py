"""What came of the requests of a load: sets for accounts, quantiles for tables."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from bench.report import quantile

NO_ANSWER = 0
"""The status of a request whose connection ended before its answer was whole."""


class Answered(NamedTuple):
    """One request that was sent. A tuple, since there are hundreds of thousands.

    Args:
        number: Which one.
        status: HTTP status, or `NO_ANSWER`.
        due: When it was to be sent, by `time.monotonic()`.
        seconds: From then until its answer was whole, or its connection gone.
    """

    number: int
    status: int
    due: float
    seconds: float

    @property
    def taken(self) -> bool:
        """Whether the answer says that the broker has it."""
        return 200 <= self.status < 300


@dataclass(slots=True)
class Tally:
    """All of one load.

    Args:
        answers: In the order in which they came.
        bodies: Of the 200s, by number: they carry the issue's id.
        offered: Requests that were due.
        not_sent: Of these, the ones that found no free connection.
        without_retry_after: Answers 429 and 503 that say nothing of when to come back.
        refused_connections: Attempts to connect that failed.
        began: `time.monotonic()` of the start.
        ended: And of the end, when nothing new was due any more.
    """

    answers: list[Answered] = field(default_factory=list)
    bodies: dict[int, bytes] = field(default_factory=dict)
    offered: int = 0
    not_sent: int = 0
    without_retry_after: int = 0
    refused_connections: int = 0
    began: float = 0.0
    ended: float = 0.0

    def statuses(self) -> dict[int, int]:
        """How many answers of each status."""
        return dict(sorted(Counter(each.status for each in self.answers).items()))

    def taken(self) -> set[int]:
        """The numbers that were answered 2xx."""
        return {each.number for each in self.answers if each.taken}

    def rate(self) -> float:
        """Answers 2xx a second, those that came while requests were due."""
        in_time = sum(each.taken and each.due + each.seconds <= self.ended for each in self.answers)
        return in_time / max(self.ended - self.began, 1e-9)

    def milliseconds(self, share: float, which: Callable[[Answered], bool]) -> float:
        """A quantile of the latencies of some answers; 0 when there are none."""
        return milliseconds((each.seconds for each in self.answers if which(each)), share)


def milliseconds(seconds: Iterable[float], share: float) -> float:
    """A quantile in milliseconds, of seconds; 0 of nothing."""
    values = list(seconds)
    return round(quantile(values, share) * 1e3, 1) if values else 0.0


def taken(answered: Answered) -> bool:
    """Whether it was answered 2xx."""
    return answered.taken


def full(answered: Answered) -> bool:
    """Whether it was told to come back later: 429."""
    return answered.status == 429
