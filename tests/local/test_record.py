"""Recordings of a subscription: nothing is acknowledged before the disk has it."""

import os
from types import SimpleNamespace

import pytest
from google.api_core.exceptions import ServiceUnavailable

from local.record import record
from schemas.recorded import from_line

NAME = "projects/demo-project/subscriptions/debug"


class Subscription:
    """A subscription that hands out batches of (message_id, publish second), then nothing."""

    def __init__(self, file, *batches):
        self.file = file
        self.part = file.with_name(f"{file.name}.part")
        self.batches = list(batches)
        self.synced = []
        self.fail = False

    def pull(self, request, **_):
        assert request["subscription"] == NAME
        received = [
            SimpleNamespace(
                ack_id=f"ack-{id_}",
                message=SimpleNamespace(
                    data=f"data \r\n\u2028 of {id_}".encode(),
                    attributes={"name": "ü\u2028\x85"},
                    message_id=id_,
                    publish_time=SimpleNamespace(timestamp=lambda second=second: second),
                ),
            )
            for id_, second in (self.batches.pop(0) if self.batches else [])
        ]
        return SimpleNamespace(received_messages=received)

    def acknowledge(self, subscription, ack_ids, **_):
        assert subscription == NAME
        on_disk = {f"ack-{message.message_id}" for message in read(self.part)}
        assert set(ack_ids) <= on_disk
        assert self.synced.pop() == self.part.stat().st_size
        if self.fail:
            raise ServiceUnavailable("gone")


def read(file):
    return [from_line(line) for line in file.read_text("utf-8").split("\n") if line]


@pytest.fixture
def subscription(tmp_path, monkeypatch):
    made = Subscription(tmp_path / "recorded.jsonl", [("9", 5), ("10", 5)], [("2", 1), ("9", 5)])
    fsync = os.fsync

    def synced(number):
        fsync(number)
        made.synced.append(os.fstat(number).st_size)

    monkeypatch.setattr(os, "fsync", synced)
    return made


def test_each_batch_is_on_disk_before_it_is_acknowledged(subscription):
    """In the end the file has every message once, in the order of publishing, and no other is."""
    assert record(subscription, "demo-project", "debug", subscription.file, idle=0.2) == 3
    messages = read(subscription.file)
    assert [message.message_id for message in messages] == ["2", "9", "10"]
    assert messages[0].data == b"data \r\n\xe2\x80\xa8 of 2"
    assert messages[0].attributes == {"name": "ü\u2028\x85"}
    assert list(subscription.file.parent.iterdir()) == [subscription.file]


def test_a_recording_that_breaks_off_leaves_what_it_took(subscription):
    """What may be acknowledged is in the part, and the next recording does not write over it."""
    subscription.fail = True
    with pytest.raises(ServiceUnavailable):
        record(subscription, "demo-project", "debug", subscription.file, idle=0.2)
    assert not subscription.file.exists()
    assert [message.message_id for message in read(subscription.part)] == ["9", "10"]
    with pytest.raises(FileExistsError):
        record(subscription, "demo-project", "debug", subscription.file, idle=0.2)
    assert [message.message_id for message in read(subscription.part)] == ["9", "10"]
