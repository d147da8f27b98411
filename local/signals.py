"""Ends a run in order: on Ctrl-C, SIGTERM, SIGHUP, and when the make that started it is gone."""

import os
import signal
import threading
import time
from types import FrameType

from local import identity
from local.identity import Identity

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_EVERY = 0.5
_INIT = 1


class Interrupted(BaseException):
    """The run is to end now: like KeyboardInterrupt, no fault that `except Exception` takes."""


def raise_interrupted() -> None:
    """From now on the first such signal raises `Interrupted` in the main thread.

    Later ones are ignored: what has been started is being stopped, each part with a deadline,
    and a second Ctrl-C must not leave half of it running.
    """

    def interrupt(number: int, _: FrameType | None) -> None:
        ignore()
        raise Interrupted(signal.Signals(number).name)

    for number in _ENDING:
        signal.signal(number, interrupt)


def ignore() -> None:
    """From now on such signals do nothing."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)


def end_with_make() -> None:
    """Ends this process by SIGTERM when the make that started it is gone.

    A make that is killed (SIGKILL, or a CI's time-out) takes nothing with it: the stack would
    run on with nobody left to stop it.
    """
    make = identity.make_above()
    if make is not None:
        threading.Thread(target=_watch, args=(make,), name="make's end", daemon=True).start()
    elif "MAKELEVEL" in os.environ and os.getppid() == _INIT:
        # It was killed while this process was still loading.
        os.kill(os.getpid(), signal.SIGTERM)


def _watch(make: Identity) -> None:
    while make.alive():
        time.sleep(_EVERY)
    os.kill(os.getpid(), signal.SIGTERM)
