"""What a running stack leaves on disk: a lock, who it is, what it started, and where it listens.

The lock (`flock` on `build/local/lock`) ends with the process that holds it, however that ends,
so it alone says whether a stack runs. The state file says which one, and what a stack that was
killed may have left behind.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from local.guard import kill_group
from local.identity import Identity
from local.ports import wait_until

_STATE = "state.json"
_LOCK = "lock"


class AlreadyRunningError(Exception):
    """Another stack holds the folder.

    Args:
        state: What its state file says; None while it has not written one.
    """

    def __init__(self, state: "State | None") -> None:
        self.state = state
        super().__init__("a stack is running already")


@dataclass(frozen=True, slots=True)
class Process:
    """A process of the stack: its name in messages, and who it is."""

    name: str
    identity: Identity


@dataclass(frozen=True, slots=True)
class State:
    """A running stack.

    Args:
        owner: The process that started everything.
        make: The make that started the owner; None without one.
        children: What it started, first to last.
        addresses: Where the parts listen, once all are up.
    """

    owner: Identity
    make: Identity | None = None
    children: tuple[Process, ...] = ()
    addresses: dict[str, str] | None = None


def write(folder: Path, state: State) -> None:
    """Writes the state file, whole or not at all."""
    fresh = folder / f"{_STATE}.{os.getpid()}"
    fresh.write_text(json.dumps(asdict(state), indent=2) + "\n")
    fresh.replace(folder / _STATE)


def read(folder: Path) -> State | None:
    """Reads the state file; None where there is none, or none of this form."""
    try:
        record = json.loads((folder / _STATE).read_text())
        return State(
            owner=Identity(**record["owner"]),
            make=Identity(**record["make"]) if record["make"] else None,
            children=tuple(
                Process(child["name"], Identity(**child["identity"]))
                for child in record["children"]
            ),
            addresses=record["addresses"],
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def remove(folder: Path) -> None:
    """Removes the state file: nothing of the stack is left."""
    (folder / _STATE).unlink(missing_ok=True)


def claim(folder: Path, seconds: float, say: Callable[[str], None]) -> IO[Any]:
    """Takes the folder for this process.

    Args:
        folder: The stack's folder, made if it is not there.
        seconds: How long to wait for a stack whose make is gone, which is ending.
        say: Told when there is something to wait for.

    Returns:
        The lock: closing it, or ending, gives the folder up.

    Raises:
        AlreadyRunningError: A stack is running there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # For appending: opening it must not touch what the holder of the lock may have in it.
    lock = (folder / _LOCK).open("a")
    if _locked(lock):
        return lock
    running = read(folder)
    ending = running is not None and running.make is not None and not running.make.alive()
    if ending:
        say("waiting for the last stack to end: its make is gone")
        if wait_until(lambda: _locked(lock), time.monotonic() + seconds):
            return lock
    lock.close()
    raise AlreadyRunningError(running)


def kill_leftovers(children: Iterable[Process]) -> list[str]:
    """Kills what a stack that was killed left running, if id and start time still match.

    Returns:
        The names of those that were there.
    """
    return [child.name for child in children if kill_group(child.identity)]


def _locked(lock: IO[Any]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
