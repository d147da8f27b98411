"""Ends the stack's processes when the process that started them is gone without a word.

`python -m local.guard` reads lines from standard input: `+PID STARTED` when a process was
started, `-PID STARTED` when it has ended. The end of the input is the starter's end, whatever
ended it, SIGKILL included: then every process that is left is killed with its group.

Linux could do it without this (PR_SET_PDEATHSIG), but there the signal comes when the *thread*
that started the child ends, a child of a child is not told, and macOS has nothing like it.
Killing at once is safe: the job and BigQuery's data outlive a SIGKILL by design, all else is
thrown away.
"""

import os
import signal
import sys
from collections.abc import Iterable

from local.identity import Identity


def watch(lines: Iterable[str]) -> list[Identity]:
    """Reads to the end of the input.

    Returns:
        The processes that were started and have not ended.
    """
    running: dict[int, Identity] = {}
    for line in lines:
        pid, _, started = line[1:].strip().partition(" ")
        if line.startswith("+"):
            running[int(pid)] = Identity(int(pid), started)
        else:
            running.pop(int(pid), None)
    return list(running.values())


def kill_group(process: Identity) -> bool:
    """Kills a process that leads a group, with its group, if it is still the one meant.

    Returns:
        Whether it was there to be killed.
    """
    if not process.alive():
        return False
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:  # it ended between the question and the call
        return False
    return True


if __name__ == "__main__":
    for ended_by in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # It goes when its starter goes, never before.
        signal.signal(ended_by, signal.SIG_IGN)
    for left in watch(sys.stdin):
        kill_group(left)
