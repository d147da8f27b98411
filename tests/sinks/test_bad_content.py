"""What BigQuery would refuse for its content never reaches it, whichever sink writes."""

from pipeline.launch import DONE
from schemas.times import now_micros
from tests.sinks.bad_content import TABLE, bad, unfit
from tests.strategies import is_same, manual_message

_PREFIX = "dead_letter_"


def test_bad_content_is_a_dead_letter(bench):
    """Each case is a letter with its own bytes and named error; the service is not given it."""
    bench.tables(TABLE)
    now = now_micros()
    cases = bad(now)
    good = [manual_message({"i": n}, now, ce_id=f"good-{n}") for n in range(5)]
    ids = [case.message.event_id for case in cases]
    assert len({*ids}) == len(ids)
    # Good ones between them, so that a bad one would take their batch with it.
    assert bench.run([*good[:2], *(case.message for case in cases), *good[2:]]) == DONE

    letters = {letter.attributes["event_id"]: letter for letter in bench.letters()}
    told = {
        case.name: tuple(
            letters[case.message.event_id].attributes[f"{_PREFIX}{name}"]
            for name in ("stage", "error")
        )
        for case in cases
        if case.message.event_id in letters
    }
    assert told == {case.name: (case.stage, case.error) for case in cases}
    for case in cases:
        letter = letters[case.message.event_id]
        assert letter.data == case.message.data, case.name
        assert case.message.attributes.items() <= letter.attributes.items(), case.name
    assert len(letters) == len(cases)

    wanted = sorted(message.event_id for message in good)
    assert [row["event_id"] for row in bench.rows("strict")] == wanted
    given = bench.given("strict")
    assert len(given) == len(good)
    assert all(any(each.encode() in row for row in given) for each in wanted)


def test_a_value_that_fits_no_column_is_null_there(bench):
    """The row is written, the column NULL, the value in payload and its path in type_errors."""
    bench.tables(TABLE)
    now = now_micros()
    cases = unfit()
    messages = [manual_message(case.body.encode(), now, ce_id=case.name) for case in cases]
    assert bench.run(messages) == DONE
    rows = {row["event_id"]: row for row in bench.rows("strict")}
    assert len(rows) == len(cases)
    for case, message in zip(cases, messages, strict=True):
        row = rows[message.event_id]
        assert row["type_errors"] == case.type_errors, case.name
        assert is_same(row["payload"], case.payload), case.name
        assert [row[name] for name in "ifts"] == [None] * 4, case.name
        assert (row["b"], row["many"]) == (None, []), case.name
    assert list(bench.letters()) == []
