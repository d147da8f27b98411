"""The table files of a job: read at launch, each problem of each told at once."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future, wait
from pathlib import Path

from apache_beam.io.filesystems import FileSystems
from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError

from schemas.problem import Problem, ProblemsFound
from schemas.table import Table
from schemas.table_file import parse_tables, read_files, shipped

_READ_SECONDS = 15.0
"""For all files together: they are read side by side."""

# ValueError: text that is not UTF-8, a path that cannot be one, another place than these two.
# Beam's own BeamIOError is an OSError.
_UNREADABLE = (OSError, ValueError, GoogleAPICallError, GoogleAuthError)


def read_tables(files: Sequence[str], problems: list[Problem]) -> tuple[Table, ...]:
    """The tables that the files declare, with the shipped one where none is the default.

    Args:
        files: Paths, local or `gs://`.
        problems: Gets what is wrong: with the reading of a file, and inside the others.

    Returns:
        The tables of the job; empty where there were problems.
    """
    reads = [(file, _begin(file)) for file in files]
    wait([read for _, read in reads], _READ_SECONDS)
    texts = []
    for file, read in reads:
        where = f"--schema {file}"
        if not read.done():
            remedy = "without credentials a read never ends: gcloud auth application-default login"
            problems.append(Problem(where, f"not read within {_READ_SECONDS:g} s", remedy))
            continue
        try:
            texts.append((file, read.result()))
        except _UNREADABLE as error:
            problems.append(Problem(where, f"cannot be read: {error}"))
    try:
        if len(texts) == len(files):
            return parse_tables(texts, shipped())
        # What holds of them together cannot be judged while one is missing.
        read_files(texts)
    except ProblemsFound as error:
        problems += error.problems
    return ()


def _begin(file: str) -> "Future[str]":
    """Reads a file in a thread: of a daemon, since nothing can end a read that hangs.

    Beam's client of Cloud Storage asks for credentials, and retries, for longer than anybody
    waits, and takes no deadline.
    """
    outcome: Future[str] = Future()

    def read() -> None:
        try:
            outcome.set_result(_read(file))
        except BaseException as error:  # noqa: BLE001 - raised where the outcome is asked for
            outcome.set_exception(error)

    threading.Thread(target=read, name=f"read {file}", daemon=True).start()
    return outcome


def _read(file: str) -> str:
    if "://" not in file:
        return Path(file).read_text("utf-8")
    if not file.startswith("gs://"):
        # Not left to Beam: without the package of a place it raises whatever comes, asserts too.
        raise ValueError("neither a local path nor gs://")
    with FileSystems.open(file) as opened:
        text: str = opened.read().decode("utf-8")
        return text


def apply_command(table: Table, dataset: str) -> str:
    """The command that makes a table as its file declares it.

    Args:
        table: Of the job; the shipped one needs no file.
        dataset: `project.dataset`.
    """
    file = "" if table in shipped() else " FILE"
    return f"python -m schemas apply{file} --dataset {dataset}"
