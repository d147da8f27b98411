"""The command line: defaults, and every problem at once in exact words."""

import argparse
import threading
import time

import pytest
from google.api_core import exceptions
from google.auth.exceptions import DefaultCredentialsError

from pipeline import table_files
from pipeline.beam_flags import beam_flags
from pipeline.engines import DATAFLOW, DIRECT, ENGINES, objections
from pipeline.options import DESCRIPTION, OPTIONS, parse, parser
from schemas.problem import ProblemsFound

PROJECT = "--project=demo-project"
DATAFLOW_FLAGS = ["--runner=DataflowRunner", "--region=us-central1", "--temp_location=gs://b/tmp"]
UNPROVEN = "this job is not proven on it (choose DirectRunner or DataflowRunner)"
ID_FORM = "is not of the form a project id of 6 to 30 letters, digits and dashes"


def no_project():
    pytest.fail("the environment was asked for a project that the command line names")


def parsed(*argv):
    return parse([PROJECT, *argv], no_project, objections)


def test_defaults():
    """Without flags all names are the project's usual ones, and the runner is this machine."""
    settings = parse([], lambda: "from-environment")
    assert settings.runner == "DirectRunner"
    assert settings.project == "from-environment"
    assert settings.job_name == "issues-pubsub-to-bq"
    assert settings.input_subscription == (
        "projects/from-environment/subscriptions/issues-pipeline-sub"
    )
    assert settings.output_dataset == "from-environment.issues_ds"
    assert settings.dead_letter_topic == "projects/from-environment/topics/issues-dead-letter"
    assert [table.name for table in settings.tables] == ["issues_stream"]
    assert (settings.input_files, settings.sink, settings.park) == ("", "", "")
    assert (settings.dedup_horizon, settings.stop_when_idle) == (None, None)
    assert (settings.num_storage_api_streams, settings.triggering_frequency) == (None, 2)
    assert (settings.expansion_service, settings.check) == ("", False)
    assert settings.beam_args == ()


def test_everything_given():
    """Each flag reaches the settings; what is Beam's is kept for Beam, in order."""
    settings = parsed(
        "--job_name=my-job",
        "--input_subscription=projects/other-project/subscriptions/s-1",
        "--output_dataset=other-project:ds_2",
        "--dead_letter_topic=dead",
        "--dedup_horizon=7200",
        "--stop_when_idle=2.5",
        "--park=gs://b/parked",
        "--sink=native",
        "--expansion_service=localhost:8097",
        "--num_storage_api_streams=4",
        "--triggering_frequency=10",
        "--check",
        "--direct_num_workers",
        "1",
    )
    assert (settings.num_storage_api_streams, settings.triggering_frequency) == (4, 10)
    assert (settings.expansion_service, settings.check) == ("localhost:8097", True)
    assert settings.job_name == "my-job"
    assert settings.input_subscription == "projects/other-project/subscriptions/s-1"
    assert settings.output_dataset == "other-project.ds_2"
    assert settings.dead_letter_topic == "projects/demo-project/topics/dead"
    assert (settings.dedup_horizon, settings.stop_when_idle) == (7_200, 2.5)
    assert (settings.park, settings.sink) == ("gs://b/parked", "native")
    assert settings.beam_args == ("--direct_num_workers", "1")


@pytest.mark.parametrize(
    ("given", "full"),
    [
        ("ds", "demo-project.ds"),
        ("other-project.ds", "other-project.ds"),
        ("other-project:ds", "other-project.ds"),
    ],
)
def test_dataset_forms(given, full):
    """A dataset may be named with or without its project, by a dot or a colon."""
    assert parsed(f"--output_dataset={given}").output_dataset == full


