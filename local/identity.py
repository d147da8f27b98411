"""Who a process is: its id and when it started, so that a reused id is never taken for it."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

_PS_SECONDS = 10
_PROC = Path("/proc")
_MAKES = ("make", "gmake")
# Fields of /proc/PID/stat after the command's closing bracket (proc(5) counts from 1 and the
# state is its third).
_PARENT, _STARTED = 1, 19


@dataclass(frozen=True, slots=True)
class Identity:
    """A process.

    Args:
        pid: Its id, which the system gives again to another once it has ended.
        started: When it started, in whatever unit the system has; compared, never read.
    """

    pid: int
    started: str

    def alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        return of(self.pid) == self


def of(pid: int) -> Identity | None:
    """The identity of a running process; None where there is none."""
    if _has_proc():
        fields = _stat(pid)
        if fields is None or fields[1][0] in ("Z", "X"):
            return None
        return Identity(pid, fields[1][_STARTED])
    started = _ps(pid, "lstart=")
    return Identity(pid, started) if started else None


def own() -> Identity:
    """This process."""
    identity = of(os.getpid())
    if identity is None:
        raise RuntimeError("neither /proc nor ps tells about this process")
    return identity


def make_above() -> Identity | None:
    """The make that started this process, at any distance; None without one."""
    if "MAKELEVEL" not in os.environ:
        return None
    pid = os.getppid()
    while pid > 1:
        parent = _parent(pid)
        if parent is None:
            return None
        name, above = parent
        if name in _MAKES:
            return of(pid)
        pid = above
    return None


def _has_proc() -> bool:
    return (_PROC / "self" / "stat").exists()


def _parent(pid: int) -> tuple[str, int] | None:
    """A process's command name and its parent's id."""
    if _has_proc():
        fields = _stat(pid)
        return None if fields is None else (fields[0], int(fields[1][_PARENT]))
    told = _ps(pid, "ppid=,comm=").split(maxsplit=1)
    return (Path(told[1]).name, int(told[0])) if len(told) > 1 else None


def _stat(pid: int) -> tuple[str, list[str]] | None:
    """The command's name and the fields after it, of /proc/PID/stat."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name is in brackets and may hold spaces and brackets itself.
    head, _, tail = text.rpartition(")")
    return head.partition("(")[2], tail.split()


def _ps(pid: int, columns: str) -> str:
    """What `ps` says of a process, where there is no /proc (macOS)."""
    answer = subprocess.run(
        ["ps", "-o", columns, "-p", str(pid)],
        capture_output=True,
        text=True,
        timeout=_PS_SECONDS,
        check=False,
        env=os.environ | {"LC_ALL": "C"},
    )
    return answer.stdout.strip()
