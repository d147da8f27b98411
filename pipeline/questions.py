"""Asks services side by side, within one deadline, and keeps apart what was not found out."""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from google.api_core.exceptions import (
    Forbidden,
    GoogleAPICallError,
    MethodNotAllowed,
    MethodNotImplemented,
    NotFound,
    Unauthorized,
)
from google.auth.exceptions import GoogleAuthError

from pipeline.outages import is_transient
from pipeline.refusals import ACCESS, CREDENTIALS, RIGHTS
from schemas.problem import Problem

CALL_SECONDS = 3.0
"""Deadline of one call."""

_PAUSE = 0.3
_SIDE_BY_SIDE = 16

Question = Callable[[float], Any]
"""A call; takes its deadline in seconds."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What a check has found.

    Args:
        checked: What was asked and is well, each as a line.
        unchecked: What could not be asked, each with why.
        problems: What would lose or double data, or end the job.
    """

    checked: tuple[str, ...] = ()
    unchecked: tuple[Problem, ...] = ()
    problems: tuple[Problem, ...] = ()


class Inquiry:
    """Questions about one thing, one after the other, on a thread of its own.

    Args:
        where: The thing, as a problem names it.
        steps: Asks, and tells the inquiry what it finds.
    """

    def __init__(self, where: str, steps: Callable[["Inquiry"], None]) -> None:
        self.where = where
        self._steps = steps
        self._deadline = 0.0
        self._checked: list[str] = []
        self._unchecked: list[Problem] = []
        self._problems: list[Problem] = []
        self._error: BaseException | None = None
        self.done = threading.Event()

    def run(self, deadline: float) -> None:
        """Takes its steps until a time of `time.monotonic`."""
        self._deadline = deadline
        try:
            self._steps(self)
        except GoogleAuthError as error:
            self.refuse(CREDENTIALS.at("credentials", error=error))
        except BaseException as error:  # noqa: BLE001 - raised on the caller's thread
            self._error = error
        finally:
            self.done.set()

    def ask(
        self, where: str, question: Question, *, absent: Problem, role: str, needed: bool = True
    ) -> Any:
        """The answer; None when there is none, and then it is told why.

        Args:
            where: What is asked about.
            question: One call.
            absent: What is wrong where it is not there.
            role: What lets an account read it.
            needed: Whether the job itself needs to be let in; else it is only not checked.
        """
        while True:
            try:
                return question(self._seconds())
            except NotFound:
                self.refuse(absent)
                return None
            except GoogleAPICallError as error:
                if not is_transient(error):
                    self._not_let_in(where, error, role, needed)
                    return None
                why: Exception = error
            except Exception as error:
                if not is_transient(error):
                    raise
                why = error
            if time.monotonic() + _PAUSE >= self._deadline:
                self.note(where, f"does not answer: {_short(why)}")
                return None
            time.sleep(_PAUSE)

    def rights(
        self,
        where: str,
        question: Callable[[float], Iterable[str]],
        wanted: Sequence[str],
        role: str,
    ) -> None:
        """Asks which of the permissions on a thing the account has.

        The service answers for what exists alone, and "may fail open"
        (its reference): that none is missing is no proof.
        """
        try:
            had = set(question(self._seconds()))
        except (MethodNotImplemented, MethodNotAllowed):
            self.note("permissions", "an emulator knows of none")
            return
        except (GoogleAPICallError, OSError) as error:  # OSError: of REST, requests' own
            self.note(f"{where}: permissions", f"not told: {_short(error)}")
            return
        if lacking := [each for each in wanted if each not in had]:
            self.refuse(RIGHTS.at(where, permissions=", ".join(lacking), role=role))
        else:
            self.checked(f"{where}: the account has {', '.join(wanted)}")

    def refuse(self, problem: Problem) -> None:
        """What is wrong."""
        self._problems.append(problem)

    def note(self, where: str, why: str, remedy: str = "") -> None:
        """What could not be found out."""
        self._unchecked.append(Problem(where, why, remedy))

    def checked(self, line: str) -> None:
        """What is well."""
        self._checked.append(line)

    def close(self) -> Findings:
        """What was found by now; what comes later is not heard.

        Raises:
            Exception: What its steps raised and nobody foresaw.
        """
        late = not self.done.is_set()  # first: what it says after this is not missed then
        if self._error is not None:
            raise self._error
        unchecked = list(self._unchecked)
        if late:
            unchecked.append(Problem(self.where, "does not answer in time"))
        return Findings(tuple(self._checked), tuple(unchecked), tuple(self._problems))

    def _seconds(self) -> float:
        return max(0.1, min(CALL_SECONDS, self._deadline - time.monotonic()))

    def _not_let_in(self, where: str, error: GoogleAPICallError, role: str, needed: bool) -> None:
        if isinstance(error, Unauthorized):
            self.refuse(CREDENTIALS.at("credentials", error=_short(error)))
        elif not isinstance(error, Forbidden):
            self.refuse(Problem(where, f"cannot be asked about: {_short(error)}"))
        elif needed:
            self.refuse(ACCESS.at(where, error=error.message, role=role))
        else:
            self.note(where, f"may not be read: {error.message}", f"{role} lets the account")


def found_by(inquiries: Sequence[Inquiry], deadline: float) -> Findings:
    """Runs inquiries side by side, and ends with the deadline whether or not they have.

    On threads of daemons, since nothing can end a call that hangs: a client that looks for
    credentials takes no deadline.
    """
    waiting: queue.SimpleQueue[Inquiry] = queue.SimpleQueue()
    for inquiry in inquiries:
        waiting.put(inquiry)

    def work() -> None:
        while time.monotonic() < deadline:
            try:
                inquiry = waiting.get_nowait()
            except queue.Empty:
                return
            inquiry.run(deadline)

    for number in range(min(_SIDE_BY_SIDE, len(inquiries))):
        threading.Thread(target=work, name=f"preflight {number}", daemon=True).start()
    for inquiry in inquiries:
        inquiry.done.wait(max(0.0, deadline - time.monotonic()))
    return together(inquiry.close() for inquiry in inquiries)


def together(parts: Iterable[Findings]) -> Findings:
    """All findings, each once: every client may have said the same of the credentials."""
    checked: dict[str, None] = {}
    unchecked: dict[Problem, None] = {}
    problems: dict[Problem, None] = {}
    for part in parts:
        checked |= dict.fromkeys(part.checked)
        unchecked |= dict.fromkeys(part.unchecked)
        problems |= dict.fromkeys(part.problems)
    return Findings(tuple(checked), tuple(unchecked), tuple(problems))


def _short(error: object) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:200] + "..."
