"""Processes end with whoever started them, and no stranger is ever killed."""

import os
import signal
import subprocess
import sys
import time

from local import identity
from local.guard import kill_group, watch
from local.identity import Identity
from local.ports import wait_until
from local.processes import ROOT

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


def test_what_started_and_has_not_ended_is_left():
    """At the end of the input the processes that were not told to have ended are known."""
    lines = ["+10 111\n", "+11 Tue Nov 24 22:26:00 2026\n", "-10 111\n"]
    assert watch(lines) == [Identity(11, "Tue Nov 24 22:26:00 2026")]


def test_a_reused_id_is_never_killed():
    """A process whose id matches and whose start does not is let alone."""
    process = subprocess.Popen(SLEEP, start_new_session=True)
    try:
        assert not kill_group(Identity(process.pid, "another start"))
        assert process.poll() is None
        assert kill_group(identity.of(process.pid))
        assert process.wait(10) == -signal.SIGKILL
    finally:
        process.kill()


def test_a_zombie_and_a_stranger_are_not_alive():
    """A process that has ended is not alive, reaped or not."""
    process = subprocess.Popen(SLEEP)
    who = identity.of(process.pid)
    assert who.alive()
    process.kill()
    assert wait_until(lambda: not who.alive(), time.monotonic() + 10)
    process.wait()
    assert identity.of(process.pid) is None
    assert identity.own() == identity.of(os.getpid())


def test_a_killed_starter_takes_its_processes_with_it(tmp_path):
    """When the starter is killed by SIGKILL, its process and that one's own child die."""
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from local.processes import Command, Processes\n"
        "family = 'sleep 60 & echo $!; wait'\n"
        "with Processes(Path(sys.argv[1])) as processes:\n"
        "    child = processes.start(Command('family', ('sh', '-c', family)))\n"
        "    child.wait_ready(lambda child: child.logged().strip() != '', 10)\n"
        "    print(child.pid, child.logged().strip(), flush=True)\n"
        "    time.sleep(60)\n"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        pids = [int(pid) for pid in starter.stdout.readline().split()]
        assert len(pids) == 2
        family = [identity.of(pid) for pid in pids]
        assert None not in family
    finally:
        starter.kill()
        starter.wait()
    assert wait_until(lambda: not any(member.alive() for member in family), time.monotonic() + 10)
