"""Each test begins and ends with nothing resident in the process."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from local.proxy import Proxy
from pipeline import resident
from schemas import live

ROOT = Path(__file__).parents[2]
PROJECT = "demo-project"
READY_SECONDS = 30


@pytest.fixture(autouse=True)
def nothing_resident():
    """Closes what a test left in the process, and takes back its request to stop."""
    resident.close_all()
    resident.stopping.clear()
    yield
    resident.stop()  # whatever a failed test left waiting ends
    resident.close_all()
    resident.stopping.clear()


class Impatient(threading.Event):
    """An event that is waited for in no time; keeps how long each wait would have been."""

    def __init__(self):
        super().__init__()
        self.waits = []
        self.stop_after = None

    def wait(self, timeout=None):
        self.waits.append(timeout)
        if len(self.waits) == self.stop_after:
            self.set()
        return self.is_set()


@pytest.fixture
def no_waiting(monkeypatch):
    """Every backoff passes at once; yields the event that holds the seconds of each."""
    event = Impatient()
    monkeypatch.setattr(resident, "stopping", event)
    return event


@pytest.fixture
def until():
    """Polls until a condition holds; fails after a deadline."""

    def poll(condition, seconds=10.0):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "did not come about in time"
            time.sleep(0.005)

    return poll


class BigQuery:
    """The BigQuery stand-in as a process; its Storage Write is reached through a proxy.

    Args:
        folder: For its data and log.
    """

    def __init__(self, folder):
        self._folder = folder
        self.rest, self.grpc = free_port(), free_port()
        self.process = None
        self.proxy = Proxy(f"127.0.0.1:{self.grpc}")

    def start(self):
        """Starts it, on the ports and data of before, and waits until both ports answer."""
        ports = ["--rest-port", str(self.rest), "--grpc-port", str(self.grpc)]
        command = [sys.executable, "-m", "local.bigquery_emulator", "start", "--project", PROJECT]
        with (self._folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *ports, "--persistent", "--data-dir", str(self._folder / "data")],
                cwd=ROOT,
                env=os.environ | {"HOME": str(self._folder)},
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + READY_SECONDS
        while not (listens(self.rest) and listens(self.grpc)):
            ended = self.process.poll() is not None
            if ended or time.monotonic() > deadline:
                pytest.fail(f"the BigQuery stand-in: {(self._folder / 'log').read_text()}")
            time.sleep(0.02)

    def end(self, how=signal.SIGTERM):
        """Ends it; what it acknowledged is on the disk."""
        self.process.send_signal(how)
        try:
            self.process.wait(20)
        finally:
            self.process.kill()

    def environment(self):
        """What aims `schemas.live` at it."""
        return {
            live.BIGQUERY_EMULATOR_HOST: f"http://127.0.0.1:{self.rest}",
            live.BIGQUERY_STORAGE_EMULATOR_HOST: self.proxy.address,
        }


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="session")
def bigquery_process(tmp_path_factory):
    made = BigQuery(tmp_path_factory.mktemp("bigquery"))
    with made.proxy:
        made.start()
        try:
            yield made
        finally:
            made.end()


@pytest.fixture
def bigquery(bigquery_process, monkeypatch):
    """A running BigQuery stand-in at which the environment is aimed."""
    for name, value in bigquery_process.environment().items():
        monkeypatch.setenv(name, value)
    return bigquery_process
