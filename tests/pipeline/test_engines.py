"""Engines are the one place that knows runners."""

import ast
from dataclasses import replace
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.io.gcp.pubsub import PubsubMessage
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing import test_pipeline, test_stream
from apache_beam.testing.util import assert_that, equal_to
from google import pubsub_v1

from pipeline import engines
from pipeline.engines import DATAFLOW, DIRECT, NATIVE, STORAGE_WRITE
from pipeline.options import parse
from pipeline.read import ReadSubscription
from pipeline.recorded import ReadRecorded
from schemas.message import DEDUP_ID, Message
from schemas.table_file import parse_tables, shipped

PACKAGE = Path(engines.__file__).parent
RUNNERS = ("DirectRunner", "DataflowRunner", "PrismRunner", "Prism", "FnApiRunner", "FlinkRunner")
# Words for users: the option's default, and helps that say what holds on which runner.
WORDS_FOR_USERS = {"options.py": "OPTIONS"}


def settings(*argv):
    return parse(["--project=demo-project", *argv], lambda: "")


def test_direct_runner_is_the_fn_api_runner():
    """Beam would look for Prism first under the name DirectRunner; the job gets its own engine."""
    assert type(DIRECT.beam_runner()) is FnApiRunner


def test_direct_runner_stays_the_fn_api_runner_in_a_pipeline():
    """Nothing that Beam does with the pipeline's options exchanges it."""
    options = PipelineOptions(DIRECT.beam_flags(settings()))
    pipeline = beam.Pipeline(runner=DIRECT.beam_runner(), options=options)
    assert type(pipeline.runner) is FnApiRunner


def words(tree, left_out):
    """Strings and names of a module, without docstrings and what is left out."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    docstrings |= {  # of variables, which stand after them
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)
    }
    skipped = {
        id(inner)
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and node.target.id == left_out
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped or id(node) in docstrings:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.alias):
            yield node.name


def runners_named(source, left_out=None):
    found = words(ast.parse(source), left_out)
    return sorted({runner for word in found for runner in RUNNERS if runner in word})


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.name)
def test_no_other_module_names_a_runner(path):
    """Outside of docstrings and comments only engines.py knows what a runner is called."""
    named = runners_named(path.read_text(), WORDS_FOR_USERS.get(path.name))
    if path.name == "engines.py":
        assert named == ["DataflowRunner", "DirectRunner", "FnApiRunner"]
    else:
        assert named == []


def test_the_check_for_runners_sees_one():
    """Control: a name in a string, an import or a call is seen; one in a docstring is not."""
    assert runners_named('"""DirectRunner"""\nx = 1  # DirectRunner\n"""FnApiRunner"""\n') == []
    assert runners_named('def f():\n    if runner == "DirectRunner":\n        pass\n') == [
        "DirectRunner"
    ]
    assert runners_named("from apache_beam.runners import FlinkRunner\n") == ["FlinkRunner"]
    assert runners_named("beam.FnApiRunner()\n") == ["FnApiRunner"]


def test_sinks():
    """Each engine's first sink is its default; `--sink` takes another."""
    assert list(DIRECT.sinks) == [NATIVE, STORAGE_WRITE]
    assert list(DATAFLOW.sinks) == [STORAGE_WRITE]
    default = DIRECT.write_rows(settings())
    asked = DIRECT.write_rows(settings("--sink=storage_write", "--input_files=f"))
    assert (type(default).__name__, type(asked).__name__) == ("AppendRows", "WriteWithBeam")


def of_tables(count, *argv):
    """The objections to a job of so many tables, one of them the shipped default."""
    tables = parse_tables(
        [(f"{n}", f"table: t{n}\ncollections: [c{n}]") for n in range(count - 1)], shipped()
    )
    assert len(tables) == count
    return engines.objections(replace(settings(*argv), tables=tables))


