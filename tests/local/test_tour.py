"""What is said of the sample's fate."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from local import tour
from local.account import Account
from local.expected import Expected
from local.processes import NotReadyError
from local.rows import Arrived, Found
from local.tour import follow, judge
from schemas.message import Message
from schemas.table_file import parse_tables, shipped

MADE = Expected("row", "made", event_id="a", operation="CREATE", fields={"n": 1})
GONE = Expected("row", "gone", event_id="b", operation="DELETE", old_fields={"n": 1})
ROW_A = Arrived("a", "FS-1", "issues/x", "CREATE", "issues_stream")
ROW_B = Arrived("b", "FS-1", "", "DELETE", "issues_stream")


def found(arrived, new, old, **values):
    return Found(arrived, shipped()[0], {"payload": new, "old_payload": old, **values})


GOOD = [found(ROW_A, {"n": 1}, None), found(ROW_B, None, {"n": 1})]


def judged(expected, published, rows, letters=(), payloads=GOOD):
    said = []
    account = Account(frozenset(published), tuple(rows), tuple(letters))
    return judge(expected, account, payloads, said.append), said


def test_all_is_well_and_only_what_was_compared_is_counted():
    """Rows whose content was compared are counted, dead letters are not."""
    letter = Message(
        b"", {"event_id": "c", "dead_letter_stage": "decode", "dead_letter_error": "NoData"}
    )
    bad = Expected("dead letter", "bad", event_id="c", stage="decode", error="NoData")
    good, said = judged([MADE, GONE, bad], "abc", [ROW_A, ROW_B], [letter])
    assert good
    (line,) = said
    assert line.startswith("2 of 2 rows compared with what was written ")
    assert line.endswith("3 events published = 2 in issues_stream + 1 dead letter")


def test_an_old_payload_that_differs_is_told():
    """A deletion is wrong when it does not have the last fields that were written."""
    payloads = [GOOD[0], found(ROW_B, None, {"n": 2})]
    good, said = judged([MADE, GONE], "ab", [ROW_A, ROW_B], payloads=payloads)
    assert not good
    assert said[0].startswith("  does not read back as it was written: row of 'gone'")
    assert said[1].startswith("1 of 2 rows compared ")


def test_an_event_that_never_reached_the_topic_is_told():
    """Fewer were published than expected: those who publish are to be looked at."""
    good, said = judged([MADE, GONE], "a", [ROW_A])
    assert not good
    assert said[0].startswith("  not arrived as expected: row of 'gone'")
    assert said[1].startswith("  only 1 of 2 events reached the topic")


def test_one_that_arrived_otherwise_is_shown_and_not_said_to_be_lost():
    """All were published: what came instead is named, by its row or by its dead letter's reason."""
    other = Arrived("b", "FS-1", "issues/x", "UPDATE")
    good, said = judged([MADE, GONE], "ab", [ROW_A, other])
    assert not good
    assert said[1] == "  arrived, and nothing expected it: UPDATE issues/x FS-1 event_id b"
    letter = Message(
        b"",
        {
            "event_id": "b",
            "dead_letter_stage": "decode",
            "dead_letter_error": "InvalidDocument",
            "dead_letter_reason": "value: truncated",
        },
    )
    good, said = judged([MADE, GONE], "ab", [ROW_A], [letter])
    assert not good
    assert said[1] == (
        "  a dead letter that nothing expected: b decode InvalidDocument value: truncated"
    )
    assert not any("reached the topic" in line for line in said)


def test_a_column_that_shows_what_is_dropped_is_told():
    """Content that is equal does not make up for it."""
    shown = found(ROW_A, {"n": 1}, None, changed_fields=["confidential"])
    good, said = judged([MADE, GONE], "ab", [ROW_A, ROW_B], payloads=[shown, GOOD[1]])
    assert not good
    assert said[0].startswith("  changed_fields shows a dropped field: CREATE issues/x ")
    assert said[1].startswith("2 of 2 rows compared ")


def test_an_event_in_another_table_is_told_from_both_sides():
    """The table where it is missing, and the one where nothing expected it."""
    wanted = Expected("row", "made", table="teams", event_id="a", operation="CREATE")
    good, said = judged([wanted], "a", [ROW_A])
    assert not good
    assert said[0] == "  not arrived as expected: row in teams of 'made' (CREATE)"
    assert said[1] == (
        "  arrived, and nothing expected it: CREATE issues/x FS-1 event_id a in issues_stream"
    )


class Watched:
    """A stack with two tables, one without ids, that ends by itself after some looks."""

    addresses = SimpleNamespace(project="demo-project", publisher="http://h:1")
    tables = parse_tables([("f", "table: teams\ndefault: true\n---\ntable: old\nlayout: flat\n")])

    def __init__(self, *looks):
        self.looks = list(looks)
        self.rows = {}

    def check(self):
        if not self.looks:
            raise NotReadyError("ended by itself")
        self.rows = self.looks.pop(0)


def test_what_is_new_is_shown_table_by_table(monkeypatch):
    """Rows that were there at first, or were shown already, are not; a flat one is known whole."""
    first = {"event_id": "11111111-1", "document_path": "teams/first", "payload": {}}
    second = {"event_id": "22222222-2", "document_path": "teams/second", "payload": {}}
    flat = {"issue_id": "INC-1", "created_at": "t", "payload": "{}"}
    stack = Watched(
        {"teams": [first], "old": []},
        {"teams": [second, first], "old": [flat]},
        {"teams": [second, first], "old": [flat, flat | {"issue_id": "INC-2"}]},
    )
    out, said = io.StringIO(), []
    monkeypatch.setattr(tour, "_EVERY", 0.0)
    monkeypatch.setattr(tour, "console", lambda: Console(file=out, width=160))
    monkeypatch.setattr(tour.live, "subscriber_client", lambda: None)
    monkeypatch.setattr(tour.live, "bigquery_client", lambda _: None)
    monkeypatch.setattr(tour, "drain", lambda *_: iter(()))
    monkeypatch.setattr(
        tour, "run", lambda _, query: (stack.rows["teams" if "ds.teams" in query else "old"], 0)
    )
    with pytest.raises(NotReadyError, match="ended by itself"):
        follow(stack, said.append)
    shown = out.getvalue()
    titles = [line.strip() for line in shown.splitlines() if line.startswith("new ")]
    assert titles == ["new rows in teams", "new rows in old", "new rows in old"]
    assert "teams/first" not in shown
    for once in ("teams/second", "INC-1", "INC-2"):
        assert shown.count(once) == 1
    assert "curl -X POST http://h:1/" in said[1]
