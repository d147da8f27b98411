"""What is held is counted, bounded, and given back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from publisher.room import Full, Room


def test_messages_are_bounded():
    """One more than the most is refused, and says so to the sender; who leaves makes room."""
    room = Room(2, 100)
    with room.enter(10), room.enter(20):
        assert (room.messages, room.bytes, room.full) == (2, 30, True)
        with pytest.raises(Full, match="busy: 2 requests are waiting already; send it again"):
            room.enter(0)
        assert (room.messages, room.bytes) == (2, 30)
    assert (room.messages, room.bytes, room.full) == (0, 0, False)
    assert room.busy() == ""
    with room.enter(100):
        assert room.full
        assert room.busy() == "busy: 100 bytes are waiting already; send it again"


def test_bytes_are_bounded():
    """Declared bytes count before they come; what would be too much is refused whole."""
    room = Room(10, 100)
    with room.enter(60):
        with pytest.raises(Full, match="busy: 60 bytes are waiting already"):
            room.enter(41)
        with room.enter(40):
            assert room.full
    assert room.bytes == 0


def test_growth():
    """A body that did not say its size, and the events of a batch, count as they become known."""
    room = Room(10, 100, 10)
    with room.enter(0) as place:
        place.grow(size=70)
        place.grow(messages=9)
        assert (room.messages, room.bytes) == (10, 70)
        with pytest.raises(Full, match="busy: 10 messages are waiting already"):
            place.grow(messages=2)
        with pytest.raises(Full):
            place.grow(size=31)
        assert (room.messages, room.bytes) == (10, 70)
    assert (room.messages, room.bytes) == (0, 0)


def test_strangers_have_a_part_of_it():
    """Requests of strangers beyond their share are refused, while others find room."""
    room = Room(8, 100)
    with room.enter(0) as one, room.enter(0) as two, room.enter(0) as three:
        one.be_strange()
        two.be_strange()
        with pytest.raises(Full, match="busy: 2 forms without a key are read"):
            three.be_strange()
        assert not room.full
    with room.enter(0) as again:
        again.be_strange()


def test_batches_beside_requests():
    """A batch as large as the room finds a place while others are held; a second one doesn't."""
    room = Room(3, 100, 3)
    with room.enter(0), room.enter(0), room.enter(0) as batch:
        batch.grow(messages=2)
        assert (room.messages, room.full) == (5, True)
    with room.enter(0) as batch, room.enter(0) as another:
        batch.grow(messages=2)
        with pytest.raises(Full):
            another.grow(messages=2)
        assert not room.full
        with room.enter(0):
            assert room.messages == 5


def test_failure_gives_back():
    """Whatever ends a request, its room is free again."""
    room = Room(1, 10)
    with pytest.raises(KeyError), room.enter(10) as place:
        raise KeyError
    assert (room.messages, room.bytes) == (0, 0)
    with place:  # twice left gives back once
        pass
    assert (room.messages, room.bytes) == (0, 0)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), st.integers(0, 60)),
        st.tuples(st.just("grow"), st.integers(0, 3), st.integers(0, 60)),
        st.tuples(st.just("leave")),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_never_more_than_its_bounds(steps):
    """However requests come, grow and go, the counts are those of who is in, and in bounds."""
    room = Room(5, 100, 5)
    inside = []  # [place, messages, bytes]
    for step in steps:
        try:
            if step[0] == "enter":
                inside.append([room.enter(step[1]), 1, step[1]])
            elif step[0] == "grow" and inside:
                inside[-1][0].grow(messages=step[1], size=step[2])
                inside[-1][1] += step[1]
                inside[-1][2] += step[2]
            elif step[0] == "leave" and inside:
                with inside.pop(0)[0]:
                    pass
        except Full:
            pass
        assert len(inside) <= 5
        assert room.messages == sum(one[1] for one in inside) <= 5 + 5
        assert room.bytes == sum(one[2] for one in inside) <= 100
