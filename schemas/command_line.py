"""What `python -m schemas` takes, says and returns; `schemas.verbs` does the work."""

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence

from schemas import verbs
from schemas.infer import LEVELS
from schemas.verbs import REFUSED, SERVICE

EPILOG = """exit codes:
  0  All is well: nothing is wrong, nothing differs, or what was asked for is done.
  1  `check` found problems, `diff` differences, or `apply --dry-run` things to do.
  2  The command line or a file is wrong, or `apply` refused: nothing was changed.
  3  BigQuery could not be asked, or refused a request; the message says what was done before.

Each verb has a --help of its own. docs/schema.md has every key of a table file.
"""

BROKEN_PIPE = 141
"""What a shell reports of a program that ended because its reader did: 128 and SIGPIPE."""

_FILES = (
    "Table files on this machine (gs:// is for the job's --schema); - is standard input. Without "
    "one, the file that ships, schemas/issues.yaml."
)


def main(argv: Sequence[str]) -> int:
    """Runs a command line.

    Returns:
        The exit code, by `EPILOG`; `BROKEN_PIPE` where nobody reads what is written any longer,
        as after `| head`.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that has no such character shows its escape.
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            return _run(argv)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # What is still to be written goes nowhere, so that Python's own flush at the end is quiet.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return BROKEN_PIPE


def _run(argv: Sequence[str]) -> int:
    arguments = parser().parse_args(argv)
    verb: Callable[[argparse.Namespace], int] = arguments.verb
    try:
        return verb(arguments)
    except verbs.Refused as error:
        verbs.report(error.problems, arguments, asked=False)
        return REFUSED
    except verbs.ServiceFailed as error:
        verbs.report_failure(error, arguments)
        return SERVICE


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m schemas",
        description="Checks table files, compares them with BigQuery, and makes BigQuery so.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    adding = made.add_subparsers(title="verbs", required=True, metavar="VERB")

    check = _verb(adding, "check", verbs.check, "Finds every problem of table files.")
    _files(check)

    diff = _verb(adding, "diff", verbs.diff, "Says how BigQuery differs from the table files.")
    _files(diff)
    _dataset(diff)

    apply = _verb(
        adding,
        "apply",
        verbs.apply,
        "Makes BigQuery as the table files declare: creates what is missing, adds columns, "
        "changes what can be changed in place. Nothing is dropped, and if one thing is refused "
        "nothing is changed.",
    )
    _files(apply)
    _dataset(apply)
    apply.add_argument(
        "--dry-run", action="store_true", help="Say what would be done, and do nothing."
    )
    apply.add_argument(
        "--location",
        default="",
        help="Where a missing dataset is created, such as EU; it stays there for good. Default: "
        "BigQuery's own, US.",
    )

    infer = _verb(
        adding,
        "infer",
        verbs.infer,
        "Proposes table files for recorded messages, one document of YAML for each collection.",
    )
    infer.add_argument(
        "recordings",
        nargs="+",
        metavar="FILE",
        help="Recorded messages, one a line (schemas/recorded.py); - is standard input.",
    )
    infer.add_argument(
        "--collection",
        action="append",
        default=[],
        metavar="ID",
        help="Propose for this collection only; can be given several times.",
    )
    infer.add_argument(
        "--levels",
        type=_positive,
        default=LEVELS,
        metavar="N",
        help="How many levels of maps become columns, the document's own fields among them; what "
        f"is deeper is JSON. Default: {LEVELS}.",
    )

    rendering = _verb(
        adding, "render", verbs.render, "Writes tables for other tools and for readers."
    )
    _files(rendering)
    rendering.add_argument(
        "--as",
        dest="form",
        choices=("schema", "terraform", "markdown"),
        default="schema",
        help="BigQuery's JSON schema, for `bq mk --schema` and Terraform (the default); a resource "
        "for Terraform; or a Markdown page.",
    )
    rendering.add_argument("--table", default="", metavar="NAME", help="Write this table only.")
    return made


def _verb(
    adding: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    verb: Callable[[argparse.Namespace], int],
    sentence: str,
) -> argparse.ArgumentParser:
    made = adding.add_parser(name, help=sentence, description=sentence, allow_abbrev=False)
    made.set_defaults(verb=verb)
    made.add_argument(
        "--format",
        choices=("text", "json"),
        default="text",
        help="Lines for people (the default), or one JSON object for scripts.",
    )
    return made


def _files(made: argparse.ArgumentParser) -> None:
    made.add_argument("files", nargs="*", metavar="FILE", help=_FILES)


def _dataset(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--dataset",
        required=True,
        type=_dataset_name,
        metavar="PROJECT.DATASET",
        help="The dataset; BIGQUERY_EMULATOR_HOST in the environment aims at an emulator.",
    )


def _dataset_name(text: str) -> str:
    if not verbs.DATASET.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form PROJECT.DATASET")
    return text


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1")
    return int(text)
