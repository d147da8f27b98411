"""One set of real parts for all tests of the sinks: Pub/Sub, BigQuery's stand-in, Java's worker.

Both sinks write through the gateway, which looks at every append: what never reached the service
is told from what it refused.
"""

import itertools
import logging
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions

from local.expansion import JAR
from local.pull import drain
from local.resources import subscription_path, topic_path
from local.sink_stack import Running, SinkStack
from pipeline import launch, resident
from pipeline.engines import DIRECT, objections
from pipeline.options import parse
from schemas import live
from schemas.apply import apply
from schemas.recorded import to_line
from schemas.table_file import parse_table
from transforms.attempt import FAILED

PROJECT = "demo-project"
SINKS = ("native", "storage_write")
_SECONDS = 30.0
_numbers = itertools.count()


def pytest_collection_modifyitems(items):
    """All of them need the emulators and Java."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.emulators)
            item.add_marker(pytest.mark.timeout(300))


class Appended:
    """What the service was given to store, by table, as it went through the gateway."""

    def __init__(self):
        self._rows = {}
        self._lock = threading.Lock()

    def __call__(self, stream, rows):
        _, dataset, table = stream.split("/")[1:6:2]
        with self._lock:
            self._rows.setdefault(f"{dataset}.{table}", []).extend(rows)

    def rows(self, dataset, table):
        """The serialized rows of every append so far, repeats too."""
        with self._lock:
            return list(self._rows.get(f"{dataset}.{table}", ()))


@dataclass
class Place:
    """What runs, and what the service was given."""

    running: Running
    appended: Appended


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """The processes, all at once; each ends with this one, however it ends."""
    assert JAR.is_file(), "build/expansion/expansion.jar is missing: make expansion"
    appended = Appended()
    with SinkStack(tmp_path_factory.mktemp("sinks"), appended, PROJECT) as running:
        yield Place(running, appended)


@dataclass
class Bench:
    """A dataset and a dead-letter topic of a test's own, and the job on them.

    Args:
        place: The parts.
        sink: `native` or `storage_write`.
        folder: For the recordings.
    """

    place: Place
    sink: str
    folder: Path
    number: int = field(default_factory=lambda: next(_numbers))
    files: list = field(default_factory=list)

    @property
    def dataset(self):
        return f"ds_{self.number}"

    @property
    def client(self):
        return live.bigquery_client(PROJECT)

    def open(self):
        topic = topic_path(PROJECT, f"letters-{self.number}")
        live.publisher_client().create_topic(name=topic, timeout=_SECONDS, retry=None)
        live.subscriber_client().create_subscription(
            name=subscription_path(PROJECT, f"letters-{self.number}"),
            topic=topic,
            ack_deadline_seconds=10,
            timeout=_SECONDS,
            retry=None,
        )

    def declare(self, *texts):
        """Gives the job tables by the text of their files."""
        tables = []
        for n, text in enumerate(texts):
            path = self.folder / f"table-{len(self.files)}-{n}.yaml"
            path.write_text(text)
            self.files.append(path)
            tables.append(parse_table(text, path.name))
        return tables

    def tables(self, *texts):
        """Declares tables, and creates them."""
        tables = self.declare(*texts)
        self.create(*tables)
        return tables

    def create(self, *tables):
        """Creates tables as they are declared."""
        apply(self.client, self.dataset, tables, _SECONDS)

    def arguments(self, messages, *more):
        recording = self.folder / "messages.jsonl"
        recording.write_text("".join(to_line(message) + "\n" for message in messages))
        return [
            *("--project", PROJECT, "--output_dataset", f"{PROJECT}.{self.dataset}"),
            *("--dead_letter_topic", f"letters-{self.number}"),
            *("--park", str(self.folder / "parked")),
            *("--input_files", str(recording), "--sink", self.sink),
            *(f"--schema={path}" for path in self.files),
            *(["--expansion_service", self.place.running.expansion] if self.java else []),
            *more,
        ]

    @property
    def java(self):
        return self.sink == "storage_write"

    def run(self, messages, *more):
        """Runs the job's own graph over recorded messages, in this process; the exit code."""
        return self.alone(lambda: launch.main(self.arguments(messages, *more)))

    def settings(self, messages, *more):
        """What `run` would run with, for runs that begin after the checks of a start."""
        return parse(self.arguments(messages, *more), str, objections)

    def run_unchecked(self, messages, *more):
        """As `run`, without asking the services first: what it needs may be gone since."""
        engine = replace(DIRECT, ready=lambda _: None)
        return self.alone(lambda: launch.run_here(self.settings(messages, *more), engine))

    def write(self, rows, tables=()):
        """Gives rows to the sink that no ShapeRows has seen; its failures become letters.

        Args:
            rows: Of tables that are created.
            tables: Of the job, in place of those that were declared.

        Returns:
            How many failures the sink counted.
        """

        def run():
            settings = self.settings([])
            settings = replace(settings, tables=tuple(tables)) if tables else settings
            options = PipelineOptions([*DIRECT.beam_flags(settings), *settings.beam_args])
            pipeline = beam.Pipeline(runner=DIRECT.beam_runner(), options=options)
            given = pipeline | beam.Create(rows) | beam.Map(_same)
            written = given | "WriteRows" >> DIRECT.write_rows(settings)
            written[FAILED] | "Letters" >> DIRECT.dead_letters(settings)
            result = pipeline.run()
            result.wait_until_finish()
            failed = MetricsFilter().with_namespace("write").with_name("failed")
            return sum(each.committed for each in result.metrics().query(failed)["counters"])

        return self.alone(run)

    def alone(self, run):
        """A run with nothing resident before it and after it."""
        resident.close_all()
        resident.stopping.clear()
        try:
            return run()
        finally:
            resident.stop()
            resident.close_all()
            resident.stopping.clear()
            logging.getLogger().handlers.clear()

    def rows(self, table, order="event_id"):
        """The table's rows read back through SQL, as dicts."""
        return [dict(row) for row in self._query(f"SELECT * FROM {{}} ORDER BY {order}", table)]

    def count(self, table):
        """How many rows, and how many event_ids."""
        [found] = self._query("SELECT COUNT(*), COUNT(DISTINCT event_id) FROM {}", table)
        return tuple(found)

    def _query(self, text, table):
        query = text.format(f"`{self.dataset}.{table}`")
        job = self.client.query(query, timeout=_SECONDS, retry=None, job_retry=None)
        return job.result(timeout=_SECONDS, retry=None, job_retry=None)

    def letters(self):
        """The dead letters so far."""
        return drain(live.subscriber_client(), PROJECT, f"letters-{self.number}")

    def given(self, table):
        """The serialized rows that the service was given, in all."""
        return self.place.appended.rows(self.dataset, table)


@pytest.fixture(params=SINKS)
def sink(request):
    """Every test of the contract runs on both sinks."""
    return request.param


def aim(place, monkeypatch):
    """Sets what aims Google's clients at a place's parts."""
    for name, value in place.running.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def aimed(place, monkeypatch):
    """The environment aims Google's clients at the parts."""
    aim(place, monkeypatch)
    return place


@pytest.fixture
def bench(aimed, sink, tmp_path):
    """A fresh dataset and dead-letter topic."""
    made = Bench(aimed, sink, tmp_path)
    made.open()
    return made


def _same(row):
    return row


@pytest.fixture
def until():
    """Polls until a condition holds; fails after a deadline."""

    def poll(condition):
        deadline = time.monotonic() + _SECONDS
        while not condition():
            assert time.monotonic() < deadline, "did not come about in time"
            time.sleep(0.1)

    return poll
