"""Processor time of other processes, for benches."""

from collections.abc import Callable

import psutil


def clock(pid: int) -> Callable[[], float]:
    """Reads the CPU seconds of a process and of the children that it has now or has reaped."""
    process = psutil.Process(pid)

    def seconds() -> float:
        total = 0.0
        for each in (process, *process.children(recursive=True)):
            times = each.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
        return float(total)

    return seconds
