"""Which fields an event changed."""

import math

import pytest
from hypothesis import given

from schemas.changed import changed_paths
from schemas.event import InvalidDocument, decode_message
from schemas.field_path import MAX_PATHS_TEXT, field_path, parse_field_path, text_length
from schemas.firestore import InvalidValue, Value, fields_to_json
from tests.strategies import document_event, fields, firestore_message, is_same, vector


def value(**kwargs):
    return Value(**kwargs)


def array(*items):
    return value(array_value={"values": items})


def mapping(**items):
    return value(map_value={"fields": items})


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({}, {}, []),
        ({"a": value(integer_value=1)}, {"a": value(integer_value=1)}, []),
        ({"a": value(integer_value=1)}, {"a": value(integer_value=2)}, ["a"]),
        ({"a": value(integer_value=1)}, {"a": value(double_value=1)}, ["a"]),
        ({"a": value(double_value=0.0)}, {"a": value(double_value=-0.0)}, ["a"]),
        ({"a": value(double_value=math.nan)}, {"a": value(double_value=math.nan)}, []),
        ({"a": value(null_value=0)}, {}, ["a"]),
        ({}, {"a": value(null_value=0)}, ["a"]),
        ({"a": array(value(integer_value=1))}, {"a": array()}, ["a"]),
        (
            {"m": mapping(x=value(integer_value=1), y=array())},
            {"m": mapping(x=value(integer_value=2), z=array())},
            ["m.x", "m.y", "m.z"],
        ),
        ({"m": mapping(x=mapping())}, {"m": mapping(x=mapping(y=mapping()))}, ["m.x.y"]),
        ({"m": mapping(x=array())}, {"m": value(integer_value=1)}, ["m", "m.x"]),
        ({}, {"m": mapping(x=mapping(y=array()), z=mapping())}, ["m.x.y", "m.z"]),
        ({"m": mapping(x=mapping(y=array()))}, {}, ["m.x.y"]),
        ({"v": vector(1.0)}, {"v": vector(2.0)}, ["v"]),
        ({"v": vector(1.0)}, {"v": mapping(a=array())}, ["v", "v.a"]),
        ({"b": array(), "a.b": array()}, {"[0]": array()}, ["`[0]`", "`a.b`", "b"]),
    ],
)
def test_the_leaves_that_differ_are_named(old, new, expected):
    """Maps field by field, all else as a whole; sorted, quoted, by type and sign."""
    assert changed_paths(old, new) == expected


@given(fields, fields)
def test_what_changed_is_what_differs(old, new):
    """Nothing differs between a document and itself; each path is found on one of the sides."""
    assert changed_paths(old, old) == []
    paths = changed_paths(old, new)
    assert paths == sorted(set(paths)) == changed_paths(new, old)
    for path in paths:
        first = parse_field_path(path)[0]
        assert first in old or first in new
    for name in old.keys() & new.keys():
        same = is_same(fields_to_json({name: old[name]}), fields_to_json({name: new[name]}))
        if not same:
            assert any(parse_field_path(path)[0] == name for path in paths)


def test_paths_beyond_what_a_row_holds_are_refused_before_they_are_made():
    """A long name above many leaves: 100 paths that are just short enough, and one more."""
    name = "n" * (MAX_PATHS_TEXT // 100 - 4)
    leaves = {f"f{i:02}": value(integer_value=i) for i in range(100)}
    assert len(changed_paths({}, {name: mapping(**leaves)})) == 100
    # An integer that becomes another is met on both sides, and counts once.
    others = {f"f{i:02}": value(integer_value=-1) for i in range(100)}
    assert len(changed_paths({name: mapping(**others)}, {name: mapping(**leaves)})) == 100
    leaves["f100"] = value(integer_value=1)
    for old, new in (({}, leaves), (leaves, {}), ({}, {"m": mapping(**leaves)})):
        with pytest.raises(InvalidValue) as caught:
            changed_paths({name: mapping(**old)}, {name: mapping(**new)})
        assert str(caught.value).startswith("nnn")
        assert f"the paths that name them have more than {MAX_PATHS_TEXT} characters" in str(
            caught.value
        )


@given(fields)
def test_a_path_is_never_shorter_than_it_is_counted(document):
    """So that no row's worth of paths is refused."""
    for name in document:
        for path in ((name,), (name, 12, name), (name, name, 0)):
            assert text_length(path) <= len(field_path(path))


def test_an_event_with_too_many_paths_is_a_dead_letter():
    """InvalidDocument, whose reason says what it is."""
    leaves = {f"f{i:03}": value(integer_value=i) for i in range(150)}
    event = document_event({"n" * 100_000: mapping(**leaves)}, {})
    with pytest.raises(InvalidDocument, match="the paths that name them have more than"):
        decode_message(firestore_message(event))
