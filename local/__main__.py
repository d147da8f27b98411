"""`python -m local run`: the whole pipeline on this machine. Also `stop` and `record`."""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from google.api_core.exceptions import GoogleAPIError
from requests.exceptions import RequestException

from local import signals, state
from local.emulators import PUBSUB_EMULATOR_HOST, find
from local.layout import FOLDER, PROJECT, Options, exported
from local.ports import wait_until
from local.processes import NotReadyError
from local.stack import Stack, to_stderr
from local.table_files import FILES, read_tables, require_event_ids
from local.tour import follow, tour
from schemas.problem import Problem, ProblemsFound

_STOP_SECONDS = 60.0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line.

    Returns:
        The exit code: 0, or 1 when something was missing, failed, or is not accounted for.
    """
    arguments = _arguments(argv)
    code: int = arguments.verb(arguments)
    return code


def run(arguments: argparse.Namespace) -> int:
    """Starts the stack, feeds and shows the sample, and stays up until it is told to stop."""
    began = time.monotonic()
    schemas = tuple(arguments.schema or FILES)
    options = Options(project=arguments.project, keep=arguments.keep, schemas=schemas)
    was_up = False
    try:
        if arguments.sample:
            require_event_ids(read_tables(schemas))
        signals.raise_interrupted()
        signals.end_with_make()
        with Stack(options, to_stderr) as stack:
            print(f"ready {json.dumps(asdict(stack.addresses))}", flush=True)
            was_up = True
            to_stderr(f"all is up after {time.monotonic() - began:.1f} s")
            try:
                code = 0 if tour(stack, to_stderr, sample=arguments.sample) else 1
                if not arguments.once:
                    follow(stack, to_stderr)
            finally:
                signals.ignore()
    except state.AlreadyRunningError as error:
        _report_running(error.state)
        return 1
    except (ProblemsFound, NotReadyError) as error:
        to_stderr(f"{error}")
        return 1
    except (GoogleAPIError, RequestException, OSError) as error:
        to_stderr(f"{type(error).__name__}: {error}\nthe logs are in {options.folder / 'logs'}")
        return 1
    except signals.Interrupted as signal_:
        to_stderr(f"stopped by {signal_}; nothing is left running")
        # Up, Ctrl-C is how a run is meant to end; not yet up, or a check cut short, it failed.
        return 0 if was_up and not arguments.once else 1
    to_stderr(f"done after {time.monotonic() - began:.1f} s")
    return code


def stop(_: argparse.Namespace) -> int:
    """Stops the stack that runs, wherever it was started."""
    running = state.read(FOLDER)
    if running is None or not running.owner.alive():
        to_stderr("no stack is running")
        return 0
    os.kill(running.owner.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    if wait_until(lambda: not running.owner.alive(), deadline):
        to_stderr("stopped")
        return 0
    to_stderr(f"process {running.owner.pid} still runs after {_STOP_SECONDS:.0f} s")
    return 1


def record(arguments: argparse.Namespace) -> int:
    """Takes a subscription's messages and writes them to a file."""
    # Only here: it loads Google's client, which the other verbs need later or not at all.
    from local.record import record as record_messages  # noqa: PLC0415
    from schemas.live import subscriber_client  # noqa: PLC0415

    if not os.environ.get(PUBSUB_EMULATOR_HOST):
        problem = Problem(
            PUBSUB_EMULATOR_HOST,
            "is not set: a recording acknowledges what it takes, and this one would empty a "
            "subscription of Google Cloud",
            f"source {FOLDER / 'env'}, which a running stack has written",
        )
        to_stderr(f"{problem}")
        return 1
    try:
        number = record_messages(
            subscriber_client(),
            arguments.project,
            arguments.subscription,
            arguments.file,
            arguments.idle,
        )
    except FileExistsError as error:
        to_stderr(
            f"{error.filename}: holds what a recording that broke off had acknowledged "
            "(move it away, or delete it)"
        )
        return 1
    except (GoogleAPIError, OSError) as error:
        to_stderr(f"{type(error).__name__}: {error}")
        return 1
    to_stderr(f"{number} messages in {arguments.file}")
    return 0


def check(_: argparse.Namespace) -> int:
    """Looks for the emulators and Java; exit code 1, and what to install, where one is missing."""
    try:
        find(stale=exported(FOLDER))
    except ProblemsFound as error:
        to_stderr(f"{error}")
        return 1
    return 0


def _report_running(running: state.State | None) -> None:
    if running is None or running.addresses is None:
        to_stderr("a stack is being started, or stopped, by another process")
        return
    to_stderr(f"a stack is running already, started by process {running.owner.pid}:")
    for name, address in running.addresses.items():
        to_stderr(f"  {name:14} {address}")
    to_stderr("stop it with Ctrl-C there, or with: python -m local stop")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m local", description="The whole pipeline on one machine."
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    verb = verbs.add_parser(
        "run",
        help="start the stack, feed the sample, show what arrives",
        description="Starts the Pub/Sub, Firestore and BigQuery emulators, the publisher and the "
        "job; feeds a sample; shows the rows and the dead letters; stays up and shows what "
        "arrives until Ctrl-C. A line `ready {...}` with all addresses goes to standard output "
        "once all is up; build/local/env can be sourced; logs are in build/local/logs. Taken "
        "ports are replaced by free ones. Emulators that run already are used if "
        "PUBSUB_EMULATOR_HOST or FIRESTORE_EMULATOR_HOST names them.",
    )
    verb.add_argument(
        "--once",
        action="store_true",
        help="end after the sample: 0 only if every event is accounted for by set of event_id",
    )
    verb.add_argument(
        "--no-sample", dest="sample", action="store_false", help="feed nothing, only stay up"
    )
    verb.add_argument(
        "--keep", action="store_true", help="keep BigQuery's data of the last run (build/local)"
    )
    verb.add_argument(
        "--schema",
        action="append",
        type=Path,
        metavar="FILE",
        help="table file for the job; several may be given (default: local/tables/*.yaml). "
        "schemas/issues.yaml is added unless one of them is `default: true`",
    )
    verb.add_argument("--project", default=PROJECT, help="project id (default: %(default)s)")
    verb.set_defaults(verb=run)

    verb = verbs.add_parser("check", help="say which emulator is missing, and how to get it")
    verb.set_defaults(verb=check)

    verb = verbs.add_parser("stop", help="stop the stack that is running")
    verb.set_defaults(verb=stop)

    verb = verbs.add_parser(
        "record",
        help="write a subscription's messages to a file",
        description="Takes and acknowledges all messages of a subscription, found by "
        "PUBSUB_EMULATOR_HOST, and writes them as JSON lines. Without that variable it is "
        "refused: it would empty a subscription of Google Cloud.",
    )
    verb.add_argument("--project", default=PROJECT, help="project id (default: %(default)s)")
    verb.add_argument("--subscription", required=True, help="its id; nobody else should read it")
    verb.add_argument("--idle", type=float, default=5.0, help="seconds of silence that end it")
    verb.add_argument("file", type=Path, help="the file to write")
    verb.set_defaults(verb=record)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