@pytest.mark.parametrize(
    ("argv", "problems"),
    [
        ([PROJECT], []),
        ([PROJECT, *DATAFLOW_FLAGS], []),
        ([PROJECT, "--runner=FlinkRunner"], [f"--runner FlinkRunner: {UNPROVEN}"]),
        ([PROJECT, "--runner=PrismRunner"], [f"--runner PrismRunner: {UNPROVEN}"]),
        ([PROJECT, "--runner=directrunner"], [f"--runner directrunner: {UNPROVEN}"]),
        (["--project=x"], [f"--project: 'x' {ID_FORM}"]),
        (
            [],
            ["--project: not given, and the environment names none (give --project ID)"],
        ),
        (
            [PROJECT, "--input_topic=t"],
            [
                (
                    "--input_topic: the job reads a subscription: a topic read misses what came "
                    "before (give --input_subscription)"
                )
            ],
        ),
        (
            [PROJECT, "--input_subscription=projects/demo-project/topics/t"],
            [
                (
                    "--input_subscription: 'projects/demo-project/topics/t' is not of the form "
                    "NAME or projects/PROJECT/subscriptions/NAME"
                )
            ],
        ),
        (
            [PROJECT, "--output_dataset=a.b.c"],
            ["--output_dataset: 'a.b.c' is not of the form DATASET or PROJECT.DATASET"],
        ),
        (
            [PROJECT, "--job_name=My Job"],
            ["--job_name: 'My Job' is not of the form letters, digits and dashes, 63 at most"],
        ),
        (
            [PROJECT, "--dedup_horizon=1"],
            ["--dedup_horizon: 1 s is not between 60 and 604800"],
        ),
        (
            [PROJECT, "--stop_when_idle=nan"],
            ["--stop_when_idle: 'nan' is no number of seconds"],
        ),
        (
            [PROJECT, "--sink=bigquery"],
            ["--sink bigquery: is no sink (choose native or storage_write)"],
        ),
        (
            [PROJECT, "--sink=storage_write"],
            [
                (
                    "--sink storage_write: Beam's Java sink cannot stream on DirectRunner "
                    "(leave --sink out, or read recorded messages with --input_files)"
                )
            ],
        ),
        ([PROJECT, "--sink=storage_write", "--input_files=f"], []),
        (
            [PROJECT, "--direct_num_workers=4"],
            [
                (
                    "--direct_num_workers: 4 workers read only part of a subscription "
                    "(leave it out; several processes can share a subscription)"
                )
            ],
        ),
        (
            [PROJECT, "--direct_num_workers", "0"],
            [
                (
                    "--direct_num_workers: 0 workers read only part of a subscription "
                    "(leave it out; several processes can share a subscription)"
                )
            ],
        ),
        (
            [PROJECT, "--stop_when_idle=5", "--input_files=f"],
            ["--stop_when_idle: goes with a subscription; files end by themselves"],
        ),
        (
            [PROJECT, "--runner=DataflowRunner"],
            [
                "--region: Dataflow needs it (give --region us-central1)",
                "--temp_location: Dataflow needs it (give --temp_location gs://BUCKET/tmp)",
            ],
        ),
        (
            [PROJECT, *DATAFLOW_FLAGS, "--sink=native", "--stop_when_idle=5"],
            [
                (
                    "--sink native: writes twice when Dataflow retries a bundle "
                    "(leave --sink out: Beam's sink is exactly once there)"
                ),
                "--stop_when_idle: is DirectRunner's (drain the job on Dataflow instead)",
            ],
        ),
        (
            [PROJECT, *DATAFLOW_FLAGS, "--dataflow_service_options=streaming_mode_at_least_once"],
            [
                (
                    "streaming_mode_at_least_once: doubles what this job promises to write once "
                    "(leave it out)"
                )
            ],
        ),
        (
            [PROJECT, "--no_pipeline_type_check"],
            ["--no_pipeline_type_check: breaks Beam's typed rows (leave it out)"],
        ),
        (
            [PROJECT, "--streming", "--dedup_horizn=70", "--zzzzzzzz"],
            [
                (
                    "--dedup_horizn: is neither the job's flag nor Beam's "
                    "(did you mean --dedup_horizon?)"
                ),
                "--streming: is neither the job's flag nor Beam's (did you mean --streaming?)",
                "--zzzzzzzz: is neither the job's flag nor Beam's (--help lists the job's own)",
            ],
        ),
        ([PROJECT, "start"], ["start: is no flag, nor the value of one (flags begin with --)"]),
        (
            [PROJECT, "--region", "us-central1", "stray", "--streaming", "more"],
            [
                "stray: is no flag, nor the value of one (flags begin with --)",
                "more: is no flag, nor the value of one (flags begin with --)",
            ],
        ),
        (
            ["--project=x", "--stop_when_idle=soon", "--runner=FlinkRunner", "--sink=s", "--what"],
            [
                f"--project: 'x' {ID_FORM}",
                "--stop_when_idle: 'soon' is no number of seconds",
                "--what: is neither the job's flag nor Beam's (--help lists the job's own)",
                f"--runner FlinkRunner: {UNPROVEN}",
                "--sink s: is no sink (choose native or storage_write)",
            ],
        ),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else None,
)
def test_problems(argv, problems):
    """Every problem of a command line is told at once, in these words."""
    try:
        parse(argv, lambda: "", objections)
    except ProblemsFound as found:
        told = [str(problem) for problem in found.problems]
    else:
        told = []
    assert told == problems


def test_problems_of_table_files(tmp_path):
    """Files that cannot be read, and what is wrong inside the others, are told at once."""
    bad = tmp_path / "bad.yaml"
    bad.write_text("table: a-b\nlayout: round\n")
    with pytest.raises(ProblemsFound) as found:
        parsed(f"--schema={bad}", "--job_name=X Y")
    told = [str(problem) for problem in found.value.problems]
    assert told[0].startswith("--job_name: ")
    assert [text.split(": ")[1] for text in told[1:]] == ["$.table", "$.layout"]
    missing = tmp_path / "missing.yaml"
    with pytest.raises(ProblemsFound, match=f"--schema {missing}: cannot be read: "):
        parsed(f"--schema={missing}")


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("s3://x/y.yaml", "neither a local path nor gs://"),
        ("foo://x", "neither a local path nor gs://"),
        ("hdfs://h/x", "neither a local path nor gs://"),
        ("nul\0", "embedded null byte"),
    ],
)
def test_a_place_of_table_files_that_is_unknown(place, why):
    """Only what the flag's help names is read; all else is a problem beside the others."""
    with pytest.raises(ProblemsFound) as found:
        parsed(f"--schema={place}", "--job_name=X Y")
    told = [problem.where for problem in found.value.problems]
    assert told == ["--job_name", f"--schema {place}"]
    assert found.value.problems[1].what == f"cannot be read: {why}"


