"""Accounting for every event by set of event_id."""

import time
from types import SimpleNamespace

import pytest

from local.account import Account, Ledger, difference, unmet
from local.expected import Expected
from local.rows import Arrived
from schemas.message import Message
from schemas.table_file import parse_table, shipped


def row(event_id, issue_id="", path="", operation="", table="issues_stream"):
    return Arrived(event_id, issue_id, path, operation, table)


def letter(event_id, stage="decode", error="NoData", attempt="1"):
    return Message(
        b"",
        {
            "event_id": event_id,
            "dead_letter_stage": stage,
            "dead_letter_error": error,
            "dead_letter_attempt": attempt,
        },
    )


def account(published, rows=(), letters=()):
    return Account(frozenset(published), tuple(rows), tuple(letters))


def test_published_is_in_the_table_or_in_the_dead_letters():
    """Where every event is in one of the two, once, the account balances."""
    balanced = account("abc", [row("a"), row("b")], [letter("c")])
    assert balanced.balanced()
    assert str(balanced) == "3 events published = 2 in issues_stream + 1 dead letter"


def test_each_table_is_counted_by_itself():
    """Every table that was read is named with its events, one without any too."""
    rows = [row("a"), row("b", table="teams"), row("b", table="teams"), row("c", table="teams")]
    read = Account(frozenset("abc"), tuple(rows), (), ("issues_stream", "comments", "teams"))
    assert read.by_table == {
        "issues_stream": {"a"}, "comments": frozenset(), "teams": {"b", "c"},
    }  # fmt: skip
    assert str(read) == (
        "3 events published = 1 in issues_stream + 0 in comments + 2 in teams + 0 dead letters; "
        "1 doubled: b"
    )


def test_an_event_in_two_tables_is_doubled():
    """A table of its own is one: the same event in another one as well was taken for two."""
    assert account("a", [row("a"), row("a", table="teams")]).doubled == {"a"}


def test_an_event_in_another_table_is_not_the_expected_one():
    """All is there, once, and yet one event is not where it belongs, and so not as expected."""
    wanted = Expected("row", "made", table="teams", document_path="teams/a", operation="CREATE")
    astray = row("1", "FS-1", "teams/a", "CREATE", table="issues_stream")
    found = difference([wanted], account("1", [astray]))
    assert (found.unmet, found.rows) == ((wanted,), (astray,))
    assert (
        difference([wanted], account("1", [row("1", "", "teams/a", "CREATE", "teams")])).unmet == ()
    )


def test_a_lost_and_a_doubled_event_do_not_cancel_out():
    """Equal numbers do not balance: the missing and the doubled are named."""
    unequal = account("abc", [row("a"), row("a"), row("b")])
    assert not unequal.balanced()
    assert (unequal.missing, unequal.doubled, unequal.unknown) == ({"c"}, {"a"}, frozenset())
    assert str(unequal).endswith("; 1 missing: c; 1 doubled: a")


def test_an_event_in_both_is_doubled():
    """One event that is a row and a dead letter was taken for two."""
    assert account("a", [row("a")], [letter("a")]).doubled == {"a"}


def test_what_nobody_published_is_unknown():
    """A row or a letter of an event that was never on the topic is an error too."""
    strange = account("a", [row("a"), row("x")], [letter("y")])
    assert strange.unknown == {"x", "y"}
    assert not strange.balanced()


def test_a_repeated_dead_letter_is_counted_and_allowed():
    """Dead letters are at least once: the same event and attempt twice still balances."""
    repeated = account("a", (), [letter("a"), letter("a")])
    assert repeated.balanced()
    assert repeated.repeated_letters == 1
    assert account("a", (), [letter("a"), letter("a", attempt="2")]).repeated_letters == 0


def test_many_missing_events_are_counted_and_a_few_are_named():
    """The text stays short however many are missing."""
    text = str(account([f"{number:02}" for number in range(20)]))
    assert text.endswith("; 20 missing: 00, 01, 02, 03, 04, ...")


def test_each_arrival_answers_one_expectation():
    """Two equal expectations need two rows, and what is not known beforehand is not compared."""
    created = Expected("row", "made", document_path="issues/a", operation="CREATE")
    manual = Expected("row", "manual", operation="MANUAL", issue_id="INC-1")
    chosen = Expected("row", "chosen", event_id="id", operation="MANUAL")
    expected = [created, created, manual, chosen]
    rows = [
        row("1", "FS-1", "issues/a", "CREATE"),
        row("2", "FS-1", "issues/a", "UPDATE"),
        row("3", "INC-1", "", "MANUAL"),
        row("id", "INC-2", "", "MANUAL"),
    ]
    assert unmet(expected, account("", rows)) == [created]
    assert unmet(expected, account("", [*rows, row("4", "FS-1", "issues/a", "CREATE")])) == []


