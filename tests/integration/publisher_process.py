"""A publisher in a process of its own, on a topic of its own."""

import os
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager
from pathlib import Path

import httpx

from local.ports import HOST, Ports
from local.pull import drain
from local.resources import subscription_path, topic_path
from schemas import live

ROOT = Path(__file__).parents[2]
SECONDS = 30


class Published:
    """A new topic of the stack, and what is on it.

    Args:
        stack: Running.
    """

    def __init__(self, stack):
        self.project = stack.addresses.project
        self.topic = f"page-{uuid.uuid4().hex[:12]}"
        path = topic_path(self.project, self.topic)
        live.publisher_client().create_topic(name=path, timeout=SECONDS, retry=None)
        live.subscriber_client().create_subscription(
            name=subscription_path(self.project, self.topic),
            topic=path,
            ack_deadline_seconds=60,
            timeout=SECONDS,
            retry=None,
        )
        self._seen = []

    def messages(self, least=0):
        """All messages so far; waits until there are so many."""
        client = live.subscriber_client()
        deadline = time.monotonic() + SECONDS
        while True:
            self._seen += drain(client, self.project, self.topic)
            if len(self._seen) >= least:
                return self._seen
            assert time.monotonic() < deadline, f"{len(self._seen)} of {least} messages"


@contextmanager
def publisher(stack, published, folder, **environ):
    """The URL of `python -m publisher`, live; ended by SIGTERM with exit code 0.

    Args:
        stack: Running.
        published: The topic.
        folder: For its log.
        environ: Settings beside address and topic.
    """
    port = Ports().take(0)
    url = f"http://{HOST}:{port}"
    log = folder / f"publisher-{port}.log"
    names = ("PATH", "HOME")
    clean = {name: os.environ[name] for name in names if name in os.environ}
    settings = {
        "GOOGLE_CLOUD_PROJECT": published.project,
        "ISSUES_TOPIC": published.topic,
        "PUBSUB_EMULATOR_HOST": stack.addresses.pubsub,
        "HOST": HOST,
        "PORT": str(port),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "publisher"],
            cwd=ROOT,
            env=clean | settings | environ,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + SECONDS
        while not _lives(url):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield url
        process.terminate()
        assert process.wait(20) == 0, log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(10)


def _lives(url):
    try:
        return httpx.get(f"{url}/live", timeout=5, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