@pytest.mark.parametrize(
    "error",
    [
        DefaultCredentialsError("no credentials"),
        exceptions.Forbidden("not you"),
        OSError("broken"),
    ],
)
def test_a_table_file_that_may_not_be_read(monkeypatch, tmp_path, error):
    """The problems of the files that were read are told with it, each of its own."""

    def refuse(path):
        raise error

    monkeypatch.setattr(table_files.FileSystems, "open", refuse)
    bad = tmp_path / "bad.yaml"
    bad.write_text("table: a-b\n")
    with pytest.raises(ProblemsFound) as found:
        parsed("--schema=gs://nope/x.yaml", f"--schema={bad}")
    told = [str(problem) for problem in found.value.problems]
    assert told[0] == f"--schema gs://nope/x.yaml: cannot be read: {error}"
    assert [text.split(": ")[1] for text in told[1:]] == ["$.table"]


def test_what_a_file_that_is_missing_would_settle_is_not_judged(tmp_path):
    """Whether the tables go together is not asked before all of them are there."""
    shipped_name = tmp_path / "a"
    shipped_name.write_text("{table: issues_stream, collections: [x]}")
    with pytest.raises(ProblemsFound) as found:
        parsed(f"--schema={shipped_name}", f"--schema={tmp_path / 'missing'}")
    assert [problem.where for problem in found.value.problems] == [
        f"--schema {tmp_path / 'missing'}"
    ]


