"""When the job counts as ready, and what is said meanwhile."""

import sys
import time

import pytest

from local.keeper import Keeper
from local.ports import wait_until
from local.processes import Command, Processes
from local.stack import connected

# A job that says what it is going to read, and that it is connected once a file is there.
JOB = """
import pathlib, sys, time
print("reading projects/p/subscriptions/s (Pub/Sub: emulator)", file=sys.stderr, flush=True)
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.02)
print("12:00:00 INFO connected to projects/p/subscriptions/s", file=sys.stderr, flush=True)
time.sleep(60)
"""


@pytest.fixture
def processes(tmp_path):
    with Processes(tmp_path / "logs") as processes:
        yield processes


def banner_is_there(child):
    return wait_until(lambda: "reading " in child.logged(), time.monotonic() + 10)


def test_a_job_is_ready_once_it_is_connected(processes, tmp_path):
    """Its banner is no sign; and what an earlier start logged is none, though the log goes on."""
    answers = tmp_path / "answers"
    command = Command("job", (sys.executable, "-c", JOB, str(answers)))
    said = []
    answers.touch()
    keeper = Keeper(processes, command, ready=connected, seconds=10, say=said.append)
    keeper.start()
    answers.unlink()
    keeper.kill()
    assert wait_until(lambda: keeper.restarts == 1, time.monotonic() + 10)
    assert banner_is_there(keeper.child)
    assert "connected to " in keeper.child.log.read_text()
    assert not keeper.wait_ready(0.3)
    assert not any("ready again" in line for line in said)
    answers.touch()
    assert keeper.wait_ready(10)
    assert wait_until(lambda: "ready again" in said[-1], time.monotonic() + 10)
    keeper.stop()
