"""What stays in the process while stretches of the same pipeline come and go.

FnApiRunner keeps some memory for each bundle until a run ends, so on DirectRunner a job is many
short runs in one process ("stretches"). Clients, leases, write streams and caches outlive them;
they live here, since DoFns are pickled anew for each stretch. Also the one request to stop.
"""

import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")

stopping = threading.Event()
"""Set once, when the process has been told to stop; everything that waits looks at it."""

_lock = threading.RLock()
_things: dict[Hashable, Any] = {}
_closers: list[Callable[[], None]] = []


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


def close_all() -> None:
    """Closes everything and forgets it, so that the next run in the process starts anew."""
    with _lock:
        closers = _closers[::-1]
        _closers.clear()
        _things.clear()
    for close in closers:
        close()


def growth(key: Hashable, total: int) -> int:
    """By how much a total has grown since it was last asked: for threads where Beam counts not."""
    with _lock:
        before: int = _things.get(("growth", key), 0)
        _things["growth", key] = total
        return total - before