@pytest.mark.parametrize(
    "argv",
    [
        ["--runner=DataflowRunner", "--region=r", "--temp_location=gs://b/t"],
        ["--sink=storage_write", "--input_files=f"],
    ],
)
def test_beam_s_sink_takes_twenty_tables(argv):
    """Each is a sink of its own in the graph: one more is refused before anything starts."""
    assert of_tables(20, *argv) == []
    [problem] = of_tables(21, *argv)
    assert problem.where == "--schema"
    assert problem.what.startswith("21 tables, and the storage_write sink takes 20")
    assert "native" in problem.remedy


def test_the_native_sink_takes_any_number_of_tables():
    """Its tables are not steps of the graph."""
    assert of_tables(200) == of_tables(200, "--sink=native") == []


def test_reads():
    """Files of recorded messages take the place of the subscription on both engines."""
    assert isinstance(DIRECT.read_messages(settings()), ReadSubscription)
    for engine in (DIRECT, DATAFLOW):
        assert isinstance(engine.read_messages(settings("--input_files=f")), ReadRecorded)


@pytest.mark.parametrize(
    ("argv", "place"),
    [
        (["--temp_location=gs://b/tmp"], "gs://b/parked"),
        (["--temp_location", "gs://b/tmp/"], "gs://b/parked"),
        (["--temp_location=gs://b/tmp", "--park=gs://c/p"], "gs://c/p"),
    ],
)
def test_where_dataflow_parks(argv, place):
    """Letters that Pub/Sub cannot take are parked where workers can write."""
    assert DATAFLOW.park(settings(*argv)) == place


def as_beam_reads(message):
    """The message as Beam's Python read makes it of the bytes that Dataflow hands over."""
    stamp = {"seconds": message.publish_time // 1_000_000}
    stamp["nanos"] = message.publish_time % 1_000_000 * 1_000 + 789
    given = pubsub_v1.types.PubsubMessage(
        data=message.data,
        attributes=message.attributes,
        message_id=message.message_id,
        publish_time=stamp,
    )
    return PubsubMessage._from_proto_str(pubsub_v1.types.PubsubMessage.serialize(given))


def test_a_message_as_beam_reads_it():
    """What Beam's read delivers is the same Message as our own read's, to the microsecond."""
    for micros in range(1_795_514_400_000_000, 1_795_514_402_000_000, 997):
        message = Message(b"\xff", {"a": "b"}, "7", micros)
        assert engines._message(as_beam_reads(message)) == message
    assert engines._message(PubsubMessage(None, {"a": "b"})) == Message(b"", {"a": "b"})


def test_dataflow_deduplicates_by_itself_within_ten_minutes():
    """Up to what `id_label` covers there is no state; beyond it our step drops and counts."""
    steps = {
        horizon: type(DATAFLOW.deduplicate(settings(f"--dedup_horizon={horizon}"))).__name__
        for horizon in (60, 600, 601, 86_400)
    }
    assert steps[60] == steps[600] != steps[601] == steps[86_400] == "DropRepeats"
    assert type(DATAFLOW.deduplicate(settings())).__name__ == steps[600]


def test_repeats_in_files_are_dropped_on_dataflow_too():
    """Only a read of Pub/Sub has `id_label`: files go through the step, whatever the horizon."""
    first, other = Message(b"1", {DEDUP_ID: "d"}), Message(b"2", {DEDUP_ID: "e"})
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        given = pipeline | beam.Create([first, other, first, first], reshuffle=False)
        kept = given | DATAFLOW.deduplicate(settings("--input_files=x", "--dedup_horizon=60"))
        assert_that(kept, equal_to([first, other]))


def test_the_longer_horizon_drops_repeats():
    """The stateful step lets the first of a `dedup_id` through, also when it has no attribute."""
    same = {DEDUP_ID: "d"}
    first, second = Message(b"1", same), Message(b"2", same)
    plain = Message(b"3", {"ce-id": "1", "ce-source": "s"})
    stream = (
        test_stream.TestStream()
        .add_elements([first, plain])
        .add_elements([second, plain])
        .advance_watermark_to_infinity()
    )
    with test_pipeline.TestPipeline(options=PipelineOptions(["--streaming"])) as pipeline:
        kept = pipeline | stream | DATAFLOW.deduplicate(settings("--dedup_horizon=3600"))
        assert_that(kept, equal_to([first, plain]))
