"""Work under a deadline."""

import threading

import pytest

from pipeline.deadline import OutOfTime, lasting, within


def test_what_the_work_returns_and_raises():
    """An answer in time is the work's own, an exception too, even one about time."""
    assert within(lasting(60), lambda: 7) == 7

    def late():
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        within(lasting(60), late)


def test_work_that_hangs():
    """It is left behind, and does not keep the process."""
    go = threading.Event()
    with pytest.raises(OutOfTime):
        within(lasting(0.1), go.wait)
    [left] = [each for each in threading.enumerate() if each.name == "under a deadline"]
    assert left.daemon
    go.set()
    left.join(10)


def test_a_deadline_that_moves():
    """It is asked again and again."""
    done = threading.Event()
    asked = []

    def left():
        asked.append(1)
        if len(asked) == 3:
            done.set()
        return 1.0

    assert within(left, lambda: done.wait(60))
