"""Which fields an event changed."""

import math

import pytest
from hypothesis import given

from schemas.changed import changed_paths
from schemas.field_path import parse_field_path
from schemas.firestore import Value, fields_to_json
from tests.strategies import fields, is_same, vector


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
