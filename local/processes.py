"""The stack's processes: started in groups of their own, watched, and ended with the stack."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from local import identity
from local.identity import Identity
from local.ports import wait_until

ROOT = Path(__file__).resolve().parent.parent
_TAIL_BYTES = 4_000
_TAIL_LINES = 15
_EVERY = 0.05
# How often whoever waits for a process is told that it is not ready yet.
_SAY_EVERY = 10.0


class NotReadyError(Exception):
    """A process did not get ready; the text ends with the end of its log."""


@dataclass(frozen=True, slots=True)
class Command:
    """What to start.

    Args:
        name: What messages and the log file call it.
        argv: The program and its arguments.
        env: Variables on top of this process's own environment.
        without: Variables of this process that it must not see.
        stop_seconds: How long it may take to end after SIGTERM; then it is killed.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    stop_seconds: float = 10.0


class Child:
    """One started process."""

    def __init__(
        self, command: Command, process: subprocess.Popen[bytes], log: Path, log_start: int
    ) -> None:
        self.command = command
        self.log = log
        self.since = time.monotonic()
        self._process = process
        self._log_start = log_start
        self._ending = threading.Lock()
        # The process is ours and not reaped: it is there, if only as a zombie.
        self.identity = identity.of(process.pid) or Identity(process.pid, "")

    @property
    def pid(self) -> int:
        """Its process id, which is its group's too."""
        return self.identity.pid

    def running(self) -> bool:
        """Whether it still runs. It is not reaped here, so its id stays its own."""
        # Else another thread's `kill` could reap it between the first line and the last.
        with self._ending:
            if self._process.returncode is not None:
                return False
            if not hasattr(os, "waitid"):  # macOS before Python 3.13
                return self._process.poll() is None
            flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
            return os.waitid(os.P_PID, self.pid, flags) is None

    def logged(self) -> str:
        """What it has written to its log since it started."""
        with self.log.open("rb") as file:
            file.seek(self._log_start)
            return file.read().decode(errors="replace")

    def tail(self) -> str:
        """The last lines that it wrote, for messages."""
        lines = self.logged()[-_TAIL_BYTES:].splitlines()[-_TAIL_LINES:]
        return "\n".join(f"    {line}" for line in lines) or "    (it wrote nothing)"

    def wait_ready(
        self,
        ready: Callable[["Child"], bool],
        seconds: float,
        say: Callable[[str], None] = lambda _: None,
    ) -> float:
        """Waits until `ready` says that it serves.

        Args:
            ready: Whether it serves.
            seconds: How long that may take.
            say: Told after every ten seconds that it is still waited for.

        Returns:
            The seconds since it was started.

        Raises:
            NotReadyError: It ended, or was not ready in time.
        """
        deadline = time.monotonic() + seconds
        over = False
        while not over and time.monotonic() < deadline:
            soon = min(time.monotonic() + _SAY_EVERY, deadline)
            over = wait_until(lambda: not self.running() or ready(self), soon, _EVERY)
            if not over and soon < deadline:
                say(f"{self.command.name} is not ready after {time.monotonic() - self.since:.0f} s")
        if not self.running():
            why = f"ended with {self.reap()}"
        elif not ready(self):
            why = f"was not ready within {seconds:.0f} s"
        else:
            return time.monotonic() - self.since
        raise NotReadyError(f"{self.command.name} {why}; the end of {self.log}:\n{self.tail()}")

    def kill(self) -> None:
        """SIGKILL to its group, without a word before."""
        with self._ending:
            if self._process.returncode is None:
                os.killpg(self.pid, signal.SIGKILL)
                self._process.wait()

    def stop(self) -> str:
        """SIGTERM, then after `stop_seconds` SIGKILL to what is left of its group.

        Returns:
            How it ended, for a message.
        """
        with self._ending:
            if self._process.returncode is not None:
                return "had ended"
            os.kill(self.pid, signal.SIGTERM)
        deadline = time.monotonic() + self.command.stop_seconds
        ended = wait_until(lambda: not self.running(), deadline, _EVERY)
        how = "ended" if ended else f"killed after {self.command.stop_seconds:.0f} s"
        # A zombie keeps its id: the group is still its own.
        self.kill()
        return how

    def reap(self) -> str:
        """Clears up after a process that has ended by itself.

        Returns:
            Its exit code or signal, for a message.
        """
        self.kill()
        code = self._process.returncode
        return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


class Processes:
    """Starts processes, and ends all that are left when it is closed or its process dies.

    Args:
        logs: The folder of their logs, `NAME.log`; a later process of that name appends.
        changed: Called with all that run whenever one was started or has ended.
    """

    def __init__(self, logs: Path, changed: Callable[[list[Child]], None] = lambda _: None) -> None:
        self._logs = logs
        self._changed = changed
        self._children: list[Child] = []
        self._lock = threading.Lock()
        self._closed = False
        self._guard: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def open(self) -> None:
        """Starts the guard; processes can be started from now on."""
        self._logs.mkdir(parents=True, exist_ok=True)
        self._guard = subprocess.Popen(
            [sys.executable, "-m", "local.guard"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def start(self, command: Command) -> Child:
        """Starts a process in a group and session of its own.

        Raises:
            NotReadyError: The program is not there, or everything is being stopped.
        """
        log = self._logs / f"{re.sub(r'[^a-z0-9]+', '-', command.name.lower())}.log"
        env = {k: v for k, v in os.environ.items() if k not in command.without}
        env.update(command.env)
        with self._lock, log.open("ab") as output:
            if self._closed or self._guard is None:
                raise NotReadyError(f"{command.name} is not started: the stack is stopping")
            log_start = output.tell()
            try:
                process = subprocess.Popen(
                    command.argv,
                    cwd=ROOT,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                raise NotReadyError(f"{command.name} can't be started: {error}") from error
            child = Child(command, process, log, log_start)
            self._tell("+", child)
            self._children.append(child)
            self._changed(list(self._children))
        return child

    def stop(self, child: Child) -> str:
        """Stops one process (see `Child.stop`)."""
        how = child.stop()
        self._forget(child)
        return how

    def kill(self, child: Child) -> None:
        """Kills one process at once, as a crash would."""
        child.kill()
        self._forget(child)

    def reap(self, child: Child) -> str:
        """Clears up after one process that has ended by itself (see `Child.reap`)."""
        how = child.reap()
        self._forget(child)
        return how

    def close(self) -> None:
        """Stops all that are left, the last started first, and the guard with them."""
        with self._lock:
            self._closed = True
            left = list(reversed(self._children))
        for child in left:
            self.stop(child)
        guard, self._guard = self._guard, None
        if guard is not None:
            _input(guard).close()
            guard.wait()

    def _forget(self, child: Child) -> None:
        with self._lock:
            if child in self._children:
                self._children.remove(child)
                self._tell("-", child)
                self._changed(list(self._children))

    def _tell(self, sign: str, child: Child) -> None:
        if self._guard is not None:
            _input(self._guard).write(f"{sign}{child.pid} {child.identity.started}\n")
            _input(self._guard).flush()


def _input(process: subprocess.Popen[str]) -> IO[str]:
    if process.stdin is None:
        raise RuntimeError("the guard has no standard input")
    return process.stdin
