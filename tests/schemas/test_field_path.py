"""Field paths in Firestore's quoting."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.field_path import field_path, parse_field_path
from tests.strategies import names


@given(st.lists(names | st.just(""), min_size=1, max_size=5).map(tuple))
def test_a_quoted_path_reads_back(segments):
    """parse(field_path(p)) is p, whatever the names are made of."""
    assert parse_field_path(field_path(segments)) == segments


@pytest.mark.parametrize(
    ("segments", "text"),
    [
        (("a",), "a"),
        (("a", "b_1"), "a.b_1"),
        (("a.b", "c"), "`a.b`.c"),
        (("bak`tik",), "`bak\\`tik`"),
        (("x&y",), "`x&y`"),
        (("back\\slash",), "`back\\\\slash`"),
        (("1a",), "`1a`"),
        (("é",), "`é`"),
        (("[0]",), "`[0]`"),
        (("a", 0), "a[0]"),
        (("a", 3, "b"), "a[3].b"),
    ],
)
def test_paths_are_quoted_as_firestore_does(segments, text):
    """The examples of google-events' data.proto, and what is odd in other ways."""
    assert field_path(segments) == text


@pytest.mark.parametrize(
    "text", ["", ".", "a.", ".a", "a..b", "a b", "1a", "`a", "a`", "`a`b", "a[0]", "`\\`", "é"]
)
def test_what_is_no_path_is_refused(text):
    """A path that Firestore would not take is a ValueError."""
    with pytest.raises(ValueError):
        parse_field_path(text)
