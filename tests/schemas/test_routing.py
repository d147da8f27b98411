"""Which table takes a document."""

import dataclasses

import pytest

from schemas.event import decode_message
from schemas.routing import DEAD_LETTERS, Pattern, Router, parse_collection
from schemas.shaping import Unmatched
from schemas.table_file import parse_tables
from tests.strategies import document_event, firestore_message, manual_message

DATABASE = "projects/demo-project/databases/(default)/documents/"


def tables(*collections):
    """A job of a default table `rest` and tables `t0`, `t1`, ... with these collections."""
    texts = [("rest.yaml", "{table: rest, default: true}")]
    for number, of_table in enumerate(collections):
        quoted = ", ".join(f'"{text}"' for text in of_table)
        texts.append((f"t{number}.yaml", f"{{table: t{number}, collections: [{quoted}]}}"))
    return parse_tables(texts)


def event(path, database=DATABASE):
    """The creation of a document at a path."""
    made = document_event({"a": {"integer_value": 1}}, name=database + path)
    return decode_message(firestore_message(made))


def route(router, path, **more):
    """The name of the table that takes a document, and the parameters."""
    table, parameters = router.route(event(path, **more))
    return table.name, dict(parameters)


@pytest.mark.parametrize(
    "text", [".", "..", "__x__", "____", "users/../issues", "users/{user}/__x__", "__x__/a/b"]
)
def test_ids_that_firestore_forbids_are_refused(text):
    """No document can be there: it is a slip."""
    with pytest.raises(ValueError, match=r"^Firestore has no id '"):
        parse_collection(text)
    near = text.replace("..", "...").replace("__", "_") if text != "." else ".a"
    parse_collection(near)


def test_a_collection_id_takes_it_at_any_depth():
    """As a collection group does, by the innermost collection."""
    router = Router(tables(["issues"]))
    assert route(router, "issues/1") == ("t0", {})
    assert route(router, "users/ann/issues/1") == ("t0", {})
    assert route(router, "issues/1/comments/2") == ("rest", {})


def test_a_pattern_takes_its_path_alone_and_gives_the_parameters():
    """Ids are as they are in the document's name, whatever is in them."""
    router = Router(tables(["users/{user}/issues/{issue}"]))
    assert route(router, "users/ann b%2Fé/issues/1") == (
        "t0",
        {"user": "ann b%2Fé", "issue": "1"},
    )
    assert route(router, "issues/1") == ("rest", {})
    assert route(router, "teams/ann/issues/1") == ("rest", {})
    assert route(router, "users/ann/issues/1/issues/2") == ("rest", {})


def test_a_pattern_that_ends_with_a_collection_takes_all_its_documents():
    """The last segment has no name, so no column."""
    router = Router(tables(["users/{user}/issues"]))
    assert route(router, "users/ann/issues/1") == ("t0", {"user": "ann"})


def test_a_pattern_comes_before_an_id_and_a_literal_before_a_parameter():
    """The further to the left it is literal, the sooner; the order of the files does not count."""
    files = [
        ["issues"],
        ["users/{user}/issues/{issue}"],
        ["users/ann/issues/{issue}"],
        ["users/{user}/issues/1"],
    ]
    for given in (files, files[::-1]):
        made = tables(*given)
        router = Router(made)
        by_name = {table.name: table.collections for table in made}
        taken = {
            path: by_name[route(router, path)[0]]
            for path in ("users/ann/issues/1", "users/bob/issues/1", "users/bob/issues/2",
                         "teams/x/issues/1")
        }  # fmt: skip
        assert taken == {
            "users/ann/issues/1": ("users/ann/issues/{issue}",),
            "users/bob/issues/1": ("users/{user}/issues/1",),
            "users/bob/issues/2": ("users/{user}/issues/{issue}",),
            "teams/x/issues/1": ("issues",),
        }


def test_every_database_is_alike():
    """Patterns are paths inside a database."""
    router = Router(tables(["users/{user}/issues"]))
    named = "projects/demo-project/databases/second/documents/"
    assert route(router, "users/ann/issues/1", database=named) == ("t0", {"user": "ann"})


def test_what_nothing_matches_goes_to_the_default_table_or_to_the_dead_letters():
    """As the job is told; an event without a document goes to the default table always."""
    assert route(Router(tables(["issues"])), "teams/blue") == ("rest", {})
    strict = Router(tables(["issues", "users/{user}/notes"]), DEAD_LETTERS)
    assert route(strict, "issues/1") == ("t0", {})
    with pytest.raises(Unmatched) as refused:
        strict.route(event("teams/blue"))
    assert str(refused.value) == (
        "no table's collections match 'teams/blue': name 'teams' in a table file, or let the "
        "default table take it"
    )
    manual = decode_message(manual_message({"issue": "x"}))
    assert strict.route(manual)[0].name == "rest"


def test_the_default_table_takes_its_own_collections_even_then():
    """Being the default does not make its own documents unmatched."""
    (table,) = parse_tables([("a", "{table: rest, default: true, collections: [issues]}")])
    router = Router([table], DEAD_LETTERS)
    assert route(router, "issues/1") == ("rest", {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("issues", None),
        ("is sues", None),
        ("a/{b}", Pattern(("a",), (None,), ("b",))),
        ("a/b/c/{d}", Pattern(("a", "c"), ("b", None), ("", "d"))),
        ("a/{b}/c", Pattern(("a", "c"), (None, None), ("b", ""))),
    ],
)
def test_a_pattern_is_read(text, expected):
    """Collections and documents in turn; a collection's id alone is no pattern."""
    assert parse_collection(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' has an empty segment"),
        ("a//b", "'a//b' has an empty segment"),
        ("/a", "'/a' has an empty segment"),
        ("{a}", ("'{a}' stands in '{a}' where a collection's id does: segments are collection, "
                "document, collection, ... in turn")),
        ("a/{b}/{c}/{d}", ("'{c}' stands in 'a/{b}/{c}/{d}' where a collection's id does: segments "
                          "are collection, document, collection, ... in turn")),
        ("a/{b=**}", ("'{b=**}' in 'a/{b=**}' is no parameter: write {name}, of letters, digits "
                     "and _")),
        ("a/{b", "'{b' in 'a/{b' is no parameter: write {name}, of letters, digits and _"),
        ("a/{b}/c/{b}", "a parameter stands twice in 'a/{b}/c/{b}'"),
    ],
)  # fmt: skip
def test_what_is_no_pattern_is_refused(text, said):
    """With a sentence that names the segment."""
    with pytest.raises(ValueError) as refused:
        parse_collection(text)
    assert str(refused.value) == said


def test_two_names_for_the_same_pattern_are_one_claim():
    """Parameters' names do not tell patterns apart."""
    one, other = Pattern(("a",), (None,), ("b",)), Pattern(("a",), (None,), ("c",))
    assert one.shape == other.shape
    assert dataclasses.replace(one, documents=("x",)).shape != one.shape
