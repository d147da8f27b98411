"""What stays in the process while stretches of the same pipeline come and go.

FnApiRunner keeps some memory for each bundle until a run ends, so on DirectRunner a job is many
short runs in one process ("stretches"). Clients, leases, write streams and caches outlive them;
they live here, since DoFns are pickled anew for each stretch. Also the one request to stop.
"""

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

stopping = threading.Event()
"""Set once, when the process has been told to stop; everything that waits looks at it."""

raised: Exception | None = None
"""The first exception of a bundle since the process began, or since `close_all`."""

_lock = threading.RLock()
_things: dict[Hashable, Any] = {}
_closers: list[Callable[[], None]] = []
_wakers: list[Callable[[], None]] = []


def resident(key: Hashable, make: Callable[[], T], close: Callable[[T], None] | None = None) -> T:
    """The process's one thing of this key, made at the first call.

    Args:
        key: Kind and arguments, such as `("puller", subscription)`.
        make: Makes it.
        close: Called once by `close_all`, the last made first.
    """
    with _lock:
        if key not in _things:
            thing = make()
            _things[key] = thing
            if close is not None:
                _closers.append(lambda: close(thing))
        found: T = _things[key]
        return found


def existing(key: Hashable) -> Any:
    """The process's thing of this key, or None where it was not made."""
    with _lock:
        return _things.get(key)


class BundleFailed(Exception):
    """What ended a bundle, as text; the exception itself is `raised`."""


@contextmanager
def reporting() -> Iterator[None]:
    """Keeps what ends the run: the engine hands on an exception of a bundle as text alone.

    Beam makes a new exception of the old one's type and a text with the step's name. Not every
    type can be made so, and ProblemsFound would take each letter of the text for a problem.

    Raises:
        BundleFailed: With the text of what was raised inside.
    """
    global raised  # noqa: PLW0603
    try:
        yield
    except Exception as error:
        with _lock:
            raised = raised or error
        raise BundleFailed(f"{type(error).__name__}: {error}") from error


def close_all() -> None:
    """Closes everything and forgets it, so that the next run in the process starts anew."""
    global raised  # noqa: PLW0603
    with _lock:
        raised = None
        closers = _closers[::-1]
        _closers.clear()
        _things.clear()
        _wakers.clear()
    for close in closers:
        close()


def growth(key: Hashable, total: int) -> int:
    """By how much a total has grown since it was last asked: for threads where Beam counts not."""
    with _lock:
        before: int = _things.get(("growth", key), 0)
        _things["growth", key] = total
        return total - before


def stop() -> None:
    """Asks everything in the process to come to an end, and wakes what waits.

    Not to be called in a signal's handler: `Event.set` takes a lock that is not reentrant, and
    the handler may have interrupted a thread inside of it.
    """
    stopping.set()
    for wake in tuple(_wakers):
        wake()


def on_stop(wake: Callable[[], None]) -> None:
    """Registers what `stop` calls, once, on the thread that stops.

    It may take a lock, since `stop` is never called in a signal's handler: on the thread that
    waits, and so perhaps within the lock itself.
    """
    _wakers.append(wake)
