"""Processes that stay on one core, and what a process and its children have taken of it.

Linux only: affinity and /proc.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

SERVER_CORE = 0
OTHER_CORE = 1
"""The load client and Pub/Sub's emulator share this one."""

# In the process itself before it becomes the program, so that every thread inherits it.
_PIN = (
    "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); "
    "os.execvp(sys.argv[2], sys.argv[2:])"
)
_KIBI = 1_024


@dataclass(frozen=True, slots=True)
class Used:
    """What a process and its children have used.

    Args:
        cpu_seconds: In user and system mode.
        peak_megabytes: The most that was ever resident, added up over the processes; pages that
            they share count in each.
    """

    cpu_seconds: float
    peak_megabytes: float


def pinned(argv: Sequence[str], core: int | None) -> tuple[str, ...]:
    """The command that runs on one core only; on any with None."""
    if core is None:
        return tuple(argv)
    return (sys.executable, "-c", _PIN, str(core), *argv)


def pin_self(core: int) -> None:
    """Keeps this process on one core, threads that it starts from now on included."""
    os.sched_setaffinity(0, {core})


def used(pid: int) -> Used:
    """What a process and its children have used so far."""
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    times = [each.cpu_times() for each in family]
    return Used(
        cpu_seconds=sum(each.user + each.system for each in times),
        peak_megabytes=sum(_kilobytes(each.pid, "VmHWM") for each in family) * _KIBI / 1e6,
    )


def resident_megabytes(pid: int) -> float:
    """What is resident of one process now."""
    return _kilobytes(pid, "VmRSS") * _KIBI / 1e6


def _kilobytes(pid: int, name: str) -> int:
    """A size in /proc/PID/status (proc(5)); 0 of a process that has ended."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0
