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

# A template hands these patterns to Dataflow (`pipeline.flex_metadata`), whose own kind of regular
# expressions they must be as well: nothing that RE2 lacks, and no count above its 1,000.
_NAME = r"[A-Za-z][A-Za-z0-9\-_.~+%]{2,254}"  # of topics and subscriptions
_PROJECT = r"[a-z][a-z0-9\-]{4,28}[a-z0-9]"
_DATASET = r"[A-Za-z0-9_]{1,1000}[A-Za-z0-9_]{0,24}"
_SECONDS = r"[0-9]{1,9}(\.[0-9]{1,9})?"
_WHOLE = r"[0-9]{1,9}"

Check = Callable[[str], str]
"""From an option's text to what is wrong with it; '' when nothing is."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option of the job.

    Args:
        name: Without the dashes.
        help: One sentence.
        default: What holds when it is not given; None: it stays unset.
        regex: What its text must match as a whole; '' takes any.
        misfit: What is said of a text that does not match.
        choices: The only texts that it takes; () takes others.
        check: What is wrong with a text in a way that no pattern tells.
        metavar: What its value is called in the help.
        many: Whether it can be given several times.
        flag: Whether it stands alone, without a value.
        in_template: Whether the Flex Template has it as a parameter. It lacks what is for a run on
            this machine, what its launcher gives by itself, and what its image settles.
        label: What it is called in the template's form.
        kind: The parameter's type there (ParameterType of Dataflow's API): chooses the picker.
    """

    name: str
    help: str
    default: str | None = None
    regex: str = ""
    misfit: str = ""
    choices: tuple[str, ...] = ()
    check: Check = field(default=lambda _: "")
    metavar: str = "NAME"
    many: bool = False
    flag: bool = False
    in_template: bool = True
    label: str = ""
    kind: str = "TEXT"

    def wrong(self, text: str) -> str:
        """What is wrong with a text; '' when nothing is."""
        if self.choices and text not in self.choices:
            return f"{text!r} is none of {', '.join(self.choices)}"
        if self.regex and not re.fullmatch(self.regex, text):
            return f"{text!r} {self.misfit}"
        return self.check(text)

    def described(self) -> str:
        """Its help and its default."""
        if self.default is None:
            return self.help
        return f"{self.help} Default: {self.default.replace('{project}', 'PROJECT')}."


def _between(least: float, most: float, unit: str = "") -> Check:
    said = f"{unit} is not between {least:g} and {most:g}"
    return lambda text: "" if least <= float(text) <= most else f"{text}{said}"


