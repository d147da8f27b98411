"""What is said of the sample's fate."""

from local.account import Account, Arrived
from local.sample import Expected
from local.tour import judge
from schemas.message import Message

MADE = Expected("row", "made", event_id="a", operation="CREATE", fields={"n": 1})
GONE = Expected("row", "gone", event_id="b", operation="DELETE", old_fields={"n": 1})
ROW_A, ROW_B = Arrived("a", "FS-1", "issues/x", "CREATE"), Arrived("b", "FS-1", "", "DELETE")
GOOD = [(ROW_A, {"n": 1}, None), (ROW_B, None, {"n": 1})]


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
    assert line.endswith("3 events published = 2 in the tables + 1 dead letters")


def test_an_old_payload_that_differs_is_told():
    """A deletion is wrong when it does not have the last fields that were written."""
    payloads = [GOOD[0], (ROW_B, None, {"n": 2})]
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
