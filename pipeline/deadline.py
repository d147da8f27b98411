"""Work under a deadline, for calls that take none: cloud clients retry for minutes."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import TypeVar

T = TypeVar("T")
_LOOK_EVERY = 0.25


class OutOfTime(Exception):
    """The work did not end in time. It may go on in its thread until the process ends."""


def within(left: Callable[[], float], work: Callable[[], T]) -> T:
    """What the work returns or raises.

    It runs in a daemon thread, since nothing else can be left behind where it hangs.

    Args:
        left: Seconds that the work still has, asked again and again: a deadline may move.
        work: To be done.

    Raises:
        OutOfTime: Nothing was left.
    """
    outcome: Future[T] = Future()

    def do() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised where the outcome is asked for
            outcome.set_exception(error)

    threading.Thread(target=do, name="under a deadline", daemon=True).start()
    while True:
        remaining = left()
        try:
            return outcome.result(max(0.0, min(remaining, _LOOK_EVERY)))
        except NotYet:
            if outcome.done():  # the work's own
                raise
            if remaining <= 0:
                raise OutOfTime from None


def lasting(seconds: float) -> Callable[[], float]:
    """What is left of so many seconds that begin now."""
    end = time.monotonic() + seconds
    return lambda: end - time.monotonic()
