"""A table or column that is gone ends the job with a Problem, and nothing is acknowledged.

Both are taken away after the checks of a start, which would refuse them.
"""

import json
import uuid

import pytest

from local.pull import drain
from local.resources import subscription_path, topic_path
from local.sink_stack import SinkStack
from pipeline import launch
from pipeline.engines import DIRECT, objections
from pipeline.launch import DONE, FAILED, REFUSED
from pipeline.options import parse
from schemas import live
from schemas.failure import ERROR
from schemas.times import now_micros
from tests.sinks.conftest import PROJECT, Appended, Bench, Place, aim
from tests.strategies import manual_message

NARROW = "table: t\ndefault: true\ncolumns: [{path: n, type: INT64}]"
WIDE = "table: t\ndefault: true\ncolumns: [{path: n, type: INT64}, {path: more}]"
GONE = {"table": "is not there", "column": "lacks columns: more"}
WAITED = "BigQuery is back after"
GONE_NATIVE = {"table": "is not there", "column": "has no column more"}


def messages(count=3):
    now = now_micros()
    return [manual_message({"n": n, "more": "x"}, now, ce_id=f"m-{n}") for n in range(count)]


def take_away(bench, what):
    """Makes the table as the job is told, and takes the table or its last column away."""
    if what == "table":
        bench.tables(WIDE)
        bench.client.delete_table(f"{bench.dataset}.t", timeout=20, retry=None)
    else:
        bench.tables(NARROW)
        bench.files[0].write_text(WIDE)


@pytest.mark.parametrize("what", ["table", "column"])
def test_gone_before_the_start(bench, what, capfd):
    """The start is refused, with the remedy; nothing is given to the service."""
    take_away(bench, what)
    assert bench.run(messages()) == REFUSED
    said = capfd.readouterr().err
    assert f"table {PROJECT}.{bench.dataset}.t: {GONE[what]} (" in said
    assert "python -m schemas apply" in said
    assert bench.given("t") == []
    assert list(bench.letters()) == []


@pytest.mark.parametrize("what", ["table", "column"])
def test_gone_while_it_runs(bench, what, capfd):
    """The job ends with exit code 1 and a Problem; no row is there, and no letter was sent."""
    take_away(bench, what)
    assert bench.run_unchecked(messages()) == FAILED
    said = (GONE if bench.java else GONE_NATIVE)[what]
    assert f"table {PROJECT}.{bench.dataset}.t: {said} (" in capfd.readouterr().err
    assert list(bench.letters()) == []
    if what == "column":
        assert bench.rows("t") == []


@pytest.mark.parametrize("sink", ["native"], indirect=True)
@pytest.mark.parametrize("what", ["table", "column"])
def test_nothing_is_acknowledged(bench, what, capfd, until):
    """Of a subscription, every message that was read comes again after such an end."""
    take_away(bench, what)
    topic, subscription = live_input()
    sent = messages()
    live.publisher_client().publish(
        topic=topic,
        messages=[{"data": each.data, "attributes": dict(each.attributes)} for each in sent],
        timeout=20,
        retry=None,
    )
    settings = parse(
        [
            *("--project", PROJECT, "--output_dataset", f"{PROJECT}.{bench.dataset}"),
            *("--dead_letter_topic", f"letters-{bench.number}"),
            *("--input_subscription", subscription, f"--schema={bench.files[0]}"),
            *("--stop_when_idle", "1"),
        ],
        str,
        objections,
    )
    assert bench.alone(lambda: launch.run_here(settings, DIRECT)) == FAILED
    assert GONE_NATIVE[what] in capfd.readouterr().err
    again = set()
    until(lambda: again.update(read(subscription)) or len(again) == len(sent))
    assert again == {each.attributes["ce-id"] for each in sent}


def live_input():
    """A topic of its own with a subscription."""
    name = f"input-{uuid.uuid4().hex[:12]}"
    topic, subscription = topic_path(PROJECT, name), subscription_path(PROJECT, name)
    live.publisher_client().create_topic(name=topic, timeout=20, retry=None)
    live.subscriber_client().create_subscription(
        name=subscription, topic=topic, ack_deadline_seconds=10, timeout=20, retry=None
    )
    return topic, subscription


def read(subscription):
    """The CloudEvents ids of what a subscription has now."""
    name = subscription.rpartition("/")[2]
    found = drain(live.subscriber_client(), PROJECT, name)
    return {message.attributes["ce-id"] for message in found}


@pytest.fixture(scope="module")
def late_place(tmp_path_factory):
    """Parts whose Storage Write learns of a table or column seconds after BigQuery has it."""
    appended = Appended()
    with SinkStack(tmp_path_factory.mktemp("late"), appended, PROJECT, late=3.0) as running:
        yield Place(running, appended)


@pytest.fixture
def late(late_place, sink, tmp_path, monkeypatch):
    """A fresh dataset and dead-letter topic on them."""
    aim(late_place, monkeypatch)
    made = Bench(late_place, sink, tmp_path)
    made.open()
    return made


def test_a_table_is_merely_new(late, capfd):
    """While BigQuery has the table, the job waits until Storage Write knows it too."""
    late.tables(NARROW)
    sent = messages()
    assert late.run(sent) == DONE
    assert capfd.readouterr().err.count(WAITED) == 1
    assert {row["event_id"] for row in late.rows("t")} == {each.event_id for each in sent}


def test_a_column_is_merely_new(late, capfd):
    """While BigQuery has the column, the job waits until Storage Write knows it too."""
    late.tables(NARROW)
    late.files.clear()
    late.tables(WIDE)
    sent = messages()
    assert late.run(sent) == DONE
    assert capfd.readouterr().err.count(WAITED) == 1
    assert [row["more"] for row in late.rows("t")] == ["x"] * len(sent)
    assert list(late.letters()) == []


def test_columns_that_a_worker_has_kept(bench):
    """A table's new column: on the native sink its rows are in.

    Java's worker keeps the columns of a table for as long as it runs, and gives back rows that
    have others: they are letters, with every value.
    """
    bench.tables(NARROW)
    assert bench.run(messages()) == DONE
    bench.files.clear()
    bench.tables(WIDE)
    event = manual_message({"n": 9, "more": "x"}, now_micros(), ce_id="second")
    assert bench.run([event]) == DONE
    if bench.java:
        [letter] = bench.letters()
        assert json.loads(letter.data)["values"]["more"] == "x"
        assert letter.attributes[ERROR] == "RowRefused"
    else:
        assert [row["more"] for row in bench.rows("t", "n")][-1] == "x"
