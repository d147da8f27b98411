"""Where the sample expects its documents: judged by what table files say, not by the job's code."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.destinations import aimed, destination, kept
from local.expected import Expected
from schemas.event import decode_message
from schemas.firestore import DocumentEventData
from schemas.message import Message
from schemas.routing import Router
from schemas.table_file import parse_tables

FILE = """
table: any
default: true
---
table: by_id
collections: [notes, people]
---
table: of_people
collections: ["people/{person}/notes/{note}"]
columns: [{path: a.b, policy: drop}, {path: c, policy: drop}]
---
table: of_ada
collections: [people/ada/notes, "teams/{team}/notes/first"]
---
table: of_teams
collections: ["teams/{team}/notes"]
"""
TABLES = parse_tables([("tables.yaml", FILE)])


@pytest.mark.parametrize(
    ("path", "table", "parameters"),
    [
        ("", "any", {}),
        ("other/1", "any", {}),
        ("notes/1", "by_id", {}),
        ("a/b/notes/1", "by_id", {}),
        ("people/ada", "by_id", {}),
        ("people/bob/notes/n.*", "of_people", {"person": "bob", "note": "n.*"}),
        ("people/ada/notes/1", "of_ada", {}),
        ("people/ada/notes/1/notes/2", "by_id", {}),
        ("a/b/people/bob/notes/1", "by_id", {}),
        ("teams/blue/notes/first", "of_ada", {"team": "blue"}),
        ("teams/blue/notes/second", "of_teams", {"team": "blue"}),
        ("notes/1/other/2", "any", {}),
        ("xnotes/1", "any", {}),
    ],
)
def test_a_path_has_its_table_and_its_ids(path, table, parameters):
    """A pattern before a collection's id, a literal pattern before another, whole segments only."""
    found, ids = destination(path, TABLES)
    assert (found.name, ids) == (table, parameters)


segments = st.lists(
    st.sampled_from(["people", "notes", "teams", "ada", "first", "x", "ü.*"]),
    min_size=2,
    max_size=6,
).filter(lambda path: len(path) % 2 == 0)


@settings(max_examples=300, deadline=None)
@given(segments)
def test_the_jobs_router_says_the_same(path):
    """Two implementations of one rule, with nothing in common, agree."""
    data = DocumentEventData()
    data.value.name = f"projects/p/databases/(default)/documents/{'/'.join(path)}"
    created = {"ce-type": "google.cloud.firestore.document.v1.created"}
    event = decode_message(Message(data.SerializeToString(), created))
    table, parameters = Router(TABLES).route(event)
    assert destination("/".join(path), TABLES) == (table, dict(parameters))


def test_what_is_dropped_is_expected_nowhere():
    """At any depth, and with all that is below; what only looks like it stays."""
    fields = {"a": {"b": {"x": 1}, "c": 2}, "c": [1], "a.b": 3, "d": {"c": 4, "a": {"b": 5}}}
    left = {"a": {"c": 2}, "a.b": 3, "d": {"c": 4, "a": {"b": 5}}}
    dropped = [("a", "b"), ("c",)]
    assert kept(fields, dropped) == left
    assert kept({"a": 5, "b": None}, dropped) == {"a": 5, "b": None}
    expected = Expected("row", "x", document_path="people/p/notes/n", old_fields=fields)
    (aim,) = aimed([expected], TABLES)
    assert (aim.table, aim.fields, aim.old_fields) == ("of_people", None, left)
    assert aim.parameters == {"person": "p", "note": "n"}
    assert expected.old_fields is fields


def test_a_changelog_names_no_issue_and_not_the_document_itself():
    """Its rows have no issue_id, and its path_params end before the document's own id."""
    text = """
table: log
layout: changelog
default: true
collections: ["people/{person}/notes/{note}", "people/{person}/notes/{note}/more/first"]
"""
    tables = parse_tables([("log.yaml", text)])
    assert destination("people/p/notes/n", tables) == (tables[0], {"person": "p"})
    both = {"person": "p", "note": "n"}
    assert destination("people/p/notes/n/more/first", tables) == (tables[0], both)
    (aim,) = aimed([Expected("row", "manual", issue_id="INC-1", operation="MANUAL")], tables)
    assert (aim.table, aim.issue_id, aim.parameters) == ("log", "", {})


def test_a_dead_letter_is_in_no_table():
    """It is expected as it was."""
    letter = Expected("dead letter", "bad", event_id="a")
    assert aimed([letter], TABLES) == (letter,)
