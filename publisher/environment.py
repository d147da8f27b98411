"""Reads settings out of an environment, and keeps every problem instead of the first."""

import re
from collections.abc import Mapping, Sequence

from schemas.problem import Problem, ProblemsFound

_COMMA = re.compile(r"[,\s]+")


class Environment:
    """Variables of an environment; an empty one counts as not set.

    Args:
        variables: By name.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self.problems: list[Problem] = []

    def text(self, name: str, default: str = "") -> str:
        """The value as it is."""
        return self._variables.get(name) or default

    def matching(self, name: str, default: str, grammar: re.Pattern[str], form: str) -> str:
        """The value if the grammar matches it as a whole; `form` says what it should be."""
        value = self.text(name, default)
        if value and not grammar.fullmatch(value):
            self.problem(name, f"{value!r} is not {form}")
        return value

    def listed(self, name: str, grammar: re.Pattern[str], form: str) -> tuple[str, ...]:
        """Values that commas or white space part, each matched by the grammar."""
        values = tuple(value for value in _COMMA.split(self.text(name)) if value)
        for value in values:
            if not grammar.fullmatch(value):
                self.problem(name, f"{value!r} is not {form}")
        return values

    def one_of(self, name: str, default: str, values: Sequence[str]) -> str:
        """One of a few words."""
        value = self.text(name, default)
        if value not in values:
            self.problem(name, f"{value!r} is not one of {', '.join(values)}")
        return value

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """A number from `low` to `high`, a whole one if the default is."""
        text = self.text(name, str(default))
        kind = type(default)
        try:
            value = kind(text)
        except ValueError:
            value = kind(high + 1)
        if low <= value <= high:  # false for NaN too
            return value
        what = f"{text!r} is not a number from {low:.10g} to {high:.10g}"
        self.problem(name, what, "a whole one" if kind is int else "")
        return default

    def problem(self, name: str, what: str, remedy: str = "") -> None:
        """Keeps a problem."""
        self.problems.append(Problem(name, what, remedy))

    def check(self) -> None:
        """Ends the reading.

        Raises:
            ProblemsFound: With every problem that was kept.
        """
        if self.problems:
            raise ProblemsFound(self.problems)
