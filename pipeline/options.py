"""The job's options as data, and the settings that they give.

Everything that this page does not know is Beam's (`--region`, `--temp_location`, ...).
"""

import argparse
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pipeline.beam_flags import beam_problems
from pipeline.table_files import read_tables
from schemas.problem import Problem, ProblemsFound
from schemas.routing import DEFAULT_TABLE, UNMATCHED
from schemas.table import Table

DESCRIPTION = "Runs the job on Dataflow; without --runner on this machine."

_NAME = r"[A-Za-z][A-Za-z0-9\-_.~+%]{2,254}"  # of topics and subscriptions
_PROJECT = r"[a-z][a-z0-9\-]{4,28}[a-z0-9]"

Check = Callable[[str], str]
"""From an option's text to what is wrong with it; '' when nothing is."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option of the job.

    Args:
        name: Without the dashes.
        help: One sentence.
        default: What holds when it is not given; None: it stays unset.
        check: What is wrong with a text.
        metavar: What its value is called in the help.
        many: Whether it can be given several times.
        flag: Whether it stands alone, without a value.
    """

    name: str
    help: str
    default: str | None = None
    check: Check = field(default=lambda _: "")
    metavar: str = "NAME"
    many: bool = False
    flag: bool = False


def _matches(pattern: str, example: str) -> Check:
    compiled = re.compile(pattern)
    return lambda text: "" if compiled.fullmatch(text) else f"{text!r} is not of the form {example}"


def _whole(least: int, most: int) -> Check:
    def check(text: str) -> str:
        if not re.fullmatch("[0-9]{1,9}", text, re.ASCII):
            return f"{text!r} is no whole number"
        return "" if least <= int(text) <= most else f"{text} is not between {least} and {most}"

    return check


def _seconds(least: float, most: float) -> Check:
    def check(text: str) -> str:
        try:
            value = float(text)
        except ValueError:
            return f"{text!r} is no number of seconds"
        return "" if least <= value <= most else f"{text} s is not between {least:g} and {most:g}"

    return check


