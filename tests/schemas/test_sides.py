"""The old side of an update, read beside the new one."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.changed import changed_paths
from schemas.event import InvalidDocument, decode_message
from schemas.firestore import DocumentEventData, InvalidValue, Value, fields_to_json
from schemas.sides import Sides, old_side_by_field, old_side_by_mask, read_sides
from tests.strategies import document_event, fields, firestore_message, is_same, names


def mapping(**items):
    return Value(map_value={"fields": items})


@st.composite
def sides(draw):
    """A document and what it was before: fields that stayed, changed, came and went."""
    new, other = draw(fields), draw(fields)
    old = {name: value for name, value in new.items() if draw(st.booleans())}
    return {**old, **other} if draw(st.booleans()) else {**other, **old}, new


def parsed(new, old):
    """Both documents, as a parser gives them."""
    data = document_event(new, old).SerializeToString()
    event = DocumentEventData.FromString(data)
    return event.old_value, event.value


def same(found, expected):
    """Equal to the sign of a zero, in the same order, and so the same text."""
    return is_same(found, expected) and list(found) == list(expected)


@settings(max_examples=50)
@given(sides())
def test_field_by_field_the_old_side_is_what_reading_it_gives(given_sides):
    """The same JSON in the same order, and the names of just the fields that differ."""
    old, new = (document.fields for document in parsed(given_sides[1], given_sides[0]))
    expected, new_json = fields_to_json(old), fields_to_json(new)
    found, differing = old_side_by_field(old, new, new_json)
    assert same(found, expected)
    assert sorted(differing) == sorted(
        name
        for name in {*old, *new}
        if name not in old
        or name not in new
        or old[name].SerializeToString(deterministic=True)
        != new[name].SerializeToString(deterministic=True)
    )
    assert changed_paths(old, new, differing) == changed_paths(old, new)
    assert same(fields_to_json(new), new_json)


@settings(max_examples=50)
@given(sides(), st.data())
def test_whatever_a_mask_says_the_old_side_is_what_reading_it_gives(given_sides, data):
    """The mask of the change, a part of it, one of strange names: it saves work, and no more."""
    old_fields, new_fields = given_sides
    paths = [f"{name}.x" for name in (*old_fields, *new_fields)] + [*old_fields, *new_fields]
    mask = data.draw(st.lists(st.one_of(names, st.sampled_from(paths or ["a"])), max_size=5))
    if data.draw(st.booleans()):
        mask += changed_paths(old_fields, new_fields)
    old, new = parsed(new_fields, old_fields)
    expected, new_json = fields_to_json(old.fields), fields_to_json(new.fields)
    before = dict(new_json)
    assert same(old_side_by_mask(old, new, new_json, mask), expected)
    assert same(new_json, before)


@settings(max_examples=50)
@given(sides(), st.lists(names, max_size=3))
def test_an_event_has_both_sides_whatever_its_mask(given_sides, mask):
    """Through decode, where the mask is also what changed."""
    old, new = given_sides
    event = decode_message(firestore_message(document_event(new, old, mask=mask)))
    assert same(event.fields, fields_to_json(new))
    assert same(event.old_fields, fields_to_json(old))
    assert event.changed_fields == (tuple(mask) or tuple(changed_paths(old, new)))


def test_a_side_that_is_not_there_is_none():
    """Only a side that is read can be empty."""
    one = {"a": Value(integer_value=1)}
    event = document_event(one, one, mask=("a",))
    assert read_sides(event, has_new=True, has_old=False) == Sides({"a": 1}, None, ("a",))
    assert read_sides(event, has_new=False, has_old=True) == Sides(None, {"a": 1}, ())
    assert read_sides(event, has_new=False, has_old=False) == Sides(None, None, ())
    assert read_sides(event, has_new=True, has_old=True) == Sides({"a": 1}, {"a": 1}, ("a",))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (Value(double_value=-0.0), Value(double_value=0.0)),
        (Value(integer_value=1), Value(double_value=1.0)),
        (Value(string_value="a"), Value(reference_value="a")),
        (Value(string_value=""), Value(null_value=0)),
        (Value(boolean_value=False), Value(integer_value=0)),
        (mapping(), Value(array_value={})),
        (
            mapping(a=mapping(b=Value(double_value=-0.0))),
            mapping(a=mapping(b=Value(double_value=0))),
        ),
    ],
)
@pytest.mark.parametrize("mask", [(), ("other",), ("f",)])
def test_what_looks_equal_is_not_taken_for_equal(old, new, mask):
    """Neither zeros of two signs nor two types of the same text, whatever a mask says."""
    old_document, new_document = parsed({"f": new}, {"f": old})
    new_json = fields_to_json({"f": new})
    _, differing = old_side_by_field(old_document.fields, new_document.fields, new_json)
    assert differing == ["f"]
    found = old_side_by_mask(old_document, new_document, new_json, mask)
    assert is_same(found, fields_to_json({"f": old}))


def test_what_is_equal_is_not_read_twice():
    """The very object of the new side: NaN too, and maps whatever the order of their keys."""
    first = mapping(a=Value(double_value=math.nan), b=mapping(c=Value(null_value=0)))
    second = Value()
    second.map_value.fields["b"].CopyFrom(first.map_value.fields["b"])
    second.map_value.fields["a"].CopyFrom(first.map_value.fields["a"])
    status = ({"status": Value(string_value=text)} for text in ("open", "closed"))
    old, new = (
        {"same": value, **each} for value, each in zip((first, second), status, strict=True)
    )
    for mask in ((), ("status",)):
        event = decode_message(firestore_message(document_event(new, old, mask=mask)))
        assert event.old_fields["same"] is event.fields["same"]
        assert (event.old_fields["status"], event.fields["status"]) == ("open", "closed")
        assert event.changed_fields == ("status",)


@pytest.mark.parametrize("mask", [(), ("bad",), ("good",)])
def test_a_value_that_cannot_be_read_is_named_on_the_old_side_too(mask):
    """By its path, as on the new one."""
    bad = mapping(x=Value(timestamp_value={"seconds": 10**15}))
    good = {"good": Value(integer_value=1)}
    event = document_event(good, {**good, "bad": bad}, mask=mask)
    with pytest.raises(InvalidDocument, match=r"^bad\.x: timestamp_value: "):
        decode_message(firestore_message(event))
    old, new = parsed(good, {"bad": bad})
    with pytest.raises(InvalidValue, match=r"^bad\.x: "):
        old_side_by_field(old.fields, new.fields, fields_to_json(new.fields))