def test_a_read_that_hangs_has_a_deadline(monkeypatch, tmp_path):
    """As one of gs:// without credentials does; several wait side by side."""
    ended = threading.Event()
    monkeypatch.setattr(table_files, "_READ_SECONDS", 0.2)
    monkeypatch.setattr(table_files.FileSystems, "open", lambda path: ended.wait(30))
    began = time.monotonic()
    try:
        with pytest.raises(ProblemsFound) as found:
            parsed("--schema=gs://a/x", "--schema=gs://b/x", f"--schema={tmp_path / 'missing'}")
    finally:
        ended.set()
    assert time.monotonic() - began < 10
    remedy = "without credentials a read never ends: gcloud auth application-default login"
    told = [str(problem) for problem in found.value.problems]
    assert told[:2] == [
        f"--schema gs://{bucket}/x: not read within 0.2 s ({remedy})" for bucket in "ab"
    ]
    assert told[2].startswith(f"--schema {tmp_path / 'missing'}: cannot be read: ")


def test_the_deadline_of_the_reads_is_short():
    """Nobody waits for half a minute to be told."""
    assert table_files._READ_SECONDS < 30


def test_several_tables(tmp_path):
    """`--schema` can be given several times."""
    for name, more in (("a", "default: true"), ("b", "layout: flat")):
        (tmp_path / name).write_text(f"table: {name}\n{more}\n")
    settings = parsed(f"--schema={tmp_path / 'a'}", f"--schema={tmp_path / 'b'}")
    assert [table.name for table in settings.tables] == ["a", "b"]


def test_the_shipped_table_is_the_default_one_where_no_file_is(tmp_path):
    """So that a file for one more collection is all that it takes."""
    (tmp_path / "a").write_text("{table: a, collections: [x]}")
    settings = parsed(f"--schema={tmp_path / 'a'}")
    assert [table.name for table in settings.tables] == ["issues_stream", "a"]
    assert settings.unmatched == "default_table"
    assert parsed("--unmatched=dead_letters").unmatched == "dead_letters"
    with pytest.raises(ProblemsFound) as found:
        parsed("--unmatched=drop")
    assert str(found.value) == "--unmatched: 'drop' is none of default_table, dead_letters"


def test_flags_are_not_abbreviated():
    """`--sub` is no flag: an abbreviation would change its meaning when a flag is added."""
    with pytest.raises(ProblemsFound, match="--input_sub: is neither the job's flag nor Beam's"):
        parsed("--input_sub=s")


def test_beams_flags_are_known():
    """What a Dataflow launch needs is not taken for a mistake."""
    settings = parsed(
        *DATAFLOW_FLAGS,
        "--num_workers=2",
        "--update",
        "--transform_name_mapping={}",
        "--experiments=use_runner_v2",
        "--service_account_email=a@b.c",
        "--sdk_container_image=i",
        "--labels=a=b",
        "--subnetwork=s",
    )
    assert len(settings.beam_args) == 10


def test_help_says_first_what_it_does():
    """The help begins with what runs where, and names every option with its default."""
    text = parser().format_help()
    assert text.startswith("Runs the job on Dataflow; without --runner on this machine.\n")
    assert DESCRIPTION in text
    flat = " ".join(text.split())
    for option in OPTIONS:
        assert (f"--{option.name}" if option.flag else f"--{option.name} {option.metavar}") in flat
        if option.default:
            assert f"Default: {option.default.replace('{project}', 'PROJECT')}." in flat


def test_options_do_not_shadow_beams():
    """Of Beam's own flags the job takes over four, and hands them on where Beam needs them."""
    ours = {f"--{option.name}" for option in OPTIONS}
    assert ours & beam_flags().keys() == {"--runner", "--project", "--job_name"}
    flags = DATAFLOW.beam_flags(parsed(*DATAFLOW_FLAGS, "--job_name=j"))
    assert {"--job_name=j", PROJECT} <= set(flags)


def test_streaming_is_the_launchers_to_say():
    """A subscription makes a streaming job on both engines, files make none."""
    for engine in (DIRECT, DATAFLOW):
        assert "--streaming" in engine.beam_flags(parsed())
        assert "--streaming" not in engine.beam_flags(parsed("--input_files=f"))


def test_engines_by_name():
    """There is one engine a runner, by the name that the user gives."""
    assert list(ENGINES) == ["DirectRunner", "DataflowRunner"]
    assert isinstance(parser(), argparse.ArgumentParser)
