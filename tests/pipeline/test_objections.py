"""Which of Beam's flags are refused, on which engine, in which words."""

import pytest

from pipeline import engines
from pipeline.beam_flags import beam_options
from pipeline.engines import objections
from pipeline.options import parse
from schemas.problem import Problem, ProblemsFound
from schemas.table_file import parse_tables, shipped

HERE = ("--project=demo-project",)
FILES = (*HERE, "--input_files=f")
DATAFLOW = (
    *HERE,
    "--runner=DataflowRunner",
    "--region=us-central1",
    "--temp_location=gs://b/t",
)
DATAFLOW_FILES = (*DATAFLOW, "--input_files=f")
OUT = "(leave it out)"
RUNNER_V2 = (
    "asks for an engine that cannot run this job "
    "(leave it out: streaming Python runs on Runner v2 with Streaming Engine alone)"
)
MODE = f"streaming_mode_at_least_once: doubles what this job promises to write once {OUT}"
BATCH = "unsafely_attempt_to_process_unbounded_data_in_batch_mode"

CASES = {
    "input-topic": [
        (
            (*HERE, "--input_topic=t"),
            (
                "--input_topic: the job reads a subscription: a topic read misses what came before "
                "(give --input_subscription)"
            ),
        )
    ],
    "no-type-check": [
        (
            (*base, "--no_pipeline_type_check"),
            f"--no_pipeline_type_check: breaks Beam's typed rows {OUT}",
        )
        for base in (HERE, DATAFLOW)
    ],
    "unsafe-triggers": [
        (
            (*base, "--allow_unsafe_triggers"),
            f"--allow_unsafe_triggers: lets Beam build triggers that lose data {OUT}",
        )
        for base in (HERE, DATAFLOW)
    ],
    "unstable-keys": [
        (
            (*base, "--allow_non_deterministic_key_coders"),
            (
                "--allow_non_deterministic_key_coders: lets Beam group by keys whose bytes can "
                f"differ: a repeat would not meet its first {OUT}"
            ),
        )
        for base in (HERE, DATAFLOW)
    ],
    "streaming-files": [
        (
            (*base, "--streaming"),
            (
                "--streaming: goes with a subscription: of files the sink writes when they end "
                "(leave it out: the job says by itself what it is)"
            ),
        )
        for base in (FILES, DATAFLOW_FILES)
    ],
    "runner": [
        (
            (*HERE, f"--runner={name}"),
            (
                f"--runner {name}: this job is not proven on it "
                "(choose DirectRunner or DataflowRunner)"
            ),
        )
        for name in ("FlinkRunner", "PrismRunner", "SparkRunner", "BundleBasedDirectRunner", "x")
    ],
    "streaming-sink": [
        (
            (*HERE, "--sink=storage_write"),
            (
                "--sink storage_write: Beam's Java sink cannot stream on DirectRunner "
                "(leave --sink out, or read recorded messages with --input_files)"
            ),
        )
    ],
    "workers": [
        (
            (*HERE, *flag),
            (
                f"--direct_num_workers: {count} workers read only part of a subscription "
                "(leave it out; several processes can share a subscription)"
            ),
        )
        for count in (0, 2)
        for flag in ((f"--direct_num_workers={count}",), ("--direct_num_workers", str(count)))
    ],
    "running-mode": [
        (
            (*HERE, f"--direct_running_mode={mode}"),
            (
                f"--direct_running_mode: {mode} puts workers outside of this thread or process, "
                f"where the cache of seen ids and the acknowledgements are not {OUT}"
            ),
        )
        for mode in ("multi_processing", "multi_threading")
    ],
    "bundle-repeat": [
        (
            (*HERE, "--direct_runner_bundle_repeat=1"),
            (
                "--direct_runner_bundle_repeat: processes every bundle again: rows are written "
                f"twice {OUT}"
            ),
        )
    ],
    "test-splits": [
        (
            (*HERE, '--direct_test_splits={"s": {"timings": [1], "fractions": [0.5]}}'),
            (
                "--direct_test_splits: is Beam's own test hook: it parts bundles at set places "
                f"{OUT}"
            ),
        )
    ],
    "native-sink": [
        (
            (*DATAFLOW, "--sink=native"),
            (
                "--sink native: writes twice when Dataflow retries a bundle "
                "(leave --sink out: Beam's sink is exactly once there)"
            ),
        )
    ],
    "at-least-once": [
        ((*DATAFLOW, *flag), MODE)
        for flag in (
            ("--dataflow_service_options=streaming_mode_at_least_once",),
            ("--dataflow_service_options", "a,streaming_mode_at_least_once"),
            (
                "--dataflow_service_option=x",
                "--dataflow_service_option=streaming_mode_at_least_once",
            ),
            ("--experiments=streaming_mode_at_least_once",),
            ("--experiment", "streaming_mode_at_least_once"),
            ("--experiments=a=1,b=2,streaming_mode_at_least_once",),
            ("--experiments=a=b=1,streaming_mode_at_least_once",),  # which Beam hands on as one
        )
    ],
    "other-engine": [
        ((*DATAFLOW, f"--experiments={name}"), f"--experiments {name}: {RUNNER_V2}")
        for name in (
            "disable_runner_v2",
            "disable_runner_v2_until_2023",
            "disable_runner_v2_until_v2.50",
            "disable_prime_runner_v2",
            BATCH,
        )
    ],
    "from-snapshot": [
        (
            (*DATAFLOW, "--create_from_snapshot=s"),
            (
                "--create_from_snapshot: starts from the state of a snapshot, and what came after "
                "it is read again (update or drain the running job instead)"
            ),
        )
    ],
    "other-pubsub": [
        (
            (*DATAFLOW, "--pubsub_root_url=https://pubsub.example"),
            (
                "--pubsub_root_url: lets the job read another Pub/Sub than the one whose "
                f"subscription was checked {OUT}"
            ),
        )
    ],
    "mapping-alone": [
        (
            (*DATAFLOW, '--transform_name_mapping={"a": "b"}'),
            (
                "--transform_name_mapping: goes with --update: a new job has no steps to map "
                "(add --update)"
            ),
        )
    ],
    "update-files": [
        (
            (*DATAFLOW_FILES, "--update"),
            (
                "--update: only a streaming job can be updated, and files make none "
                "(leave one of the two out)"
            ),
        )
    ],
}


