"""One stack for all integration tests: real emulators, the publisher, no job of its own."""

import os
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from local.layout import Options
from local.pull import drain
from local.resources import (
    DATASET,
    LETTERS_SUBSCRIPTION,
    TOPIC,
    subscription_path,
    topic_path,
)
from local.stack import Stack
from pipeline import launch, resident
from schemas import live

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def stack(tmp_path_factory):
    """Emulators and publisher; Pub/Sub can also be reached through a proxy."""
    options = Options(
        folder=tmp_path_factory.mktemp("stack"), usual_ports=False, job=False, pubsub_proxy=True
    )
    with Stack(options) as running:
        yield running


@pytest.fixture(scope="session")
def pubsub_emulator(stack):
    """host:port of a running Pub/Sub emulator."""
    return stack.addresses.pubsub


@dataclass
class Job:
    """Runs of the job on a subscription of the test's own."""

    stack: Stack
    folder: Path
    subscription: str
    children: list = field(default_factory=list)
    seen_letters: list = field(default_factory=list)

    @property
    def project(self):
        return self.stack.addresses.project

    @property
    def parked(self):
        return sorted((self.folder / "parked").glob("*.jsonl"))

    def arguments(self, *more):
        return [
            *("--project", self.project),
            *("--input_subscription", self.subscription),
            *("--park", str(self.folder / "parked")),
            *more,
        ]

    def publish(self, *messages):
        client = live.publisher_client()
        for message in messages:
            client.publish(
                topic=topic_path(self.project, TOPIC),
                messages=[{"data": message.data, "attributes": dict(message.attributes)}],
                timeout=20,
                retry=None,
            )

    def run(self, *more):
        """Runs the job in this process until the subscription is empty; the exit code."""
        resident.stopping.clear()
        try:
            return launch.main(self.arguments("--stop_when_idle", "1.5", *more))
        finally:
            resident.stopping.clear()

    def start(self, *more, before="", pubsub=None):
        """Starts the job as a process; `before` is Python that runs in it first."""
        code = (
            f"{before}\nimport sys\nfrom pipeline.launch import main\nsys.exit(main(sys.argv[1:]))"
        )
        env = os.environ | ({live.PUBSUB_EMULATOR_HOST: pubsub} if pubsub else {})
        log = self.folder / f"job-{len(self.children)}.log"
        with log.open("wb") as output:
            child = subprocess.Popen(
                [sys.executable, "-c", code, *self.arguments(*more)],
                cwd=ROOT,
                env=env,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        child.log = log
        self.children.append(child)
        return child

    def rows(self, *messages, columns="event_id"):
        """The rows of these messages' events, as dicts."""
        from google.cloud import bigquery

        ids = [message.event_id for message in messages]
        config = bigquery.QueryJobConfig(
            query_parameters=[bigquery.ArrayQueryParameter("ids", "STRING", ids)]
        )
        query = f"SELECT {columns} FROM {DATASET}.issues_stream WHERE event_id IN UNNEST(@ids)"
        job = live.bigquery_client(self.project).query(
            query, job_config=config, timeout=20, retry=None, job_retry=None
        )
        return [dict(row) for row in job.result(timeout=20, retry=None, job_retry=None)]

    def letters(self, *messages):
        """The dead letters of these messages' events, in order."""
        self.seen_letters += drain(live.subscriber_client(), self.project, LETTERS_SUBSCRIPTION)
        ids = {message.event_id for message in messages}
        return [letter for letter in self.seen_letters if letter.event_id in ids]


@pytest.fixture
def job(stack, tmp_path):
    """The job, on a new subscription; what it started is ended."""
    client = live.subscriber_client()
    name = subscription_path(stack.addresses.project, f"test-{uuid.uuid4().hex[:12]}")
    topic = topic_path(stack.addresses.project, TOPIC)
    client.create_subscription(
        name=name, topic=topic, ack_deadline_seconds=10, timeout=20, retry=None
    )
    made = Job(stack, tmp_path, name)
    yield made
    for child in made.children:
        if child.poll() is None:
            child.kill()
            child.wait(10)
    client.delete_subscription(subscription=name, timeout=20, retry=None)


@pytest.fixture
def until():
    """Waits for a condition with a deadline; its last value is the answer."""

    def wait(condition, seconds=30.0):
        deadline = time.monotonic() + seconds
        while not (found := condition()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return found

    return wait
