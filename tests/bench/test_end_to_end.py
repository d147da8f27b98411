"""Latency: which rows the reader asks for, and what it makes of them."""

import pytest

from bench.end_to_end import Sighting
from schemas.message import Message
from schemas.times import now_micros


def message(name):
    return Message(data=b"", attributes={"event_id": name})


A, B = message("a"), message("b")


def test_the_reader_looks_back_to_the_making_of_the_oldest_unseen_event():
    """However late its row can be seen; without one, to now."""
    sighting = Sighting()
    before = now_micros()
    made = sighting.making([A, B])
    assert [next(made), next(made)] == [A, B]
    after = now_micros()
    assert before <= sighting.since() <= after
    first = sighting.since()
    sighting.note_seen(["b"])
    assert sighting.since() == first  # b was seen before a
    sighting.note_seen(["a"])
    assert sighting.since() >= after


def test_latency_is_from_the_brokers_answer_to_the_first_sight():
    """A second sight changes nothing."""
    sighting = Sighting()
    sighting.note_published([A])
    sighting.note_seen(["a"])
    seen = dict(sighting.seen)
    sighting.note_seen(["a"])
    assert sighting.latencies() == [seen["a"] - sighting.published["a"]]
    assert sighting.latencies()[0] >= 0


def test_an_event_that_was_not_seen_is_an_error():
    """Leaving it out would make the figures better than they are."""
    sighting = Sighting()
    sighting.note_published([A, B])
    sighting.note_seen(["a"])
    with pytest.raises(RuntimeError, match="2 events published, 1 seen"):
        sighting.latencies()