@pytest.fixture(autouse=True)
def sink_is_there(monkeypatch):
    """Where Beam's Java sink comes from is judged in test_expansion.py, and is not asked here."""
    monkeypatch.setattr(engines, "expansion_problems", lambda settings: [])


def told(*argv):
    try:
        parse(argv, lambda: "", objections)
    except ProblemsFound as found:
        return [str(problem) for problem in found.problems]
    return []


@pytest.mark.parametrize(
    ("argv", "text"),
    [pytest.param(*case, id=name) for name, cases in CASES.items() for case in cases],
)
def test_refused(argv, text):
    """Each of these is refused in these words, and nothing else is said."""
    assert told(*argv) == [text]


def test_more_tables_than_beams_sink_takes(tmp_path):
    """tables-of-beam: each is a sink of its own in the graph."""
    file = tmp_path / "many.yaml"
    file.write_text("\n---\n".join(f"table: t{n}\ncollections: [c{n}]" for n in range(20)))
    assert len(parse_tables([(str(file), file.read_text())], shipped())) == 21
    assert told(*DATAFLOW, f"--schema={file}") == [
        (
            "--schema: 21 tables, and the storage_write sink takes 20: each is a sink of its own "
            "in the graph (let collections share a table; the native sink (DirectRunner) has no "
            "such maximum)"
        )
    ]
    assert told(*HERE, f"--schema={file}") == []


LET_THROUGH = (
    *(
        (*HERE, flag)
        for flag in (
            "--streaming",
            "--direct_num_workers=1",
            "--direct_running_mode=in_memory",
            "--direct_runner_bundle_repeat=0",
            "--direct_test_splits={}",
            "--save_main_session",
            "--profile_cpu",
            "--type_check_strictness=ALL_REQUIRED",
        )
    ),
    *(
        (*DATAFLOW, flag)
        for flag in (
            "--streaming",
            "--experiments=enable_prime",
            "--experiments=use_legacy_bq_sink",
            "--experiments=use_runner_v2",
            "--dataflow_service_options=streaming_mode_exactly_once",
            "--labels=mode=streaming_mode_at_least_once",
            "--update",
            "--update_compatibility_version=2.70.0",
            "--no_use_public_ips",
            "--element_processing_timeout_minutes=10",
            "--save_main_session",
            "--dataflow_endpoint=https://x",
        )
    ),
    (*DATAFLOW, "--update", '--transform_name_mapping={"a": "b"}'),
    (*DATAFLOW_FILES, "--experiments=enable_prime"),
)


@pytest.mark.parametrize("argv", LET_THROUGH, ids=lambda argv: argv[-1])
def test_let_through(argv):
    """What neither loses nor doubles is handed on to Beam."""
    assert told(*argv) == []


@pytest.mark.parametrize(
    ("argv", "texts"),
    [
        (["--streaming=false"], ["--streaming: Beam does not take it: ignored explicit argument "]),
        (["--num_workers=many"], ["--num_workers: Beam does not take it: invalid int value: "]),
        (["--num_workers"], ["--num_workers: Beam does not take it: expected one argument"]),
        (
            ["--direct_running_mode=odd", "--autoscaling_algorithm", "odd"],
            [
                "--direct_running_mode: Beam does not take it: invalid choice: 'odd'",
                "--autoscaling_algorithm: Beam does not take it: invalid choice: 'odd'",
            ],
        ),
        (
            ["--num_workers=x", "--direct_num_workers=2"],
            [
                "--num_workers: Beam does not take it: invalid int value: 'x'",
                "--direct_num_workers: 2 workers read only part of a subscription",
            ],
        ),
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_values_that_beam_does_not_take(argv, texts):
    """Each is told as a problem beside the others; Beam would print its usage and exit."""
    seen = told(*HERE, *argv)
    assert [text[: len(start)] for text, start in zip(seen, texts, strict=True)] == texts


def test_a_wrong_value_on_a_service(monkeypatch):
    """It does not end the process where Beam's sink is looked for, either."""
    monkeypatch.undo()
    seen = told(*DATAFLOW, "--num_workers=x")
    assert seen[0].startswith("--num_workers: Beam does not take it: invalid int value: 'x'")


def test_what_beams_flags_say():
    """A flag is read as Beam reads it; one that it does not take, or know, counts as not given."""
    said = beam_options(
        ["--num_workers", "3", "--streaming", "--experiments=a,b", "--what", "x", "--streaming=no"]
    )
    assert (said.num_workers, said.streaming, said.experiments) == (3, True, ["a", "b"])
    assert beam_options(["--num_workers=x"]).num_workers is None


def test_a_drain_needs_nothing_that_a_launch_needs(monkeypatch):
    """Where no Java is a running job can be drained all the same."""
    monkeypatch.setattr("pipeline.engines.expansion_problems", lambda _: [Problem("java", "no")])
    flags = ["--runner=DataflowRunner", "--project=demo-project", "--region=r"]
    parse([*flags, "--drain"], lambda: "", objections)
    with pytest.raises(ProblemsFound, match="java"):
        parse([*flags, "--temp_location=gs://b/tmp"], lambda: "", objections)
