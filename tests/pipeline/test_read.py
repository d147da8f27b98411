"""ReadMessages on the engine of one process: acknowledged after all that follows, in stretches."""

from collections import deque

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipeline import read, resident
from pipeline.pull import Pulled, Puller
from pipeline.read import ReadSubscription
from schemas import live
from schemas.message import Message
from tests.pipeline.fakes import Subscriber

SUBSCRIPTION = "projects/demo-project/subscriptions/s"


class FakePuller:
    """A puller whose bundles are there from the start; keeps what happened in which order.

    Args:
        bundles: What each `take` returns; an exception is raised, a callable called.
    """

    def __init__(self, bundles):
        self.bundles = deque(bundles)
        self.events = []
        self.patience = []
        self.waits = 0
        self.left = 0
        self.idle = 0.0

    def drain(self):
        return self.left

    def take(self, wait):
        self.patience.append(wait)
        found = self.bundles.popleft() if self.bundles else ()
        if callable(found):
            found = found()
        if isinstance(found, Exception):
            raise found
        batch = [Pulled(name, Message(name.encode())) for name in found]
        self.events.append(f"take {' '.join(found)}")
        return batch

    def acknowledge(self, batch):
        self.events.append(f"ack {' '.join(pulled.ack_id for pulled in batch)}")

    def idle_seconds(self):
        self.idle += 1
        return self.idle


class Note(beam.DoFn):
    """Writes a bundle down when it is finished, as a sink would write its rows."""

    def start_bundle(self):
        self._names = []

    def process(self, message):
        self._names.append(message.data.decode())
        yield message

    def finish_bundle(self):
        if self._names:
            note(f"written {' '.join(self._names)}")


def note(text):
    read.puller(SUBSCRIPTION).events.append(text)


@pytest.fixture
def short_stretch(monkeypatch):
    monkeypatch.setattr(read, "STRETCH_BUNDLES", 5)


def stretch(source, stop_when_idle=None):
    """Runs one stretch; returns its counters."""
    resident.resident(("puller", SUBSCRIPTION), lambda: source)
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions(["--streaming"]))
    (
        pipeline
        | ReadSubscription(SUBSCRIPTION, stop_when_idle)
        | beam.Map(lambda message: message)
        | beam.ParDo(Note())
    )
    result = pipeline.run()
    result.wait_until_finish()
    counters = result.metrics().query()["counters"]
    return {f"{c.key.metric.namespace}.{c.key.metric.name}": c.committed for c in counters}


def stopping_after(*bundles):
    """These bundles, then the process is told to stop."""

    def stop():
        resident.stop()
        return ()

    return [*bundles, stop]


def test_acknowledged_after_the_bundle_is_done():
    """Each bundle is acknowledged once, after the last step's `finish_bundle`."""
    source = FakePuller(stopping_after(["a", "b"], ["c"]))
    counters = stretch(source)
    assert source.events == [
        "take a b", "written a b", "ack a b", "take c", "written c", "ack c", "take ",
    ]  # fmt: skip
    assert counters["read.messages"] == 3
    assert counters["read.bytes"] == 3
    assert counters["read.bundles"] == 3


def test_a_stretch_ends_and_the_next_goes_on(short_stretch):
    """A stretch is five bundles here; the next run takes up where it ended, with no bundle lost."""
    names = [f"m{n}" for n in range(12)]
    source = FakePuller(stopping_after(*([name] for name in names)))
    taken = []
    for _ in range(3):
        counters = stretch(source)
        taken.append(counters["read.bundles"])
    assert taken == [5, 5, 3]
    assert [event for event in source.events if event.startswith("ack")] == [
        f"ack {name}" for name in names
    ]
    assert source.events[-1] == "take "


def test_empty_bundles_count_for_the_stretch(short_stretch):
    """An idle subscription ends its stretches too: memory stays flat over idle hours."""
    source = FakePuller([])
    assert stretch(source)["read.bundles"] == 5
    assert source.events == ["take "] * 5


def test_stop_before_the_first_bundle():
    """Told to stop before it began, a run takes nothing."""
    resident.stopping.set()
    source = FakePuller([["a"]])
    stretch(source)
    assert source.events == []


def test_stop_in_the_middle_of_a_bundle():
    """What was taken when the stop came is written and acknowledged; nothing more is taken."""

    def late():
        resident.stop()
        return ["b"]

    source = FakePuller([["a"], late, ["never"]])
    stretch(source)
    assert source.events[-3:] == ["take b", "written b", "ack b"]


def test_stop_when_idle():
    """Once the subscription has been empty for long enough, the read ends by itself."""
    source = FakePuller([["a"], [], [], [], ["never"]])
    stretch(source, stop_when_idle=3)
    assert source.events == ["take a", "written a", "ack a", "take ", "take ", "take "]
    assert resident.stopping.is_set()


def test_patience(short_stretch):
    """A read that is to stop soon looks often; one that runs for ever seldom."""
    for idle, patience in ((None, 5.0), (2.0, 0.5), (0.1, 0.05), (600.0, 5.0)):
        source = FakePuller(stopping_after())
        stretch(source, stop_when_idle=idle)
        assert source.patience == [patience]
        resident.close_all()
        resident.stopping.clear()


def test_an_error_of_the_pull_ends_the_run():
    """What waiting cannot mend ends the run, is kept, and acknowledges nothing."""
    fault = LookupError("no such subscription")
    source = FakePuller([["a"], fault])
    with pytest.raises(Exception, match="no such subscription"):
        stretch(source)
    assert resident.raised is fault
    assert source.events == [
        "take a",
        "written a",
        "ack a",
    ]


class Fail(beam.DoFn):
    """A sink that does not get its rows written."""

    def finish_bundle(self):
        raise RuntimeError("BigQuery has them not")

    def process(self, message):
        pass


def test_nothing_is_acknowledged_when_the_bundle_fails():
    """A bundle whose write failed is not acknowledged: its messages come again."""
    source = FakePuller(stopping_after(["a"]))
    resident.resident(("puller", SUBSCRIPTION), lambda: source)
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions(["--streaming"]))
    pipeline | ReadSubscription(SUBSCRIPTION, None) | beam.ParDo(Fail())
    with pytest.raises(Exception, match="BigQuery has them not"):
        pipeline.run().wait_until_finish()
    assert source.events == ["take a"]


def test_waits_are_counted_as_they_grow():
    """Waits of the pulling threads come into the metrics, each once."""
    source = FakePuller(stopping_after(["a"], ["b"]))
    source.waits = 7
    assert stretch(source)["outage.waits_pubsub"] == 7


def test_the_process_has_one_puller(monkeypatch):
    """All stretches share one puller, closed at the end, woken by a stop."""
    monkeypatch.setattr(live, "subscriber_client", Subscriber)
    first = read.puller(SUBSCRIPTION)
    assert isinstance(first, Puller)
    assert read.puller(SUBSCRIPTION) is first
    woken = []
    monkeypatch.setattr(first._condition, "notify_all", lambda: woken.append(1))
    resident.stop()
    assert woken == [1]
    resident.close_all()
    assert first._closed
    assert read.puller(SUBSCRIPTION) is not first
