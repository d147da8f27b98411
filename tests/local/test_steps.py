"""Steps that run at once."""

import threading

import pytest

from local.steps import in_thread, wait_for


def test_steps_run_at_once_and_can_wait_for_each_other():
    """All have run when the waiting ends, whatever order they were begun in."""
    met = threading.Barrier(2)
    ran = []

    def meet():
        met.wait(10)
        ran.append("met")

    first, second = in_thread(meet), in_thread(meet)

    def last():
        first.result(10)
        second.result(10)
        ran.append("last")

    wait_for([first, in_thread(last), second])
    assert ran == ["met", "met", "last"]


def test_the_first_failure_ends_the_waiting():
    """It is raised as it was, while another step still goes on."""
    go_on = threading.Event()

    def fail():
        raise ValueError("no")

    waiting = in_thread(lambda: go_on.wait(10))
    with pytest.raises(ValueError, match="no"):
        wait_for([waiting, in_thread(fail)])
    assert not waiting.done()
    go_on.set()
    wait_for([waiting])
