"""The job as a process that a bench measures: started under the guard, its memory read by /proc.

Linux only: elsewhere there is no /proc, and reading memory raises FileNotFoundError.
"""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from local.layout import job_command
from local.ports import wait_until
from local.processes import Child, Command, NotReadyError, Processes
from local.stack import Stack, connected

READY_SECONDS = 120.0
_EVERY = 0.1
_ENDED_WELL = "exit code 0"
_KIBI = 1_024


class Job:
    """One started process of the job.

    Args:
        processes: What starts it, and ends it if the bench breaks off.
        command: What to start.
    """

    def __init__(self, processes: Processes, command: Command) -> None:
        self._processes = processes
        self._child = processes.start(command)
        self._peak = 0.0

    def wait_ready(
        self, ready: Callable[[Child], bool] = connected, seconds: float = READY_SECONDS
    ) -> None:
        """Waits until it is connected, or what else `ready` looks for.

        Raises:
            NotReadyError: It ended, or was not ready in time.
        """
        self._child.wait_ready(ready, seconds)

    def resident(self) -> float:
        """Its resident memory now, in MB."""
        return resident_megabytes(self._child.pid)

    def running(self) -> bool:
        """Whether it still runs."""
        return self._child.running()

    def logged(self) -> str:
        """What it has written to its log."""
        return self._child.logged()

    def drain(self, seconds: float) -> float:
        """Tells it to stop, and waits as `wait` does."""
        os.kill(self._child.pid, signal.SIGTERM)
        return self.wait(seconds)

    def wait(self, seconds: float) -> float:
        """Waits for its end, which must be a good one.

        Returns:
            The most memory that was ever resident, in MB (the kernel's own mark, read ten times a
            second: what it gained in its last tenth of a second is missed).

        Raises:
            NotReadyError: It ended badly, or not in time.
        """
        deadline = time.monotonic() + seconds
        if not wait_until(self._ended, deadline, _EVERY):
            raise NotReadyError(f"the job still runs after {seconds:.0f} s:\n{self._child.tail()}")
        tail = self._child.tail()
        if (how := self._processes.reap(self._child)) != _ENDED_WELL:
            raise NotReadyError(f"the job ended with {how}:\n{tail}")
        return self._peak

    def _ended(self) -> bool:
        # A process that has ended tells no memory any more.
        self._peak = max(self._peak, _status(self._child.pid).get("VmHWM", 0.0))
        return not self._child.running()


def command_of(stack: Stack, *arguments: str, instead: tuple[str, ...] = ()) -> Command:
    """The stack's own command of the job, which it has not started itself.

    Args:
        stack: That is up.
        *arguments: More arguments for the job.
        instead: Python's own arguments in the place of `run_dataflow.py`.
    """
    command = job_command(stack.options, stack.addresses.pubsub)
    python, script, *own = command.argv
    return replace(command, argv=(python, *(instead or (script,)), *own, *arguments))


def resident_megabytes(pid: int | str = "self") -> float:
    """The resident memory of a process now, in MB; 0 of one that has ended."""
    return _status(pid).get("VmRSS", 0.0)


def _status(pid: int | str) -> dict[str, float]:
    """The sizes in /proc/PID/status (proc(5)), in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = (line.split() for line in lines)
    return {
        name.rstrip(":"): int(size[0]) * _KIBI / 1e6
        for name, *size in fields
        if size[-1:] == ["kB"]
    }
