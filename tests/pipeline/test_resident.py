"""What stays in the process between stretches."""

import threading

import pytest

from pipeline import resident
from pipeline.resident import BundleFailed, close_all, growth, on_stop, reporting, stop


def test_made_once():
    """The first call makes the thing, every other one gets it."""
    made = []
    for _ in range(3):
        assert resident.resident(("a", 1), lambda: made.append(1) or "thing") == "thing"
    assert resident.resident(("a", 2), lambda: "another") == "another"
    assert made == [1]


def test_made_once_by_many_threads():
    """Threads that ask at once get the same thing."""
    barrier = threading.Barrier(8)
    found = []

    def ask():
        barrier.wait(10)
        found.append(resident.resident(("x",), object))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(found) == 8
    assert len(set(map(id, found))) == 1


def test_closed_in_reverse_and_forgotten():
    """`close_all` closes the last made first, each once; the next call makes anew."""
    closed = []
    for name in ("client", "stream"):
        resident.resident((name,), lambda name=name: name, closed.append)
    close_all()
    close_all()
    assert closed == ["stream", "client"]
    assert resident.resident(("client",), lambda: "new") == "new"


def test_a_thing_that_could_not_be_made_is_made_at_the_next_call():
    """A failure to make a thing leaves nothing behind."""
    with pytest.raises(ValueError, match="not now"):
        resident.resident(("a",), fail)
    assert resident.resident(("a",), lambda: 1) == 1


def fail():
    raise ValueError("not now")


def test_growth_counts_each_unit_once():
    """What a thread has counted is told to Beam as it grows."""
    assert [growth("a", total) for total in (3, 3, 10)] == [3, 0, 7]
    assert growth("b", 4) == 4
    close_all()
    assert growth("a", 2) == 2


def test_stop_wakes_what_waits():
    """Everything registered is woken, and the event is set before that."""
    seen = []
    on_stop(lambda: seen.append(resident.stopping.is_set()))
    on_stop(lambda: seen.append("second"))
    stop()
    assert seen == [True, "second"]
    close_all()
    stop()
    assert seen == [True, "second"]  # what was closed is not woken


def test_the_first_fault_is_kept():
    """The first exception of the process is there as it was raised, until all is closed."""
    first = KeyError("first")
    for error in (first, ValueError("second")):
        with pytest.raises(BundleFailed, match=str(error)), reporting():
            raise error
    assert resident.raised is first
    close_all()
    assert resident.raised is None


def test_what_is_handed_to_the_engine_can_be_made_from_a_text():
    """Beam makes the exception anew with the step's name behind its text: nothing is garbled."""
    with pytest.raises(BundleFailed) as raised, reporting():
        raise ValueError("table t: is not there")
    again = type(raised.value)(raised.value.args[0] + " [while running 'Step']")
    assert str(again) == "ValueError: table t: is not there [while running 'Step']"
