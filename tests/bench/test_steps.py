"""The events that the steps are measured with."""

import base64

import pytest

from bench import steps
from schemas.event import decode_message
from schemas.firestore import DocumentEventData


def test_the_recorded_events_are_the_emulators_own_small_ones():
    """As they were sent: base64, below 10 KB; most of the recording, none of it twice."""
    events = steps.recorded()
    assert len(events) >= 20
    assert len({event.event_id for event in events}) == len(events)
    for event in events:
        assert len(event.data) < 10_000
        parsed = DocumentEventData.FromString(base64.b64decode(event.data, validate=True))
        assert decode_message(event).document_name in {parsed.value.name, parsed.old_value.name}


def test_both_kinds_are_measured_through_all_steps(monkeypatch):
    """A figure of each for each kind; an event that fails would end the bench."""
    monkeypatch.setattr(steps, "EVENTS_COUNT", 100)
    monkeypatch.setattr(steps, "_MADE_UP", 50)
    monkeypatch.setattr(steps, "_ROUNDS", 2)
    figures = steps.run()
    distinct = len(steps.recorded())
    assert figures["recorded: events"] == 2 * distinct
    assert (figures["made up: events"], figures["made up: events, distinct"]) == (100, 50)
    for kind in ("recorded", "made up"):
        read = figures[f"{kind}: decode and shape, us an event"]
        encode = figures[f"{kind}: encode, us an event"]
        floor = figures[f"{kind}: floor, us an event"]
        assert min(read, encode, floor) > 0
        assert figures[f"{kind}: decode and shape / floor"] == pytest.approx(read / floor, rel=0.05)
        assert figures[f"{kind}: steps / floor"] == pytest.approx((read + encode) / floor, rel=0.05)
        assert figures[f"{kind}: steps, events/s"] > 0
        assert figures[f"{kind}: steps in Beam, events/s"] > 0
