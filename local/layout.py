"""Where the stack's parts listen, how it is run, and the command that starts each part."""

import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from local import ports
from local.emulators import FIRESTORE_EMULATOR_HOST, PUBSUB_EMULATOR_HOST, Emulators
from local.processes import ROOT, Command
from local.resources import DATASET, DEAD_LETTER_TOPIC, PIPELINE_SUBSCRIPTION, TOPIC
from schemas import live

FOLDER = ROOT / "build" / "local"
PROJECT = "demo-project"

_ENV = "env"
_DATA = "bigquery"
_EXPORT = "export "
# A job that is told to stop first finishes what it holds.
_JOB_STOP_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Options:
    """How to run the stack.

    Args:
        project: Project id of everything; Beam wants six characters or more.
        folder: Where logs, state and BigQuery's data are.
        keep: Whether BigQuery's data of the last run are kept.
        usual_ports: Whether the usual ports are tried first; else all are any free ones.
        pubsub_proxy: Whether publisher and job reach Pub/Sub through `Stack.pubsub_proxy`.
        job: Whether the job is started.
        job_arguments: More arguments for the job.
        schemas: Table files for the job, beside the shipped one.
    """

    project: str = PROJECT
    folder: Path = FOLDER
    keep: bool = False
    usual_ports: bool = True
    pubsub_proxy: bool = False
    job: bool = True
    job_arguments: tuple[str, ...] = ()
    schemas: tuple[Path, ...] = ()

    @property
    def data(self) -> Path:
        """BigQuery's data."""
        return self.folder / _DATA


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the parts listen: what the `ready` line says.

    Args:
        publisher: A URL; `POST /` there.
        bigquery: A URL, as `BIGQUERY_EMULATOR_HOST` wants it.
        bigquery_grpc: `host:port` of Storage Write, plaintext.
        pubsub: `host:port`.
        firestore: `host:port`.
        project: The project id.
    """

    publisher: str
    bigquery: str
    bigquery_grpc: str
    pubsub: str
    firestore: str
    project: str

    @property
    def publisher_address(self) -> str:
        """The publisher's `host:port`."""
        return self.publisher.removeprefix("http://")

    @property
    def bigquery_address(self) -> str:
        """The `host:port` of BigQuery's REST."""
        return self.bigquery.removeprefix("http://")

    def environment(self) -> dict[str, str]:
        """The variables by which Google's clients, and this project's, find the parts."""
        return {
            "GOOGLE_CLOUD_PROJECT": self.project,
            PUBSUB_EMULATOR_HOST: self.pubsub,
            FIRESTORE_EMULATOR_HOST: self.firestore,
            live.BIGQUERY_EMULATOR_HOST: self.bigquery,
            live.BIGQUERY_STORAGE_EMULATOR_HOST: self.bigquery_grpc,
        }


def choose(options: Options, found: Emulators, take: Callable[[int], int]) -> Addresses:
    """Where the parts are to listen.

    Args:
        options: How the stack is run.
        found: Emulators that run already are used where they are.
        take: Gives a port that is free, for the usual one; for 0 any.
    """

    def port(usual: int) -> int:
        return take(usual if options.usual_ports else 0)

    return Addresses(
        publisher=f"http://{ports.HOST}:{port(ports.PUBLISHER)}",
        bigquery=f"http://{ports.HOST}:{port(ports.BIGQUERY_REST)}",
        bigquery_grpc=f"{ports.HOST}:{port(ports.BIGQUERY_GRPC)}",
        pubsub=found.pubsub or f"{ports.HOST}:{port(ports.PUBSUB)}",
        firestore=found.firestore or f"{ports.HOST}:{port(ports.FIRESTORE)}",
        project=options.project,
    )


def write_exports(folder: Path, addresses: Addresses) -> None:
    """Writes `env`, which a shell can source, so that other programs find the stack."""
    variables = addresses.environment() | {"PUBLISHER": addresses.publisher}
    lines = (f"{_EXPORT}{name}={shlex.quote(value)}\n" for name, value in variables.items())
    (folder / _ENV).write_text("".join(lines))


def exported(folder: Path) -> frozenset[str]:
    """The values in the `env` that the last stack wrote; empty where there is none."""
    try:
        lines = (folder / _ENV).read_text().splitlines()
    except FileNotFoundError:
        return frozenset()
    return frozenset(
        shlex.split(line.removeprefix(_EXPORT).partition("=")[2])[0]
        for line in lines
        if line.startswith(_EXPORT)
    )


def port_of(address: str) -> str:
    """The port of a `host:port`, as text."""
    return str(ports.split(address)[1])


def bigquery_command(options: Options, addresses: Addresses, late: float = 0.0) -> Command:
    """Starts BigQuery's emulator, on its data.

    Args:
        options: How the stack is run.
        addresses: Where it is to listen.
        late: Seconds for which Storage Write does not know a new table or column.
    """
    return Command(
        "BigQuery emulator",
        (
            *(sys.executable, "-m", "local.bigquery_emulator", "start"),
            *("--project", options.project),
            *("--rest-port", port_of(addresses.bigquery_address)),
            *("--grpc-port", port_of(addresses.bigquery_grpc)),
            *("--persistent", "--data-dir", str(options.data)),
            *("--late", str(late)),
        ),
    )


def publisher_command(addresses: Addresses, pubsub: str) -> Command:
    """Starts the publisher.

    Args:
        addresses: Where it is to listen.
        pubsub: `host:port` where it finds Pub/Sub.
    """
    return Command(
        "publisher",
        (sys.executable, "-m", "publisher"),
        env={
            PUBSUB_EMULATOR_HOST: pubsub,
            "ISSUES_TOPIC": TOPIC,
            "HOST": ports.HOST,
            "PORT": port_of(addresses.publisher_address),
        },
    )


def job_command(options: Options, pubsub: str) -> Command:
    """Starts the job; BigQuery it finds by the environment.

    Args:
        options: How the stack is run.
        pubsub: `host:port` where it finds Pub/Sub.
    """
    return Command(
        "job",
        (
            *(sys.executable, "run_dataflow.py", "--runner", "DirectRunner"),
            *("--project", options.project),
            *("--input_subscription", PIPELINE_SUBSCRIPTION),
            *("--output_dataset", DATASET),
            *("--dead_letter_topic", DEAD_LETTER_TOPIC),
            *("--park", str(options.folder / "parked")),
            *(word for file in options.schemas for word in ("--schema", str(file.absolute()))),
            *options.job_arguments,
        ),
        env={PUBSUB_EMULATOR_HOST: pubsub},
        stop_seconds=_JOB_STOP_SECONDS,
    )
