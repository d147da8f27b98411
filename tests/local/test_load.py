"""Made-up load: the same on every run, whole, and published at its rate."""

import time
from itertools import chain, pairwise

import pytest
from google.api_core.exceptions import (
    DeadlineExceeded,
    InvalidArgument,
    RetryError,
    ServiceUnavailable,
)

from local import load
from schemas.event import decode_message
from schemas.firestore import DocumentEventData
from schemas.message import CE_TIME, limit_problems
from schemas.row import Shaper
from schemas.table_file import shipped
from schemas.times import now_micros

TOPIC = "projects/demo-project/topics/issues-topic"


class Broker:
    """Takes what is published, after raising the errors that it is given."""

    def __init__(self, *errors):
        self.errors = list(errors)
        self.batches = []
        self.times = []

    def publish(self, *, topic, messages, timeout, retry):
        assert topic == TOPIC
        assert timeout > 0
        assert retry is None
        if self.errors:
            raise self.errors.pop(0)
        self.times.append(time.monotonic())
        self.batches.append([message.attributes["ce-id"] for message in messages])


def test_a_change_is_the_same_on_every_run():
    """But for its time; another number or another run is another event."""
    first, again = load.change(7, "run"), load.change(7, "run")
    assert first.data == again.data
    assert first.attributes | {CE_TIME: ""} == again.attributes | {CE_TIME: ""}
    assert load.change(8, "run").data != first.data
    assert load.change(7, "other").data == first.data
    ids = {load.change(number, run).event_id for number in range(50) for run in ("run", "other")}
    assert len(ids) == 100


def test_a_change_is_an_update_with_every_column_filled():
    """Some 1.6 KB with 20 fields on both sides; `issue` is what manual calls name theirs."""
    message = load.change(7)
    assert 1_600 < len(message.data) < 1_700
    event = DocumentEventData.FromString(message.data)
    assert len(event.value.fields) == len(event.old_value.fields) == 20
    assert limit_problems(message.data, message.attributes) == []
    row = Shaper(shipped()).shape(decode_message(message), now_micros())
    values = row.values
    assert (values["operation"], values["changed_fields"]) == ("UPDATE", ["status"])
    assert values["document_path"] == "issues/load-7"
    assert values["type_errors"] == []
    (table,) = shipped()
    declared = [column.name for column in table.declared]
    assert [name for name in declared if values[name] in (None, [], "")] == ["issue"]


def test_as_fast_as_it_goes_in_large_batches():
    """Without a rate, all is published in batches of 500, in order, and each batch is told."""
    broker, told = Broker(), []
    assert load.publish(broker, TOPIC, load.changes(1_100), published=told.append) == 1_100
    assert [len(batch) for batch in broker.batches] == [500, 500, 100]
    assert [*chain(*broker.batches)] == [f"load-{number}" for number in range(1_100)]
    assert [len(batch) for batch in told] == [500, 500, 100]


def test_at_a_rate_batches_come_evenly():
    """200 a second are 10 every 50 ms: none earlier than its turn."""
    broker = Broker()
    began = time.monotonic()
    assert load.publish(broker, TOPIC, load.changes(60), rate=200.0) == 60
    assert [len(batch) for batch in broker.batches] == [10] * 6
    for turn, at in enumerate(broker.times):
        assert at - began >= turn * 0.05 - 0.001
    assert all(later > earlier for earlier, later in pairwise(broker.times))
    assert broker.times[-1] - began < 2


def test_a_batch_is_sent_again_while_the_broker_is_away():
    """Nothing is left out, and nothing is told before the broker has it."""
    broker, told = Broker(ServiceUnavailable("away"), DeadlineExceeded("slow")), []
    assert load.publish(broker, TOPIC, load.changes(3), published=told.append) == 3
    assert broker.batches == [["load-0", "load-1", "load-2"]]
    assert len(told) == 1


def test_patience_has_an_end(monkeypatch):
    """A broker that stays away ends it, and one that refuses ends it at once."""
    monkeypatch.setattr(load, "_PATIENCE_SECONDS", 0.5)
    began = time.monotonic()
    with pytest.raises(RetryError):
        load.publish(Broker(*[ServiceUnavailable("away")] * 1_000), TOPIC, load.changes(1))
    assert time.monotonic() - began < 10
    broker = Broker(InvalidArgument("no"))
    with pytest.raises(InvalidArgument):
        load.publish(broker, TOPIC, load.changes(1))
    assert broker.errors == broker.batches == []
