"""Dead letters: original bytes, Pub/Sub's limits, and attempts over replays."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.failure import DeadLetter, Failure, cut, dead_letter
from schemas.message import (
    MAX_MESSAGE_BYTES,
    MAX_VALUE_BYTES,
    Message,
    event_id_of_data,
    limit_problems,
    serialized_size,
)
from tests.strategies import NOW, attributes, text

TIME = "2027-01-15T08:00:00.000000Z"


def letter_of(message, stage="decode", error="InvalidJson", reason="why", job="job"):
    return dead_letter(Failure(message, stage, error, reason), time=NOW, job=job)


def test_a_letter_has_the_original_and_what_went_wrong():
    """The data untouched, the original attributes, and ours, exactly."""
    message = Message(b"\x00\xff", {"ce-id": "1", "ce-source": "s", "Content-Type": "x"}, "5", 6)
    event_id = message.event_id
    assert letter_of(message, "shape", "NoTime", "nothing says when", "the-job") == DeadLetter(
        b"\x00\xff",
        {
            "ce-id": "1",
            "ce-source": "s",
            "Content-Type": "x",
            "event_id": event_id,
            "dedup_id": f"{event_id}:1",
            "dead_letter_stage": "shape",
            "dead_letter_error": "NoTime",
            "dead_letter_reason": "nothing says when",
            "dead_letter_time": TIME,
            "dead_letter_job": "the-job",
            "dead_letter_attempt": "1",
        },
    )


@given(
    st.binary(max_size=300),
    attributes | st.dictionaries(text, text, min_size=95, max_size=130),
    st.text(max_size=30) | st.just("é" * 2_000),
)
def test_any_failure_makes_a_letter_that_pubsub_takes(data, given_, reason):
    """Arbitrary bytes and attributes: data equal, limits kept, nothing of ours that is needed lost.

    What was left out is original attributes alone or optional ones of ours, and is noted.
    """
    before = dict(given_)
    message = Message(data, given_)
    letter = letter_of(message, reason=reason)
    assert letter.data == data
    assert letter.unpublishable == ""
    assert limit_problems(letter.data, letter.attributes) == []
    assert letter.attributes["dead_letter_error"] == "InvalidJson"
    assert letter.attributes["dead_letter_stage"] == "decode"
    assert letter.attributes["event_id"] == cut(message.event_id)
    ours = {"event_id", "dedup_id"} | {n for n in letter.attributes if n.startswith("dead_letter_")}
    kept = {n: v for n, v in letter.attributes.items() if n not in ours}
    assert kept.items() <= given_.items()
    lost = given_.keys() - letter.attributes.keys()
    assert bool(lost) <= ("dead_letter_note" in letter.attributes)
    assert message.attributes == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("", "x"),
        ("k" * 257, "x"),
        ("é" * 129, ""),
        ("k", "v" * 1_025),
        ("goog", "x"),
        ("GoOgX", ""),
    ],
)
def test_an_attribute_that_pubsub_refuses_is_left_out_and_noted(name, value):
    """The emulator lets such attributes through; the letter cannot carry them."""
    letter = letter_of(Message(b"x", {name: value, "fine": "y"}))
    assert name not in letter.attributes
    assert letter.attributes["fine"] == "y"
    assert letter.attributes["dead_letter_note"] == f"left out: {name[:64]}"
    assert letter.attributes["dead_letter_reason"] == "why"


def test_our_optional_ones_go_first_then_the_longest_originals():
    """The stated order: job, time, reason, then original attributes by length of value."""
    shed = []
    for count in range(89, 105):
        originals = {f"a{i:03}": "x" * i for i in range(count)}
        letter = letter_of(Message(b"", originals))
        assert letter.unpublishable == ""
        note = letter.attributes.get("dead_letter_note", "left out: ")
        shed.append(note.removeprefix("left out: ").split(", ") if "dead" in str(note) else [])
    # 8 of ours and 92 originals are 100; the note itself takes a place.
    assert shed[:4] == [[], [], [], []]
    order = ["dead_letter_job", "dead_letter_time", "dead_letter_reason"]
    assert shed[4] == order[:2]
    assert shed[5] == order
    assert shed[6] == [*order, "a094"]
    assert shed[7] == [*order, "a095", "a094"]
    assert shed[10] == [*order, "a098", "a097", "a096", "a095", "a094"]


def test_what_a_letter_is_understood_by_is_never_shed():
    """With 100 attributes of the greatest size the ids, stage and error are still there."""
    originals = {f"a{i}": "x" * MAX_VALUE_BYTES for i in range(100)}
    letter = letter_of(Message(b"", originals | {"event_id": "E", "dead_letter_data": "row"}))
    assert letter.unpublishable == ""
    needed = ("event_id", "dedup_id", "dead_letter_stage", "dead_letter_error",
              "dead_letter_attempt", "dead_letter_data")  # fmt: skip
    assert [letter.attributes[name] for name in needed] == [
        "E", "E:1", "decode", "InvalidJson", "1", "row",
    ]  # fmt: skip
    assert len(letter.attributes) == 100


def test_data_near_the_limit_shed_attributes_until_they_fit():
    """9,999,000 bytes leave no room for long attributes, and enough for the needed ones."""
    message = Message(b"x" * (MAX_MESSAGE_BYTES - 1_000), {"a": "x" * 900, "b": "y"})
    letter = letter_of(message, reason="r" * 2_000)
    assert letter.unpublishable == ""
    assert letter.data is message.data
    assert letter.attributes["b"] == "y"
    assert "a" not in letter.attributes
    assert letter.attributes["dead_letter_note"] == (
        "left out: dead_letter_job, dead_letter_time, dead_letter_reason, a"
    )
    assert serialized_size(letter.data, letter.attributes) <= MAX_MESSAGE_BYTES


@pytest.mark.parametrize("size", [MAX_MESSAGE_BYTES - 50, MAX_MESSAGE_BYTES, 12_000_000])
def test_data_over_the_limit_are_not_cut_but_said_to_be_unpublishable(size):
    """Such a letter is parked whole: every byte and every attribute, so that it can be replayed."""
    message = Message(b"x" * size, {"ce-type": "t", "long": "v" * 2_000, "goog": "g"})
    letter = letter_of(message)
    assert letter.data is message.data
    assert letter.unpublishable.startswith("message: 1")
    assert letter.unpublishable.endswith(" bytes, Pub/Sub takes 10000000")
    assert message.attributes.items() <= letter.attributes.items()
    assert letter.attributes["dead_letter_reason"] == "why"
    replayed = Message(letter.data, letter.attributes)
    assert replayed.event_id == message.event_id
    assert replayed.dedup_id == f"{message.event_id}:1"


def test_attempts_go_up_over_replays_and_ids_stay():
    """A letter published as it is, by hand or by us, is no duplicate of what failed before."""
    message = Message(b"{", {"ce-type": "t"})
    event_id = event_id_of_data(b"{")
    seen = {message.dedup_id}
    for attempt in range(1, 12):
        letter = letter_of(message)
        assert letter.attributes["dead_letter_attempt"] == str(attempt)
        message = Message(letter.data, letter.attributes, str(attempt))
        assert message.event_id == event_id
        assert message.dedup_id == f"{event_id}:{attempt}"
        seen.add(message.dedup_id)
    assert len(seen) == 12
    assert len(letter_of(message).attributes) == len(letter_of(Message(b"{", {"ce-type": "t"}))
                                                     .attributes)  # fmt: skip


@pytest.mark.parametrize("text_", ["", "x", "-1", "1.5", "٣", "1" * 8, " 1"])
def test_a_strangers_attempt_counts_as_none(text_):
    """An attribute of that name which is no small number is no reason to fail."""
    letter = letter_of(Message(b"", {"dead_letter_attempt": text_, "event_id": "E"}))
    assert letter.attributes["dead_letter_attempt"] == "1"
    assert letter.attributes["dedup_id"] == "E:1"


@pytest.mark.parametrize("attempt", [1, 999_999])
def test_an_event_id_of_any_length_fits_with_its_attempt(attempt):
    """An id that a stranger made too long is cut, the same way each time."""
    given_ = {"event_id": "é" * 2_000, "dead_letter_attempt": str(attempt - 1)}
    letter = letter_of(Message(b"", given_))
    assert letter.unpublishable == ""
    assert letter.attributes["dedup_id"].endswith(f"...:{attempt}")
    assert letter.attributes["event_id"].endswith("é...")
    # Its replay has the cut id, and keeps it.
    again = letter_of(Message(b"", letter.attributes))
    assert again.attributes["event_id"] == letter.attributes["event_id"]


def test_a_letter_of_a_letter_has_the_new_reason():
    """What an earlier attempt said is replaced, not added to."""
    first = letter_of(Message(b"", {"event_id": "E"}), error="NoData", reason="one")
    second = letter_of(
        Message(b"", first.attributes), stage="write", error="RowRefused", reason="two"
    )
    assert second.attributes == first.attributes | {
        "dead_letter_stage": "write",
        "dead_letter_error": "RowRefused",
        "dead_letter_reason": "two",
        "dead_letter_attempt": "2",
        "dedup_id": "E:2",
    }


@given(st.text(), st.integers(3, 60))
def test_a_cut_text_is_a_whole_one_with_a_mark(given_, limit):
    """At most so many bytes, valid UTF-8, the beginning unchanged, a mark where it was cut."""
    found = cut(given_, limit)
    whole = given_.encode("utf-8", "replace").decode()
    assert len(found.encode()) <= limit
    if len(whole.encode()) <= limit:
        assert found == whole
    else:
        assert found.endswith("...")
        assert whole.startswith(found[:-3])
        assert len(found.encode()) > limit - 4  # no more is cut than one character needs


def test_a_letters_parts_do_not_change_the_failure():
    """Inputs are never mutated."""
    failure = Failure(Message(b"x", {"a": "b"}), "decode", "E", "r")
    copy = dataclasses.replace(failure, message=Message(b"x", {"a": "b"}))
    dead_letter(failure, time=NOW, job="j").attributes["a"] = "changed"
    assert failure == copy
