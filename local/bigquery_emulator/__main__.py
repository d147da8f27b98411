"""The command line: `python -m local.bigquery_emulator start ...`.

Standard error gets one line when the server is ready and one for each warning; standard output
nothing.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

VERSION = "1.4.0"


def wrong_version(installed: str) -> str:
    """The sentence that refuses another bqemulator; empty for the one that the mends fit."""
    if installed == VERSION:
        return ""
    return (
        f"bqemulator {installed} is installed, and the mends here are written for {VERSION} "
        f"only: install bqemulator=={VERSION}"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the server until SIGINT or SIGTERM.

    Raises:
        SystemExit: The arguments, the installed version or the data folder do not do.
    """
    arguments = _arguments(argv)
    try:
        refusal = wrong_version(metadata.version("bqemulator"))
    except metadata.PackageNotFoundError:
        refusal = f"bqemulator is not installed: install bqemulator=={VERSION}"
    if refusal:
        sys.exit(refusal)
    _quiet()
    # Only now: it imports bqemulator, whose inside differs from version to version.
    from local.bigquery_emulator import server  # noqa: PLC0415

    server.run(
        project=arguments.project,
        rest_port=arguments.rest_port,
        grpc_port=arguments.grpc_port,
        data_dir=arguments.data_dir,
        late=arguments.late,
    )


def _quiet() -> None:
    """Sends the stock server's log to standard error, before its modules log to the other."""
    from bqemulator.config import LogFormat, LogLevel  # noqa: PLC0415
    from bqemulator.observability.logging_ import configure_logging  # noqa: PLC0415

    configure_logging(level=LogLevel.WARNING, fmt=LogFormat.JSON)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m local.bigquery_emulator", description="BigQuery's stand-in, mended."
    )
    start = parser.add_subparsers(required=True).add_parser("start", help="run it")
    start.add_argument("--project", required=True, help="the project of calls that name none")
    start.add_argument("--rest-port", type=int, required=True, help="0: any free one")
    start.add_argument("--grpc-port", type=int, required=True, help="0: any free one")
    start.add_argument(
        "--persistent", action="store_true", required=True, help="keep the data (the only mode)"
    )
    start.add_argument("--data-dir", type=Path, required=True, help="where the data is kept")
    start.add_argument(
        "--late",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="for how long Storage Write refuses a new table or column, from the first call that "
        "needs it; default: not at all",
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
