"""PublishDeadLetters: every failure ends on the topic or in a parked file, before its bundle."""

import os
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from google.api_core import exceptions

from pipeline import dead_letters, resident
from pipeline.dead_letters import PublishDeadLetters, write_parked
from pipeline.recorded import ReadRecorded
from schemas.failure import ATTEMPT, Failure
from schemas.message import DEDUP_ID, MAX_MESSAGE_BYTES, Message
from schemas.problem import ProblemsFound
from schemas.recorded import from_line, to_line
from tests.pipeline.fakes import Publisher

TOPIC = "projects/demo-project/topics/dead"


def failure(data, **attributes):
    return Failure(Message(data, attributes), "decode", "InvalidJson", "because")


def run(publisher, failures, park, *, ride_out=True):
    """Publishes failures as one bundle; returns the counters."""
    resident.resident(("publisher",), lambda: publisher)
    resident.resident(("failures",), list)[:] = failures
    pipeline = beam.Pipeline(runner=FnApiRunner())
    (
        pipeline
        | beam.Create(["failures"], reshuffle=False)
        | beam.FlatMap(given)
        | PublishDeadLetters(TOPIC, str(park), "the-job", ride_out_outages=ride_out)
    )
    result = pipeline.run()
    result.wait_until_finish()
    return {
        f"{each.key.metric.namespace}.{each.key.metric.name}": each.committed
        for each in result.metrics().query()["counters"]
    }


def given(name):
    """What a test has put there: large elements take half a minute through `beam.Create`."""
    return resident.resident((name,), list)


def test_publishes_in_order(tmp_path):
    """Letters carry the original bytes and attributes and what went wrong, in order."""
    publisher = Publisher()
    data = [bytes([n]) * 3 for n in range(256)]
    counters = run(publisher, [failure(each, **{"ce-id": "1"}) for each in data], tmp_path)
    assert [letter for letter, _ in publisher.published] == data
    attributes = publisher.published[0][1]
    assert attributes["ce-id"] == "1"
    assert attributes["dead_letter_stage"] == "decode"
    assert attributes["dead_letter_error"] == "InvalidJson"
    assert attributes["dead_letter_reason"] == "because"
    assert attributes["dead_letter_job"] == "the-job"
    assert publisher.requests == [(TOPIC, 256)]
    assert counters["dead_letters.published"] == 256
    assert list(tmp_path.iterdir()) == []


def test_a_request_is_bounded_by_count(tmp_path):
    """A request has at most 500 letters."""
    publisher = Publisher()
    run(publisher, [failure(b"%d" % n) for n in range(1_201)], tmp_path)
    assert [count for _, count in publisher.requests] == [500, 500, 201]
    assert [letter for letter, _ in publisher.published] == [b"%d" % n for n in range(1_201)]


def test_a_request_is_bounded_by_bytes(tmp_path):
    """A request stays under Pub/Sub's 10 MB; one letter that is larger alone is sent alone."""
    publisher = Publisher()
    sizes = [4_000_000, 4_000_000, 4_000_000, 9_500_000, 10, 10]
    run(publisher, [failure(b"x" * size) for size in sizes], tmp_path)
    assert [count for _, count in publisher.requests] == [2, 1, 1, 2]
    assert [len(letter) for letter, _ in publisher.published] == sizes


def test_a_refused_letter_is_parked_and_the_others_go_through(tmp_path):
    """A request that Pub/Sub refuses is halved until the letter at fault is alone."""
    publisher = Publisher(refuses=lambda data: data == b"bad")
    failures = [failure(b"%d" % n) for n in range(9)]
    failures[4] = failure(b"bad", event_id="the-bad-one")
    counters = run(publisher, failures, tmp_path)
    assert [letter for letter, _ in publisher.published] == [b"%d" % n for n in range(9) if n != 4]
    [parked] = tmp_path.iterdir()
    assert from_line(parked.read_text()).data == b"bad"
    assert (counters["dead_letters.published"], counters["dead_letters.parked"]) == (8, 1)


