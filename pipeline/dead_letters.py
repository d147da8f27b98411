"""PublishDeadLetters: failures to the dead-letter topic, awaited before the bundle is done.

One DoFn on the Pub/Sub client on every engine. A letter that Pub/Sub cannot take is parked: a file
of one recorded message (`schemas.recorded`), which `--input_files` reads back.
"""

import logging
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics
from google.api_core import exceptions

from pipeline import resident
from pipeline.outages import ride_out
from schemas.failure import DeadLetter, Failure, dead_letter
from schemas.message import EVENT_ID, Message, serialized_size
from schemas.problem import Problem, ProblemsFound
from schemas.recorded import to_line
from schemas.times import now_micros

_DEADLINE = 30.0
# https://cloud.google.com/pubsub/quotas: a publish request is at most 10 MB and 1,000 messages.
_REQUEST_BYTES = 9_000_000
_REQUEST_MESSAGES = 500

_log = logging.getLogger(__name__)


class PublishDeadLetters(beam.PTransform):
    """Publishes each Failure to the dead-letter topic; at least once.

    Args:
        topic: Full name of the dead-letter topic.
        park: Folder or gs:// place for letters that Pub/Sub cannot take.
        job: The job's name, which goes into each letter.
        ride_out_outages: Whether to wait out an outage here; False where the runner retries.
    """

    def __init__(self, topic: str, park: str, job: str, *, ride_out_outages: bool) -> None:
        super().__init__()
        self._step = _Publish(topic, park, job, ride_out_outages=ride_out_outages)

    def expand(self, failures: Any) -> Any:
        """PCollection[Failure] to nothing."""
        return failures | "Publish" >> beam.ParDo(self._step)


class _Publish(beam.DoFn):
    def __init__(self, topic: str, park: str, job: str, *, ride_out_outages: bool) -> None:
        self._topic = topic
        self._park = park
        self._job = job
        self._ride_out_outages = ride_out_outages
        self._published = Metrics.counter("dead_letters", "published")
        self._parked = Metrics.counter("dead_letters", "parked")
        self._waits = Metrics.counter("outage", "waits_pubsub")

    def start_bundle(self) -> None:
        self._letters: list[DeadLetter] = []
        self._bytes = 0

    def process(self, failure: Failure) -> None:
        letter = dead_letter(failure, time=now_micros(), job=self._job)
        _log.info(
            "dead letter: event %s, %s: %s: %s",
            letter.attributes.get(EVENT_ID),
            failure.stage,
            failure.error,
            failure.reason[:500],
        )
        if letter.unpublishable:
            self._keep(letter, letter.unpublishable)
            return
        size = serialized_size(letter.data, letter.attributes)
        full = len(self._letters) == _REQUEST_MESSAGES or self._bytes + size > _REQUEST_BYTES
        if self._letters and full:
            with resident.reporting():
                self._publish(self._letters)
            self._letters, self._bytes = [], 0
        self._letters.append(letter)
        self._bytes += size

    def finish_bundle(self) -> None:
        if self._letters:
            with resident.reporting():
                self._publish(self._letters)

    def _publish(self, letters: list[DeadLetter]) -> None:
        try:
            self._wait_out(lambda: self._call(letters))
        except exceptions.InvalidArgument as error:
            # One of them is refused as such: find it, so that the others go through.
            if len(letters) == 1:
                self._keep(letters[0], str(error.message))
                return
            half = len(letters) // 2
            self._publish(letters[:half])
            self._publish(letters[half:])
        except (exceptions.NotFound, exceptions.Forbidden, exceptions.Unauthorized) as error:
            raise ProblemsFound(
                [
                    Problem(
                        f"dead-letter topic {self._topic}",
                        f"takes no message: {error}",
                        "create it with a subscription, or grant the job roles/pubsub.publisher",
                    )
                ]
            ) from error
        else:
            self._published.inc(len(letters))

    def _wait_out(self, call: Callable[[], None]) -> None:
        if self._ride_out_outages:
            ride_out("Pub/Sub (dead letters)", call, repeated=self._waits.inc)
        else:
            call()

    def _call(self, letters: list[DeadLetter]) -> None:
        client = _client()
        messages = [{"data": letter.data, "attributes": letter.attributes} for letter in letters]
        client.publish(topic=self._topic, messages=messages, timeout=_DEADLINE, retry=None)

    def _keep(self, letter: DeadLetter, why: str) -> None:
        """Parks a letter, durably, before the bundle is done."""
        record = to_line(Message(letter.data, letter.attributes)) + "\n"
        try:
            path = write_parked(self._park, record.encode())
        except (OSError, BeamIOError) as error:
            raise ProblemsFound(
                [
                    Problem(
                        f"--park {self._park}",
                        f"a dead letter that Pub/Sub cannot take was to go there: {error}",
                        "give --park a place that can be written",
                    )
                ]
            ) from error
        self._parked.inc()
        _log.error(
            "dead letter of event %s parked as %s, since Pub/Sub cannot take it: %s",
            letter.attributes.get(EVENT_ID),
            path,
            why,
        )


def write_parked(folder: str, record: bytes) -> str:
    """Writes one file under the folder and returns its path; on a local disk it is synced."""
    name = f"{now_micros()}-{uuid.uuid4().hex[:8]}.jsonl"
    if "://" in folder:
        place = f"{folder.rstrip('/')}/{name}"
        with FileSystems.create(place) as file:
            file.write(record)
        return place
    path = Path(folder) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(record)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # the rename, too, outlives a power cut
    finally:
        os.close(directory)
    return str(path)


def _client() -> Any:
    def make() -> Any:
        from schemas import live  # noqa: PLC0415 - loads cloud clients

        return live.publisher_client()

    return resident.resident(("publisher",), make)
