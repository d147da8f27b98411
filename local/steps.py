"""Steps that run at once, each on a thread of its own; one can wait for another's future."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait


def in_thread(step: Callable[[], None]) -> "Future[None]":
    """Runs a step on a thread of its own, which does not hold this process's end up."""
    future: Future[None] = Future()

    def run() -> None:
        try:
            step()
        except BaseException as error:  # noqa: BLE001  # handed on, to whoever asks the future
            future.set_exception(error)
        else:
            future.set_result(None)

    threading.Thread(target=run, name="starting", daemon=True).start()
    return future


def wait_for(steps: "Sequence[Future[None]]") -> None:
    """Waits until all are done, or one has failed; of those that have, the first one is raised."""
    done, _ = wait(steps, return_when=FIRST_EXCEPTION)
    for step in steps:
        if step in done:
            step.result()
