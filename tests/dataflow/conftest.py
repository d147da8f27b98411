"""One door for all launches: what they ask is answered on this machine, and recorded."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from local.emulators import find
from local.expansion import JAR
from local.ports import HOST, Ports, listens
from local.processes import Command, Processes
from local.resources import create
from local.web import serving
from schemas import live
from schemas.apply import bigquery_table
from schemas.table_file import shipped
from tests.dataflow.door import Door

ROOT = Path(__file__).parents[2]
PROJECT = "demo-project"
SECONDS = 60
LAUNCH = (
    *("--runner", "DataflowRunner", "--project", PROJECT, "--region", "us-central1"),
    *("--temp_location", "gs://bucket/tmp"),
)


def pytest_collection_modifyitems(items):
    """All launches need the Pub/Sub emulator; most need Java."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.emulators)


@dataclass(frozen=True)
class Ended:
    """A launch that is over."""

    code: int
    said: str
    seconds: float


@dataclass
class Launcher:
    """Launches by the real command, through the door."""

    door: Door
    pubsub: str
    expansion: str

    def __call__(self, *argv, cwd=ROOT, shown=False, **environment):
        """Launches.

        Args:
            *argv: Of the command; it is given the expansion service that runs, unless it says one.
            cwd: Where.
            shown: Whether something is to come on standard output, to be taken with the rest.
            **environment: On top of what aims it at the door; None takes a variable away.
        """
        here = {
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "CLOUDSDK_CONFIG": "/nonexistent",
            "TMPDIR": str(self.door.folder),
            live.PUBSUB_EMULATOR_HOST: self.pubsub,
        }
        given = here | self.door.environment() | environment
        given = {name: value for name, value in given.items() if value is not None}
        says = any(arg.startswith("--expansion_service") for arg in argv)
        sink = [] if says else [f"--expansion_service={self.expansion}"]
        began = time.monotonic()
        ended = subprocess.run(
            [sys.executable, ROOT / "run_dataflow.py", *argv, *sink],
            cwd=cwd, env=given, capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        assert shown or ended.stdout == ""
        return Ended(ended.returncode, ended.stderr + ended.stdout, time.monotonic() - began)


@pytest.fixture(scope="session")
def door_and_launcher(tmp_path_factory):
    """The door, the Pub/Sub emulator with what the job reads, and one expansion service."""
    assert JAR.is_file(), f"{JAR} is missing: make expansion"
    folder = tmp_path_factory.mktemp("door")
    found = find(own=True)
    ports = Ports()
    pubsub, expansion = (f"{HOST}:{ports.take(port)}" for port in (8085, 8097))
    tables = {
        table.name: bigquery_table(table, f"{PROJECT}.issues_ds").to_api_repr() | {"type": "TABLE"}
        for table in shipped()
    }
    with Door(folder, tables) as door, Processes(folder / "logs") as processes:
        emulator = processes.start(
            Command("Pub/Sub emulator", tuple(found.pubsub_command(pubsub.rpartition(":")[2])))
        )
        java = processes.start(
            Command(
                "Beam's expansion service",
                (found.java, "-jar", str(JAR), expansion.rpartition(":")[2]),
            )
        )
        emulator.wait_ready(serving(pubsub), SECONDS)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(live.PUBSUB_EMULATOR_HOST, pubsub)
            create(live.publisher_client(), live.subscriber_client(), PROJECT)
        java.wait_ready(lambda _: listens(HOST, int(expansion.rpartition(":")[2])), SECONDS)
        door.bucket("bucket")
        yield door, Launcher(door, pubsub, expansion)


@pytest.fixture
def door(door_and_launcher):
    """The door, as if nobody had been there."""
    made, _ = door_and_launcher
    made.forget()
    return made


@pytest.fixture
def launch(door, door_and_launcher):
    """Launches through the door."""
    return door_and_launcher[1]
