"""Keeps a process of the stack running: starts it again, with backoff, whenever it ends."""

import threading
import time
from collections.abc import Callable

from local.ports import wait_until
from local.processes import Child, Command, NotReadyError, Processes

_FIRST_WAIT = 0.5
_LONGEST_WAIT = 30.0
_EVERY = 0.1


class Keeper:
    """One process that is to run until the stack stops.

    The first start must succeed; after that every end is answered by another start, at once when
    the process had got ready, else later each time (0.5 s, doubled up to 30 s).

    Args:
        processes: What starts it.
        command: What to start.
        ready: Whether it serves.
        seconds: How long it may take to get ready.
        say: Told what happens.
    """

    def __init__(
        self,
        processes: Processes,
        command: Command,
        *,
        ready: Callable[[Child], bool],
        seconds: float,
        say: Callable[[str], None],
    ) -> None:
        self._processes = processes
        self._command = command
        self._ready = ready
        self._seconds = seconds
        self._say = say
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._child: Child | None = None
        self.restarts = 0

    def start(self) -> float:
        """Starts it and waits until it serves.

        Returns:
            The seconds that it took.

        Raises:
            NotReadyError: It ended, or was not ready in time.
        """
        self._child = self._processes.start(self._command)
        took = self._child.wait_ready(self._ready, self._seconds, self._say)
        self._thread = threading.Thread(
            target=self._keep, name=f"keeper of the {self._command.name}", daemon=True
        )
        self._thread.start()
        return took

    @property
    def child(self) -> Child:
        """The process as it runs now, or ran last."""
        if self._child is None:
            raise RuntimeError(f"the {self._command.name} was not started")
        return self._child

    def kill(self) -> None:
        """SIGKILL, as a crash would; it is started again."""
        self.child.kill()

    def wait_ready(self, seconds: float) -> bool:
        """Waits until it runs and serves, after a kill.

        Returns:
            Whether it does.
        """
        deadline = time.monotonic() + seconds
        return wait_until(lambda: self.child.running() and self._ready(self.child), deadline)

    def stop(self) -> str:
        """Ends the keeping, then the process.

        Returns:
            How it ended, for a message.
        """
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        return self._processes.stop(self._child) if self._child is not None else "never ran"

    def _keep(self) -> None:
        wait = _FIRST_WAIT
        was_ready = True
        while not self._stop.wait(_EVERY):
            if self.child.running():
                if not was_ready and self._ready(self.child):
                    was_ready = True
                    took = time.monotonic() - self.child.since
                    self._say(f"{self._command.name} is ready again after {took:.1f} s")
                continue
            wait = _FIRST_WAIT if was_ready else min(wait * 2, _LONGEST_WAIT)
            how = self._processes.reap(self.child)
            self._say(
                f"{self._command.name} ended ({how}), starts again in {wait:.1f} s; "
                f"its log is {self.child.log}"
            )
            if self._stop.wait(wait):
                return
            try:
                self._child = self._processes.start(self._command)
            except NotReadyError as error:
                self._say(str(error))
                return
            self.restarts += 1
            was_ready = False
