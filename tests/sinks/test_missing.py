"""A table or column that is gone ends the job with a Problem, and nothing is acknowledged.

Both are taken away after the checks of a start, which would refuse them.
"""

import re
import uuid

import pytest

from local.layout import Addresses, Options, bigquery_command
from local.ports import HOST, Ports
from local.processes import Processes
from local.pull import drain
from local.resources import subscription_path, topic_path
from local.web import serving
from pipeline import launch
from pipeline.engines import DIRECT, objections
from pipeline.launch import DONE, FAILED, REFUSED
from pipeline.options import parse
from schemas import live
from schemas.times import now_micros
from tests.sinks.conftest import PROJECT
from tests.strategies import manual_message

NARROW = "table: t\ndefault: true\ncolumns: [{path: n, type: INT64}]"
WIDE = "table: t\ndefault: true\ncolumns: [{path: n, type: INT64}, {path: more}]"
GONE = {"table": "is not there", "column": "lacks columns: more"}
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


@pytest.fixture
def late(aimed, tmp_path, monkeypatch):
    """A stand-in whose Storage Write learns of a table or column seconds after BigQuery has it."""
    ports = Ports()
    options = Options(project=PROJECT, folder=tmp_path, usual_ports=False)
    addresses = Addresses(
        publisher="",
        bigquery=f"http://{HOST}:{ports.take(0)}",
        bigquery_grpc=f"{HOST}:{ports.take(0)}",
        pubsub="",
        firestore="",
        project=PROJECT,
    )
    command = bigquery_command(options, addresses)
    command = type(command)(command.name, (*command.argv, "--late", "3"))
    with Processes(tmp_path / "logs") as processes:
        ready = serving(addresses.bigquery_address, f"bigquery/v2/projects/{PROJECT}/datasets")
        processes.start(command).wait_ready(ready, 60)
        monkeypatch.setenv(live.BIGQUERY_EMULATOR_HOST, addresses.bigquery)
        monkeypatch.setenv(live.BIGQUERY_STORAGE_EMULATOR_HOST, addresses.bigquery_grpc)
        yield addresses


@pytest.mark.parametrize("sink", ["native"], indirect=True)
def test_merely_new(bench, late, capfd):
    """While BigQuery has the table or column, the sink waits until Storage Write knows it too."""
    bench.tables(NARROW)
    first = messages()
    assert bench.run(first) == DONE
    assert waits(capfd) > 0
    bench.files.clear()
    bench.tables(WIDE)  # adds the column
    second = [manual_message({"n": 9, "more": "x"}, now_micros(), ce_id="second")]
    assert bench.run(second) == DONE
    assert waits(capfd) > 0
    more = {row["event_id"]: row["more"] for row in bench.rows("t")}
    assert more == dict.fromkeys([each.event_id for each in first]) | {second[0].event_id: "x"}


def waits(capfd):
    """How often the job waited for BigQuery, by its own count."""
    found = re.findall(r"outage\.waits_bigquery (\d+)", capfd.readouterr().err)
    return sum(map(int, found))
