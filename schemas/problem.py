"""The one form in which options, preflight and schemas report what is wrong."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, where, and what to do about it.

    Args:
        where: The flag, file and path, resource or header at fault.
        what: What is wrong with it, as a clause.
        remedy: What the reader can do; empty when the clause says it already.
    """

    where: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f" ({self.remedy})" if self.remedy else "")


class ProblemsFound(Exception):
    """Raised once with every problem of one check, never with the first alone."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[type["ProblemsFound"], tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)