OPTIONS: tuple[Option, ...] = (
    Option(
        "runner",
        "DirectRunner runs the job in this process, DataflowRunner on Google's Dataflow.",
        "DirectRunner",
        in_template=False,
    ),
    Option(
        "project",
        "Google Cloud project whose names the other defaults use.",
        regex=_PROJECT,
        misfit="is not of the form a project id of 6 to 30 letters, digits and dashes",
        metavar="ID",
        in_template=False,
    ),
    Option(
        "job_name",
        "Name of the job; goes into dead letters.",
        "issues-pubsub-to-bq",
        regex=r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?",
        misfit="is not of the form letters, digits and dashes, 63 at most",
        in_template=False,
    ),
    Option(
        "input_subscription",
        "Pub/Sub subscription to read. Never a topic: that would miss what came before.",
        "projects/{project}/subscriptions/issues-pipeline-sub",
        regex=rf"(projects/{_PROJECT}/subscriptions/)?{_NAME}",
        misfit="is not of the form NAME or projects/PROJECT/subscriptions/NAME",
        label="Input subscription",
        kind="PUBSUB_SUBSCRIPTION",
    ),
    Option(
        "input_files",
        "Files of recorded messages to read instead, as a path or glob, local or gs://.",
        metavar="GLOB",
        in_template=False,
    ),
    Option(
        "output_dataset",
        "BigQuery dataset with the tables.",
        "{project}.issues_ds",
        regex=rf"({_PROJECT}[.:])?{_DATASET}",
        misfit="is not of the form DATASET or PROJECT.DATASET",
        label="Output dataset",
    ),
    Option(
        "dead_letter_topic",
        "Pub/Sub topic for messages that cannot become rows.",
        "projects/{project}/topics/issues-dead-letter",
        regex=rf"(projects/{_PROJECT}/topics/)?{_NAME}",
        misfit="is not of the form NAME or projects/PROJECT/topics/NAME",
        label="Dead-letter topic",
        kind="PUBSUB_TOPIC",
    ),
    Option(
        "schema",
        "Table file, local or gs://, of one table or several. Unless one of the tables is the "
        "default table, that of schemas/issues.yaml is.",
        metavar="FILE",
        many=True,
        label="Table file",
        kind="GCS_READ_FILE",
    ),
    Option(
        "unmatched",
        "Where documents go that no table's collections match: default_table or dead_letters.",
        DEFAULT_TABLE,
        choices=tuple(UNMATCHED),
        metavar="WHERE",
        label="Documents without a table",
        kind="ENUM",
    ),
    Option(
        "dedup_horizon",
        "Seconds for which a repeated message is recognised. "
        "Default: 3600 on DirectRunner, 600 on DataflowRunner.",
        regex=_SECONDS,
        misfit="is no number of seconds",
        check=_between(60, 604_800, " s"),
        label="Seconds for which repeats are known",
        metavar="SECONDS",
    ),
    Option(
        "sink",
        "native (Storage Write appends from Python) or storage_write (Beam's Java sink). "
        "Default: the runner's own.",
        metavar="SINK",
        in_template=False,
    ),
    Option(
        "stop_when_idle",
        "DirectRunner: end with exit code 0 once the subscription was empty for so many seconds "
        "and everything is written and acknowledged.",
        regex=_SECONDS,
        misfit="is no number of seconds",
        check=_between(0.1, 86_400, " s"),
        metavar="SECONDS",
        in_template=False,
    ),
    Option(
        "park",
        "Folder or gs:// place for dead letters that Pub/Sub cannot take. "
        "Default: build/parked here, parked/ in the bucket of --temp_location on DataflowRunner.",
        metavar="PLACE",
        label="Place for letters that Pub/Sub cannot take",
        kind="GCS_WRITE_FOLDER",
    ),
    Option(
        "expansion_service",
        "Where Beam's Java sink comes from: the path of a jar, or HOST:PORT of a service that "
        "runs. Default: the jar that `make expansion` builds if it is there, else Beam's download.",
        metavar="PLACE",
        in_template=False,
    ),
    Option(
        "num_storage_api_streams",
        "Beam's Java sink, streaming: write streams for each table. "
        "Default: as many as Dataflow finds needed. A running job must be drained to change "
        "between a number and none.",
        regex=_WHOLE,
        misfit="is no whole number",
        check=_between(1, 1_000),
        label="Write streams of a table",
        metavar="COUNT",
        kind="NUMBER",
    ),
    Option(
        "triggering_frequency",
        "Beam's Java sink, streaming: seconds for which rows are collected before they are "
        "appended.",
        "2",
        regex=_WHOLE,
        misfit="is no whole number",
        check=_between(1, 3_600),
        label="Seconds between appends",
        metavar="SECONDS",
        kind="NUMBER",
    ),
    Option(
        "check",
        "Asks the services whether the job could start, says every reason why not, and "
        "starts nothing.",
        flag=True,
        in_template=False,
    ),
    Option(
        "drain",
        "DataflowRunner: tells the running job of this name to read no more and to end once what "
        "it has read is written; starts nothing.",
        flag=True,
        in_template=False,
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
        drain: Whether the running job is to end, and nothing to be started.
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
    drain: bool = False
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
        text = option.described().replace("%", "%%")
        if option.flag:
            made.add_argument(f"--{option.name}", help=text, action="store_true")
            continue
        made.add_argument(
            f"--{option.name}",
            metavar=option.metavar,
            help=f"{text} Can be given several times." if option.many else text,
            action="append" if option.many else "store",
        )
    return made


def parse(
    argv: Sequence[str],
    default_project: Callable[[], str],
    check: Callable[["Settings"], list[Problem]] = lambda _: [],
    ask: Callable[["Settings"], list[Problem]] = lambda _: [],
) -> Settings:
    """Reads and checks the command line.

    Args:
        argv: Without the program's name.
        default_project: Asked for a project where the command line names none; '' for none.
        check: Objections to the settings as a whole; an option that is wrong by itself counts as
            not given there.
        ask: What services have against them; not asked where an option is wrong by itself, since
            they would be asked for something else than what was meant.

    Raises:
        ProblemsFound: With every problem at once.
    """
    known, beam_args = parser().parse_known_args(list(argv))
    given = {name: value for name, value in vars(known).items() if value is not None}
    problems = []
    for option in OPTIONS:
        if option.many or option.flag or option.name not in given:
            continue
        if wrong := option.wrong(given[option.name]):
            problems.append(Problem(f"--{option.name}", wrong))
            del given[option.name]
    beams = beam_problems(beam_args, [f"--{option.name}" for option in OPTIONS])
    project = known.project or default_project()
    if not project:
        problems.append(
            Problem("--project", "not given, and the environment names none", "give --project ID")
        )
    tables = read_tables(given.get("schema", ()), problems)
    meant = not problems
    problems += beams
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
        drain=known.drain,
        beam_args=tuple(beam_args),
    )
    problems += check(settings)
    if meant:
        problems += ask(settings)
    if problems:
        raise ProblemsFound(problems)
    return settings


def _full(name: str, project: str, kind: str) -> str:
    return name if "/" in name else f"projects/{project}/{kind}/{name}"


def _dataset(name: str, project: str) -> str:
    head, separator, tail = name.replace(":", ".").rpartition(".")
    return f"{head}.{tail}" if separator else f"{project}.{tail}"