def test_a_letter_that_does_not_fit_is_parked(tmp_path, caplog):
    """What Pub/Sub could not take is a file: one recorded message, with every byte."""
    publisher = Publisher()
    data = os.urandom(MAX_MESSAGE_BYTES)
    counters = run(publisher, [failure(data, event_id="big"), failure(b"next")], tmp_path)
    [parked] = tmp_path.iterdir()
    assert parked.suffix == ".jsonl"
    message = from_line(parked.read_text())
    assert message.data == data
    assert message.attributes["event_id"] == "big"
    assert message.attributes["dead_letter_error"] == "InvalidJson"
    assert parked.read_text() == to_line(message) + "\n"
    assert [letter for letter, _ in publisher.published] == [b"next"]
    assert counters["dead_letters.parked"] == 1
    assert f"dead letter of event big parked as {parked}" in caplog.text


def test_a_parked_letter_is_read_back(tmp_path):
    """`--input_files` reads parked files: the same bytes, told from what failed by `dedup_id`."""
    publisher = Publisher(refuses=lambda data: True)
    failures = [failure(bytes(range(256)), event_id="e1", only="attribute"), failure(b"2")]
    run(publisher, failures, tmp_path)
    pipeline = beam.Pipeline(runner=FnApiRunner())
    pipeline | ReadRecorded(f"{tmp_path}/*.jsonl") | beam.Map(keep)
    pipeline.run().wait_until_finish()
    read = {message.data: message for message in resident.resident(("read",), list)}
    assert set(read) == {bytes(range(256)), b"2"}
    attributes = read[bytes(range(256))].attributes
    assert (attributes[DEDUP_ID], attributes[ATTEMPT]) == ("e1:1", "1")
    assert attributes["only"] == "attribute"


def keep(message):
    resident.resident(("read",), list).append(message)


def test_parked_files_are_whole_or_absent(tmp_path, monkeypatch):
    """A file has its name only once all of it is on the disk."""
    seen = []
    rename = Path.rename

    def spy(path, target):
        seen.append((path.name, path.read_bytes(), target.exists()))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", spy)
    path = write_parked(f"{tmp_path}/new/folder", b"a record\n")
    [(partial, content, existed)] = seen
    assert partial.endswith(".partial")
    assert (content, existed) == (b"a record\n", False)
    assert Path(path).read_bytes() == b"a record\n"
    assert [each.name for each in Path(path).parent.iterdir()] == [Path(path).name]


def test_each_parked_letter_has_a_file_of_its_own(tmp_path):
    """Letters parked in the same microsecond do not overwrite each other."""
    paths = {write_parked(str(tmp_path), b"%d\n" % n) for n in range(100)}
    assert len(paths) == len(list(tmp_path.iterdir())) == 100


def test_an_outage_is_waited_out(tmp_path, no_waiting):
    """Transient errors are repeated with the same letters and counted."""
    publisher = Publisher()
    publisher.errors.extend([exceptions.ServiceUnavailable("away"), ConnectionError()])
    counters = run(publisher, [failure(b"1"), failure(b"2")], tmp_path)
    assert [letter for letter, _ in publisher.published] == [b"1", b"2"]
    assert counters["outage.waits_pubsub"] == 2
    assert counters["dead_letters.published"] == 2


def test_an_outage_ends_the_bundle_where_the_runner_retries(tmp_path, no_waiting):
    """Without `ride_out_outages` an outage is the runner's to repeat: nothing waits here."""
    publisher = Publisher()
    publisher.errors.append(exceptions.ServiceUnavailable("away"))
    with pytest.raises(Exception, match="away"):
        run(publisher, [failure(b"1")], tmp_path, ride_out=False)
    assert no_waiting.waits == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error", [exceptions.NotFound("no topic"), exceptions.PermissionDenied("not you")]
)
def test_a_topic_that_takes_nothing_ends_the_job(tmp_path, error):
    """A missing topic or right is a problem that names it; no letter is parked or dropped."""
    publisher = Publisher()
    publisher.errors.append(error)
    with pytest.raises(Exception, match="takes no message"):
        run(publisher, [failure(b"1")], tmp_path)
    assert isinstance(resident.raised, ProblemsFound)
    [problem] = resident.raised.problems
    assert problem.where == f"dead-letter topic {TOPIC}"
    assert "create it with a subscription" in problem.remedy
    assert list(tmp_path.iterdir()) == []


def test_a_request_fits_pub_sub():
    """Full batches stay under what Pub/Sub takes in one request."""
    assert dead_letters._REQUEST_BYTES < 10_000_000
    assert dead_letters._REQUEST_MESSAGES <= 1_000
