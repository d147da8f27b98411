"""Processes of the stack: readiness, logs, ends, and restarts."""

import os
import re
import sys
import threading
import time

import pytest

from local.keeper import Keeper
from local.ports import wait_until
from local.processes import Command, NotReadyError, Processes

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('up', flush=True); time.sleep(60)"
)
UP = "import time; print('up', flush=True); time.sleep(60)"


def python(name, code, **more):
    return Command(name, (sys.executable, "-c", code), **more)


def says_up(child):
    return "up" in child.logged()


@pytest.fixture
def processes(tmp_path):
    with Processes(tmp_path / "logs") as processes:
        yield processes


def test_a_process_gets_ready_and_is_stopped(processes, tmp_path):
    """It runs in a group of its own, logs to a file of its name, and ends by SIGTERM."""
    child = processes.start(python("Some Part/one", UP))
    assert 0 < child.wait_ready(says_up, 10) < 10
    assert os.getpgid(child.pid) == child.pid
    assert child.log == tmp_path / "logs/some-part-one.log"
    assert processes.stop(child) == "ended"
    assert not child.running()


def test_one_that_ends_before_it_is_ready_shows_its_log(processes):
    """The error says how it ended and ends with what it wrote."""
    child = processes.start(python("broken", "print('the reason'); raise SystemExit(3)"))
    with pytest.raises(NotReadyError, match=r"(?s)broken ended with exit code 3; .*the reason"):
        child.wait_ready(says_up, 10)


def test_one_that_is_not_ready_in_time_is_told(processes):
    """The wait has a deadline, and the process that missed it is stopped with the others."""
    child = processes.start(python("slow", UP))
    with pytest.raises(NotReadyError, match="slow was not ready within 0 s"):
        child.wait_ready(lambda _: False, 0.2)
    processes.close()
    assert not child.running()


def test_a_program_that_is_not_there_is_told(processes):
    """A missing program is an error of the same kind."""
    with pytest.raises(NotReadyError, match="nowhere can't be started"):
        processes.start(Command("nowhere", ("/does/not/exist",)))


def test_only_what_this_start_wrote_is_read(processes):
    """A second process of a name appends, and the first one's lines do not make it ready."""
    first = processes.start(python("part", UP))
    first.wait_ready(says_up, 10)
    processes.kill(first)
    second = processes.start(python("part", "import time; time.sleep(60)"))
    assert second.logged() == ""
    assert "up" in first.logged()
    with pytest.raises(NotReadyError):
        second.wait_ready(says_up, 0.3)


def test_whoever_waits_is_told_now_and_then(processes, monkeypatch):
    """While a process is not ready, a line says so after each further stretch of time."""
    monkeypatch.setattr("local.processes._SAY_EVERY", 0.2)
    child = processes.start(python("slow", UP))
    said = []
    with pytest.raises(NotReadyError):
        child.wait_ready(lambda _: False, 0.7, said.append)
    assert len(said) == 3
    assert all(re.fullmatch(r"slow is not ready after \d+ s", line) for line in said)


def test_a_process_may_be_killed_while_another_thread_looks(processes, monkeypatch):
    """Between the kill's reaping and its noting that down, a look at the process is no error."""
    child = processes.start(python("part", UP))
    waitpid, seen, reaped, looked = os.waitpid, [], threading.Event(), threading.Event()

    def look():
        reaped.wait(10)
        try:
            seen.append(child.running())
        except OSError as error:
            seen.append(error)
        looked.set()

    def reap(pid, options):
        found = waitpid(pid, options)
        reaped.set()
        looked.wait(0.3)
        return found

    thread = threading.Thread(target=look)
    thread.start()
    monkeypatch.setattr(os, "waitpid", reap)
    processes.kill(child)
    thread.join(10)
    assert seen == [False]


def test_one_that_ignores_sigterm_is_killed(processes):
    """After its time to stop it is killed, and the message says so."""
    child = processes.start(python("stubborn", STUBBORN, stop_seconds=0.3))
    child.wait_ready(says_up, 10)
    assert processes.stop(child) == "killed after 0 s"
    assert not child.running()


def test_the_environment_is_the_parents_and_the_commands(processes, monkeypatch):
    """Variables are added on top, and those that it must not see are gone."""
    monkeypatch.setenv("KEPT", "1")
    monkeypatch.setenv("HIDDEN", "2")
    code = "import os; print(os.environ.get('KEPT'), os.environ.get('HIDDEN'), os.environ['NEW'])"
    command = python("env", code, env={"NEW": "3"}, without=("HIDDEN",))
    child = processes.start(command)
    assert wait_until(lambda: not child.running(), time.monotonic() + 10)
    assert child.logged() == "1 None 3\n"


def test_nothing_starts_once_all_is_stopped(processes):
    """A start that comes after the stop is refused, so that nothing is left behind."""
    processes.close()
    with pytest.raises(NotReadyError, match="stopping"):
        processes.start(python("late", UP))


def test_whoever_watches_is_told_what_runs(tmp_path):
    """Each start and each end is told, with all that run then."""
    told = []
    with Processes(tmp_path, lambda children: told.append([c.command.name for c in children])) as p:
        first = p.start(python("a", UP))
        p.start(python("b", UP))
        p.kill(first)
    assert told == [["a"], ["a", "b"], ["b"], []]


def test_a_kept_process_is_started_again(processes):
    """One that is killed runs again, with another id, and the restart is counted and told."""
    said = []
    keeper = Keeper(processes, python("kept", UP), ready=says_up, seconds=10, say=said.append)
    keeper.start()
    first = keeper.child.pid
    keeper.kill()
    assert wait_until(lambda: keeper.restarts == 1, time.monotonic() + 10)
    assert keeper.wait_ready(10)
    assert keeper.child.pid != first
    assert said[0].startswith("kept ended (SIGKILL), starts again in 0.5 s")
    assert wait_until(lambda: len(said) > 1, time.monotonic() + 10)
    assert said[1].startswith("kept is ready again after")
    assert keeper.stop() == "ended"
    assert not keeper.child.running()


def test_one_that_keeps_ending_is_started_later_each_time(processes, tmp_path):
    """Without getting ready in between, the wait doubles."""
    mark = tmp_path / "mark"
    code = (
        f"import pathlib, sys, time; mark = pathlib.Path({str(mark)!r})\n"
        "if mark.exists(): sys.exit(4)\n"
        "mark.touch(); print('up', flush=True); time.sleep(60)"
    )
    said = []
    keeper = Keeper(processes, python("kept", code), ready=says_up, seconds=10, say=said.append)
    keeper.start()
    keeper.kill()
    assert wait_until(lambda: len(said) == 3, time.monotonic() + 20)
    keeper.stop()
    waits = [line.partition("again in ")[2].split(" ")[0] for line in said]
    assert waits == ["0.5", "1.0", "2.0"]
    assert "exit code 4" in said[1]


def test_one_that_never_got_ready_is_not_kept(processes):
    """The first start must succeed: its error goes to whoever started it."""
    keeper = Keeper(
        processes, python("broken", "raise SystemExit(2)"), ready=says_up, seconds=10, say=print
    )
    with pytest.raises(NotReadyError, match="exit code 2"):
        keeper.start()
    assert keeper.restarts == 0