OPTIONS: tuple[Option, ...] = (
    Option(
        "runner",
        "DirectRunner runs the job in this process, DataflowRunner on Google's Dataflow.",
        "DirectRunner",
    ),
    Option(
        "project",
        "Google Cloud project whose names the other defaults use.",
        check=_matches(_PROJECT, "a project id of 6 to 30 letters, digits and dashes"),
        metavar="ID",
    ),
    Option(
        "job_name",
        "Name of the job; goes into dead letters.",
        "issues-pubsub-to-bq",
        _matches(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", "letters, digits and dashes, 63 at most"),
    ),
    Option(
        "input_subscription",
        "Pub/Sub subscription to read. Never a topic: that would miss what came before.",
        "projects/{project}/subscriptions/issues-pipeline-sub",
        _matches(
            rf"(projects/{_PROJECT}/subscriptions/)?{_NAME}",
            "NAME or projects/PROJECT/subscriptions/NAME",
        ),
    ),
    Option(
        "input_files",
        "Files of recorded messages to read instead, as a path or glob, local or gs://.",
        metavar="GLOB",
    ),
    Option(
        "output_dataset",
        "BigQuery dataset with the tables.",
        "{project}.issues_ds",
        _matches(rf"({_PROJECT}[.:])?[A-Za-z0-9_]{{1,1024}}", "DATASET or PROJECT.DATASET"),
    ),
    Option(
        "dead_letter_topic",
        "Pub/Sub topic for messages that cannot become rows.",
        "projects/{project}/topics/issues-dead-letter",
        _matches(rf"(projects/{_PROJECT}/topics/)?{_NAME}", "NAME or projects/PROJECT/topics/NAME"),
    ),
    Option(
        "schema",
        "Table file, local or gs://, of one table or several; can be given several times. Unless "
        "one of the tables is the default table, that of schemas/issues.yaml is.",
        metavar="FILE",
        many=True,
    ),
    Option(
        "unmatched",
        "Where documents go that no table's collections match: default_table or dead_letters.",
        DEFAULT_TABLE,
        lambda text: "" if text in UNMATCHED else f"{text!r} is none of {', '.join(UNMATCHED)}",
        metavar="WHERE",
    ),
    Option(
        "dedup_horizon",
        "Seconds for which a repeated message is recognised. "
        "Default: 3600 on DirectRunner, 600 on DataflowRunner.",
        check=_seconds(60, 604_800),
        metavar="SECONDS",
    ),
    Option(
        "sink",
        "native (Storage Write appends from Python) or storage_write (Beam's Java sink). "
        "Default: the runner's own.",
        metavar="SINK",
    ),
    Option(
        "stop_when_idle",
        "DirectRunner: end with exit code 0 once the subscription was empty for so many seconds "
        "and everything is written and acknowledged.",
        check=_seconds(0.1, 86_400),
        metavar="SECONDS",
    ),
    Option(
        "park",
        "Folder or gs:// place for dead letters that Pub/Sub cannot take. "
        "Default: build/parked here, parked under --temp_location on DataflowRunner.",
        metavar="PLACE",
    ),
    Option(
        "expansion_service",
        "Where Beam's Java sink comes from: the path of a jar, or HOST:PORT of a service that "
        "runs. Default: the jar that `make expansion` builds if it is there, else Beam's download.",
        metavar="PLACE",
    ),
    Option(
        "num_storage_api_streams",
        "Beam's Java sink, streaming: write streams for each table. "
        "Default: as many as Dataflow finds needed.",
        check=_whole(1, 1_000),
        metavar="COUNT",
    ),
    Option(
        "triggering_frequency",
        "Beam's Java sink, streaming: seconds for which rows are collected before they are "
        "appended.",
        "5",
        _whole(1, 3_600),
        metavar="SECONDS",
    ),
    Option(
        "check",
        "Asks Pub/Sub and BigQuery whether the job could start, says every reason why not, and "
        "starts nothing.",
        flag=True,
    ),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run is to do, checked; names are full.

    Args:
        runner: As the user named it.
        project: Google Cloud project.
        job_name: Goes into dead letters.
        input_subscription: `projects/P/subscriptions/S`.
        input_files: Glob of recorded messages, or '' to read the subscription.
        output_dataset: `project.dataset`.
        dead_letter_topic: `projects/P/topics/T`.
        tables: What the table files declare.
        unmatched: Where documents go that no table's collections match: `schemas.routing`.
        dedup_horizon: Seconds; None for the engine's default.
        sink: `native`, `storage_write`, or '' for the engine's default.
        stop_when_idle: Seconds, or None to run until told to stop.
        park: Place for letters that Pub/Sub cannot take, or '' for the default.
        expansion_service: Jar or HOST:PORT of Beam's Java sink, or '' for the default.
        num_storage_api_streams: Write streams a table of Beam's sink; None lets the runner choose.
        triggering_frequency: Seconds for which Beam's sink collects rows.
        check: Whether nothing is to be started.
        beam_args: What is Beam's to read.
    """

    runner: str
    project: str
    job_name: str
    input_subscription: str
    input_files: str
    output_dataset: str
    dead_letter_topic: str
    tables: tuple[Table, ...]
    unmatched: str
    dedup_horizon: float | None
    sink: str
    stop_when_idle: float | None
    park: str
    expansion_service: str
    num_storage_api_streams: int | None
    triggering_frequency: int
    check: bool = False
    beam_args: tuple[str, ...] = ()


class _Parser(argparse.ArgumentParser):
    """Says first what the command does, then how it is called."""

    def format_help(self) -> str:
        return f"{DESCRIPTION}\n\n{super().format_help()}"


def parser() -> argparse.ArgumentParser:
    """The command line's parser; its defaults are filled in by `parse`."""
    made = _Parser(
        prog="run_dataflow.py",
        epilog="Every other flag is Beam's, such as --region, --temp_location, --num_workers. "
        "PUBSUB_EMULATOR_HOST, BIGQUERY_EMULATOR_HOST and BIGQUERY_STORAGE_EMULATOR_HOST in the "
        "environment aim it at emulators.",
        allow_abbrev=False,
    )
    for option in OPTIONS:
        text = option.help
        if option.default is not None:
            shown = option.default.replace("{project}", "PROJECT")
            text += f" Default: {shown}."
        text = text.replace("%", "%%")
        if option.flag:
            made.add_argument(f"--{option.name}", help=text, action="store_true")
            continue
        made.add_argument(
            f"--{option.name}",
            metavar=option.metavar,
            help=text,
            action="append" if option.many else "store",
        )
    return made


def parse(
    argv: Sequence[str],
    default_project: Callable[[], str],
    check: Callable[["Settings"], list[Problem]] = lambda _: [],
) -> Settings:
    """Reads and checks the command line.

    Args:
        argv: Without the program's name.
        default_project: Asked for a project where the command line names none; '' for none.
        check: Objections to the settings as a whole; an option that is wrong by itself counts as
            not given there.

    Raises:
        ProblemsFound: With every problem at once.
    """
    known, beam_args = parser().parse_known_args(list(argv))
    given = {name: value for name, value in vars(known).items() if value is not None}
    problems = []
    for option in OPTIONS:
        if option.many or option.flag or option.name not in given:
            continue
        if wrong := option.check(given[option.name]):
            problems.append(Problem(f"--{option.name}", wrong))
            del given[option.name]
    problems += beam_problems(beam_args, [f"--{option.name}" for option in OPTIONS])
    project = known.project or default_project()
    if not project:
        problems.append(
            Problem("--project", "not given, and the environment names none", "give --project ID")
        )
    tables = read_tables(given.get("schema", ()), problems)
    text = {
        option.name: given.get(option.name) or (option.default or "").format(project=project)
        for option in OPTIONS
        if not option.many and not option.flag
    }
    streams = text["num_storage_api_streams"]
    settings = Settings(
        runner=text["runner"],
        project=project,
        job_name=text["job_name"],
        input_subscription=_full(text["input_subscription"], project, "subscriptions"),
        input_files=text["input_files"],
        output_dataset=_dataset(text["output_dataset"], project),
        dead_letter_topic=_full(text["dead_letter_topic"], project, "topics"),
        tables=tables,
        unmatched=text["unmatched"],
        dedup_horizon=float(text["dedup_horizon"]) if text["dedup_horizon"] else None,
        sink=text["sink"],
        stop_when_idle=float(text["stop_when_idle"]) if text["stop_when_idle"] else None,
        park=text["park"],
        expansion_service=text["expansion_service"],
        num_storage_api_streams=int(streams) if streams else None,
        triggering_frequency=int(text["triggering_frequency"]),
        check=known.check,
        beam_args=tuple(beam_args),
    )
    problems += check(settings)
    if problems:
        raise ProblemsFound(problems)
    return settings


def _full(name: str, project: str, kind: str) -> str:
    return name if "/" in name else f"projects/{project}/{kind}/{name}"


def _dataset(name: str, project: str) -> str:
    head, separator, tail = name.replace(":", ".").rpartition(".")
    return f"{head}.{tail}" if separator else f"{project}.{tail}"
