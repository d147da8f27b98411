"""The verbs of `python -m schemas`: each reads files, says what it found, returns an exit code.

Only `diff` and `apply` ask a cloud; they load the client when they run.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from schemas import infer as inferring
from schemas import proposed
from schemas import render as rendering
from schemas.evolve import Action, Difference
from schemas.problem import Problem, ProblemsFound
from schemas.table import Table
from schemas.table_file import SHIPPED, parse_tables, read_files, shipped, shipped_text
from schemas.yaml_lines import FileProblem

FINE, FOUND, REFUSED, SERVICE = 0, 1, 2, 3
"""Exit codes; `schemas.command_line.EPILOG` says what they mean."""

DATASET = re.compile(
    r"(?:[a-z0-9\-]+(?:\.[a-z0-9\-]+)+:)?[a-z0-9](?:[a-z0-9\-]*[a-z0-9])?\.[A-Za-z0-9_]{1,1024}",
    re.ASCII,
)
"""`project.dataset`; an old project's id has a domain, as in `example.com:project`."""


class Refused(ProblemsFound):
    """What was asked for cannot be done with these files or this command line."""


class ServiceFailed(Exception):
    """BigQuery could not be asked, or refused a request.

    Args:
        sentence: What happened.
        done: What was changed before it.
    """

    def __init__(self, sentence: str, done: Sequence[Difference]) -> None:
        super().__init__(sentence)
        self.done = tuple(done)


def check(arguments: argparse.Namespace) -> int:
    """Finds every problem of table files, each alone and of all together, as the job would."""
    files = _texts(arguments.files)
    try:
        tables = _ours(files)
    except ProblemsFound as error:
        report(error.problems, arguments, asked=True)
        return FOUND
    if arguments.format == "json":
        found = [{"table": each.name, "columns": len(each.columns)} for each in tables]
        _json({"problems": [], "tables": found})
    else:
        for each in tables:
            _line(f"table {each.name}: {each.layout}, {len(each.columns)} columns")
    return FINE


def diff(arguments: argparse.Namespace) -> int:
    """Says how BigQuery differs; what `apply` would keep as it is does not count."""
    tables = _tables(arguments.files)
    with _service():
        from schemas import live_tables  # noqa: PLC0415 - leads to the client

        found = live_tables.differences(
            live_tables.steps(_client(arguments.dataset), arguments.dataset, tables)
        )
    _differences(found, arguments, {})
    return FOUND if _counts(found) else FINE


def apply(arguments: argparse.Namespace) -> int:
    """Makes BigQuery as declared, unless one of the differences is refused."""
    tables = _tables(arguments.files)
    done: list[Difference] = []
    with _service(done):
        from schemas import live_tables  # noqa: PLC0415 - leads to the client

        client = _client(arguments.dataset)
        steps = live_tables.steps(client, arguments.dataset, tables, arguments.location)
        found = live_tables.differences(steps)
        refused = any(each.action == Action.REFUSE for each in found)
        if refused or arguments.dry_run:
            _differences(found, arguments, {"applied": False})
            if refused:
                sys.stderr.write("refused: nothing was changed\n")
            return REFUSED if refused else FOUND if _counts(found) else FINE
        for each in live_tables.take(steps):
            done.append(each)
            if arguments.format == "text":
                _line(str(each))
    if arguments.format == "json":
        _differences(done, arguments, {"applied": True})
    return FINE


def infer(arguments: argparse.Namespace) -> int:
    """Proposes table files; what cannot be read is told on standard error."""
    try:
        proposals, unread = inferring.infer(
            _lines(arguments.recordings), arguments.collection, arguments.levels
        )
    except (OSError, UnicodeDecodeError) as error:
        problem = Problem(", ".join(arguments.recordings), f"cannot be read: {error}")
        raise Refused([problem]) from error
    for name, count in unread.counts.most_common():
        where, reason = unread.first[name]
        sys.stderr.write(f"not used: {count} {name}, the first {where}: {reason}\n")
    if not proposals:
        wanted = ", ".join(arguments.collection)
        what = f"no event of {wanted}" if wanted else "no event"
        raise Refused([Problem(", ".join(arguments.recordings), f"{what} to propose a table for")])
    if arguments.format == "json":
        unused = []
        for name, count in unread.counts.most_common():
            where, reason = unread.first[name]
            unused.append({"error": name, "count": count, "first": where, "reason": reason})
        _json({"tables": proposed.to_json(proposals), "not_used": unused})
    else:
        sys.stdout.write(proposed.to_yaml(proposals))
    return FINE