def test_a_dead_letter_must_have_failed_as_expected():
    """Another stage or another error is not the letter that was expected."""
    wanted = Expected("dead letter", "bad", event_id="a", stage="decode", error="NoData")
    assert unmet([wanted], account("a", (), [letter("a")])) == []
    for wrong in (letter("a", stage="shape"), letter("a", error="Other"), letter("b")):
        assert unmet([wanted], account("a", (), [wrong])) == [wanted]
    assert unmet([wanted], account("a", [row("a")])) == [wanted]


def test_what_nothing_expected_is_named():
    """Rows and letters that answer no expectation are told apart from those that do.

    A dead letter is at least once: the second of an expected one is no surprise.
    """
    made = Expected("row", "made", document_path="issues/a", operation="CREATE")
    bad = Expected("dead letter", "bad", event_id="b", stage="decode", error="NoData")
    right, wrong = row("1", "", "issues/a", "CREATE"), row("2", "", "issues/a", "UPDATE")
    other = letter("c")
    found = difference([made, bad], account("", [right, wrong], [letter("b"), letter("b"), other]))
    assert (found.unmet, found.rows, found.letters) == ((), (wrong,), (other,))
    assert difference([made, made], account("", [right])).unmet == (made,)


class Tables:
    """BigQuery with one table whose rows are others at each query, the last ones for good."""

    project = "demo-project"

    def __init__(self, *states):
        self.states = list(states)
        self.queries = []

    def query(self, query, **_):
        self.queries.append(query)
        rows = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return SimpleNamespace(result=lambda **_: Result(rows))


class Result(list):
    """Rows as BigQuery's client gives them: table, then what tells which event it is."""

    total_rows = None

    def __init__(self, ids):
        names = ("name", *(f"value_{number}" for number in range(4)))
        super().__init__(
            dict(zip(names, ("issues_stream", each, None, "", ""), strict=True)) for each in ids
        )


class Topic:
    """Pub/Sub with one event on the topic and no dead letter."""

    def __init__(self):
        self.left = {"projects/demo-project/subscriptions/published": ["a"]}

    def pull(self, request, **_):
        received = [
            SimpleNamespace(
                ack_id=each,
                message=SimpleNamespace(
                    data=b"",
                    attributes={"event_id": each},
                    message_id=each,
                    publish_time=SimpleNamespace(timestamp=lambda: 0),
                ),
            )
            for each in self.left.pop(request["subscription"], [])
        ]
        return SimpleNamespace(received_messages=received)

    def acknowledge(self, **_):
        pass


FLAT = parse_table("table: older\nlayout: flat\n", "flat.yaml")


def test_all_tables_are_read_at_once_but_those_without_ids():
    """One query, so that no table is seen earlier than another; a flat one has nothing to tell."""
    teams = parse_table("table: teams\ncollections: [teams]\n", "teams.yaml")
    client = Tables([])
    Ledger(
        subscriber=Topic(),
        client=client,
        dataset="issues_ds",
        tables=[*shipped(), teams, FLAT],
        published="published",
        letters="letters",
    )
    (query,) = client.queries
    issues, others = query.split(" UNION ALL ")
    assert issues.endswith(" FROM `demo-project.issues_ds.issues_stream`")
    assert others == issues.replace("issues_stream", "teams")


@pytest.fixture
def ledger():
    """Makes a ledger of one event and the rows as they are at each look, the first before it."""

    def make(*states):
        return Ledger(
            subscriber=Topic(),
            client=Tables([], *states),
            dataset="issues_ds",
            tables=[*shipped(), FLAT],
            published="published",
            letters="letters",
        )

    return make


def test_settling_ends_at_the_first_balance(ledger):
    """Without a quiet time the first balanced account is the answer."""
    assert ledger([], ["a"], ["a", "a"]).settle(10).balanced()


def test_a_double_that_comes_late_is_seen_in_the_quiet_time(ledger):
    """The account must stay balanced: a repeat that comes after the first balance is found."""
    account = ledger([], ["a"], ["a"], ["a", "a"]).settle(0.5, quiet=5)
    assert account.doubled == {"a"}


def test_the_quiet_time_comes_on_top_and_ends(ledger):
    """An account that stays balanced is returned after the quiet, though longer than the time."""
    began = time.monotonic()
    assert ledger(["a"]).settle(0.1, quiet=0.7).balanced()
    assert 0.7 <= time.monotonic() - began < 5


def test_the_quiet_begins_anew_when_something_moves(ledger):
    """An event that goes missing in between, as while a table is out of sight, starts it again."""
    looks = ledger(["a"], [], ["a"])
    began = time.monotonic()
    assert looks.settle(10, quiet=0.4).balanced()
    assert time.monotonic() - began >= 0.9
