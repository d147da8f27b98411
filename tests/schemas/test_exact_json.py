"""A manual issue's body, read exactly."""

import json
import tracemalloc

import pytest

from schemas.event import InvalidJson, decode_message
from schemas.exact_json import NoJsonObject, check_json, parse_object
from schemas.field_path import MAX_PATHS_TEXT
from schemas.json_text import MAX_JSON_DEPTH
from tests.strategies import manual_message


def body(name, numbers):
    """An array of numbers that are kept as text, below a name."""
    return json.dumps({name: 0}).replace("0}", f"[{','.join(['1e400'] * numbers)}]}}").encode()


def test_paths_of_inexact_numbers_are_bounded_before_they_are_made():
    """360 KB would make 2.9 GB of paths: refused at a row's worth of them."""
    tracemalloc.start()
    try:
        with pytest.raises(NoJsonObject) as caught:
            parse_object(body("n" * 180_000, 30_000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(caught.value) == (
        "after 54 numbers that BigQuery's JSON would round or refuse, the paths that name them "
        f"have more than {MAX_PATHS_TEXT} characters: send such numbers as strings"
    )
    assert peak < 5 * MAX_PATHS_TEXT


def test_below_the_bound_every_path_is_told():
    """Many short paths are no fault."""
    fields, inexact = parse_object(body("n", 10_000))
    assert fields == {"n": ["1e400"] * 10_000}
    assert inexact == [f"n[{i}]" for i in range(10_000)]


def test_a_body_beyond_the_bound_is_a_dead_letter_of_its_own_name():
    """InvalidJson, as whatever else is wrong with a body."""
    with pytest.raises(InvalidJson, match="send such numbers as strings"):
        decode_message(manual_message(body("n" * 100_000, 100)))


DEEPEST = "[" * MAX_JSON_DEPTH + "]" * MAX_JSON_DEPTH


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "null",
        '"x"',
        "-0.0",
        "18446744073709551615",
        ' {"a": [1, 0.1, "\\ud83d\\ude00"]}',
        DEEPEST,
    ],
)
def test_json_that_a_column_takes(text):
    """Any value, up to the deepest."""
    check_json(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "Expecting value"),
        ("{} x", "Extra data"),
        ("[NaN]", "NaN is not JSON"),
        ('{"a": 1, "a": 2}', "twice"),
        (f"[{DEEPEST}]", "500 levels"),
        ("[" * 100_000, "500 levels"),
        ('["\\ud83d"]', "surrogate"),
        ('{"\\ud83d": 1}', "surrogate"),
        ("1e400", "rounded"),
        ("[18446744073709551616]", "rounded"),
        ('{"a": 0.12345678901234567890}', "rounded"),
    ],
)
def test_json_that_a_column_refuses(text, why):
    """Each with what is wrong."""
    with pytest.raises(ValueError, match=why):
        check_json(text)