def render(arguments: argparse.Namespace) -> int:
    """Writes tables as BigQuery's JSON schema, for Terraform, or as a page."""
    tables = _tables(arguments.files)
    if arguments.table:
        names = ", ".join(table.name for table in tables)
        tables = [table for table in tables if table.name == arguments.table]
        if not tables:
            what = f"{arguments.table!r} is in none of the files"
            raise Refused([Problem("--table", what, f"there: {names}")])
    if arguments.form == "schema":
        _schemas(tables, arguments)
        return FINE
    write = rendering.terraform if arguments.form == "terraform" else rendering.markdown
    texts = {table.name: write(table) for table in tables}
    if arguments.format == "json":
        _json({"tables": texts})
    else:
        sys.stdout.write("\n".join(texts.values()))
    return FINE


def _schemas(tables: Sequence[Table], arguments: argparse.Namespace) -> None:
    found = {table.name: rendering.schema_json(table) for table in tables}
    if arguments.format == "json":
        _json({"tables": found})
        return
    if len(tables) > 1:
        what = f"{len(tables)} tables, and a schema is of one"
        remedy = f"add --table NAME: {', '.join(found)}; or --format json for all"
        raise Refused([Problem("--as schema", what, remedy)])
    _json(found[tables[0].name])


def report(problems: Iterable[Problem], arguments: argparse.Namespace, *, asked: bool) -> None:
    """Says what is wrong: lines for people, or the one JSON object.

    Args:
        problems: All of them.
        arguments: Of the command line.
        asked: Whether they are what was asked for, rather than why it is not done.
    """
    if arguments.format == "text":
        lines = sys.stdout if asked else sys.stderr
        lines.writelines(f"{problem}\n" for problem in problems)
        return
    found = []
    for problem in problems:
        at = problem if isinstance(problem, FileProblem) else None
        found.append(
            {
                "file": at.file if at else None,
                "line": at.line if at else None,
                "path": at.path if at else None,
                "where": problem.where,
                "what": problem.what,
                "remedy": problem.remedy,
            }
        )
    _json({"problems": found})


def report_failure(error: ServiceFailed, arguments: argparse.Namespace) -> None:
    """Says what BigQuery refused, and for scripts what was done before."""
    sys.stderr.write(f"{error}\n")
    if arguments.format == "json":
        _differences(error.done, arguments, {"error": str(error)})


def _lines(files: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each line and where it stands; a file's lines end with a line feed and nothing else."""
    for file in files:
        opened = sys.stdin.fileno() if file == "-" else file
        with open(opened, encoding="utf-8", newline="\n", closefd=file != "-") as lines:
            for number, line in enumerate(lines, start=1):
                yield f"{file}:{number}", line


def _texts(files: Sequence[str]) -> list[tuple[str, str]]:
    """Each file's name and text; the file that ships where none is named."""
    if not files:
        return [(SHIPPED, shipped_text())]
    found, problems = [], []
    for file in files:
        try:
            raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
            found.append((file, raw.decode("utf-8-sig")))
        except (OSError, UnicodeDecodeError) as error:
            problems.append(Problem(file, f"cannot be read: {error}"))
    if problems:
        raise Refused(problems)
    return found


def _ours(files: Sequence[tuple[str, str]]) -> list[Table]:
    """The files' tables, checked as those of one job: the file that ships may be one of them.

    Raises:
        ProblemsFound: With every problem.
    """
    all_ = parse_tables(files, shipped())
    count = len(read_files(files))
    return list(all_[len(all_) - count :])


def _tables(files: Sequence[str]) -> list[Table]:
    try:
        return _ours(_texts(files))
    except ProblemsFound as error:
        raise Refused(error.problems) from error


def _client(dataset: str) -> Any:
    from schemas import live  # noqa: PLC0415 - opens clients

    return live.bigquery_client(dataset.rpartition(".")[0])


@contextmanager
def _service(done: Sequence[Difference] = ()) -> Iterator[None]:
    """Turns what Google's clients raise into one sentence."""
    from google.api_core.exceptions import GoogleAPICallError  # noqa: PLC0415
    from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415
    from requests.exceptions import RequestException  # noqa: PLC0415

    try:
        yield
    except (GoogleAPICallError, GoogleAuthError, RequestException) as error:
        before = f"changes done before it: {len(done)}"
        sentence = f"BigQuery: {type(error).__name__}: {error}; {before}"
        raise ServiceFailed(sentence, done) from error


def _counts(found: Iterable[Difference]) -> bool:
    return any(each.action != Action.KEEP for each in found)


def _differences(
    found: Iterable[Difference], arguments: argparse.Namespace, more: dict[str, Any]
) -> None:
    if arguments.format == "text":
        for each in found:
            _line(str(each))
        return
    listed = [
        {"action": each.action, "where": each.where, "what": each.what, "remedy": each.remedy}
        for each in found
    ]
    _json({"dataset": arguments.dataset, "differences": listed, **more})


def _json(value: Any) -> None:
    _line(json.dumps(value, ensure_ascii=False, indent=2))


def _line(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
