"""The graph, from recorded bytes to rows and failures."""

import json
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipeline import resident
from pipeline.append import AppendRows
from pipeline.build import build
from pipeline.engines import DATAFLOW, DIRECT
from pipeline.launch import run_stretch
from pipeline.metrics import RunTotals
from pipeline.options import parse
from pipeline.warm import seen_ids
from schemas import firestore
from schemas.failure import Failure
from schemas.recorded import from_line, to_line
from transforms.deduplicate import DropSeen

DATA = Path(__file__).parents[1] / "data"
FIRESTORE = DATA / "firestore_events.jsonl"
MIXED = DATA / "manual_and_poison.jsonl"

NAMES = [
    "ReadMessages",
    "Deduplicate",
    "DecodeEvents",
    "ShapeRows",
    "WriteRows",
    "PublishDeadLettersOfDecode",
    "PublishDeadLettersOfShape",
    "PublishDeadLettersOfWrite",
]


class CaptureRows(beam.PTransform):
    """A sink that keeps rows and refuses those whose issue_id is in a set."""

    def __init__(self, refused=()):
        super().__init__()
        self._refused = frozenset(refused)

    def expand(self, rows):
        return rows | beam.ParDo(_CaptureRow(self._refused)).with_outputs("failed", main="rows")


class _CaptureRow(beam.DoFn):
    def __init__(self, refused):
        self._refused = refused

    def process(self, row):
        if row.values["event_id"] in self._refused:
            failure = Failure(row.message, "write", "RowRefused", "not this one")
            return [beam.pvalue.TaggedOutput("failed", failure)]
        captured("rows").append(row)
        return []


class CaptureFailures(beam.PTransform):
    def expand(self, failures):
        return failures | beam.Map(lambda failure: captured("failures").append(failure))


def captured(what):
    return resident.resident((what,), list)


def deduplicate(settings):
    """The engine's own step, on a cache that no table has warmed."""
    return beam.ParDo(DropSeen(partial(seen_ids, 3_600.0), partial(seen_ids, 3_601.0)))


def run(pattern, refused=(), argv=()):
    """Runs the whole graph over recorded messages; returns rows, failures and counters."""
    settings = parse([f"--input_files={pattern}", *argv], lambda: "demo-project")
    engine = replace(
        DIRECT,
        deduplicate=deduplicate,
        sinks={"capture": lambda settings: CaptureRows(refused)},
        dead_letters=lambda settings: CaptureFailures(),
    )
    totals = RunTotals()
    totals.add(run_stretch(settings, engine))
    return captured("rows"), captured("failures"), totals


def messages(*files):
    return [from_line(line) for file in files for line in file.read_text().splitlines() if line]


def test_every_recorded_firestore_event_is_a_row():
    """Each event of the recording is one row of the default table, with its own message."""
    rows, failures, totals = run(FIRESTORE)
    given = messages(FIRESTORE)
    assert failures == []
    assert Counter(row.values["event_id"] for row in rows) == Counter(m.event_id for m in given)
    assert {row.message.data for row in rows} == {message.data for message in given}
    assert {row.table for row in rows} == {"issues_stream"}
    assert totals["shape", "good"] == len(given)
    assert Counter(row.values["operation"] for row in rows).keys() == {"CREATE", "UPDATE", "DELETE"}


def test_mixed_input_is_accounted_for():
    """Manual, flat, repeated and poisonous messages: each one row, or one failure, or dropped."""
    rows, failures, totals = run(MIXED)
    given = messages(MIXED)
    by_id = {message.event_id: message for message in given}
    seen = Counter(row.values["event_id"] for row in rows)
    failed = Counter(failure.message.event_id for failure in failures)
    assert set(seen) | set(failed) == set(by_id)
    assert set(seen) & set(failed) == set()
    assert set(seen.values()) == set(failed.values()) == {1}
    assert totals["deduplicate", "dropped"] == len(given) - len(by_id) > 0
    assert {failure.message.data for failure in failures} <= {message.data for message in given}
    assert all(failure.message == by_id[failure.message.event_id] for failure in failures)
    assert all(failure.reason for failure in failures)


def test_each_poison_has_its_error():
    """What is wrong with each poisonous message of the recording is named, by stage."""
    _, failures, _ = run(MIXED)
    named = {name_of(failure.message): (failure.stage, failure.error) for failure in failures}
    assert named == {
        "poison-0": ("decode", "InvalidDocument"),
        "poison-1": ("decode", "InvalidDocument"),
        "poison-2": ("decode", "InvalidDocument"),
        "poison-3": ("decode", "NoData"),
        "poison-4": ("decode", "UnsupportedType"),
        "poison-5": ("decode", "UnsupportedType"),
        "poison-6": ("decode", "InvalidJson"),
        "poison-7": ("decode", "NoData"),
        "poison-8": ("decode", "InvalidJson"),
        "poison-9": ("decode", "InvalidJson"),
        "b'just text'": ("decode", "InvalidJson"),
        "poison-11": ("decode", "InvalidAttribute"),
        "poison-12": ("decode", "InvalidAttribute"),
        "poison-13": ("shape", "OutsidePartitionRange"),
    }


def name_of(message):
    """Which of the recording's messages it is: its `ce-id` without the time, or its data."""
    return message.attributes.get("ce-id", repr(message.data)).partition("-2026")[0]


TABLES = {"teams": "teams", "comments": "issues/{issue}/comments"}


def table_files(folder, layout="structured"):
    """The flags of a job with two tables beside the shipped one."""
    for name, collections in TABLES.items():
        text = f'{{table: {name}, layout: {layout}, collections: ["{collections}"]}}'
        (folder / name).write_text(text)
    return [f"--schema={folder / name}" for name in TABLES]


@pytest.mark.parametrize("layout", ["structured", "changelog"])
def test_collections_go_to_their_tables(tmp_path, layout):
    """By id and by path pattern; the rest goes into the default table."""
    rows, failures, _ = run(FIRESTORE, argv=table_files(tmp_path, layout))
    assert failures == []
    taken = Counter((row.table, collection_of(row.message)) for row in rows)
    assert taken == Counter(
        (of if of in TABLES else "issues_stream", of)
        for of in map(collection_of, messages(FIRESTORE))
    )
    assert {of for _, of in taken} > {"issues", *TABLES}


def test_documents_of_no_table_are_dead_letters_where_that_is_asked(tmp_path):
    """`--unmatched dead_letters`: the default table takes its own collections alone."""
    argv = [*table_files(tmp_path), "--unmatched=dead_letters"]
    rows, failures, _ = run(FIRESTORE, argv=argv)
    of_no_table = [
        message
        for message in messages(FIRESTORE)
        if collection_of(message) not in {"issues", *TABLES}
    ]
    assert of_no_table
    assert [failure.message for failure in failures] == of_no_table
    assert {(failure.stage, failure.error) for failure in failures} == {("shape", "Unmatched")}
    assert len(rows) + len(failures) == len(messages(FIRESTORE))


def collection_of(message):
    """The innermost collection of a recorded event's document."""
    event = firestore.parse_event_data(message.data, message.attribute("content-type"))
    return (event.value.name or event.old_value.name).split("/")[-2]


def test_failures_of_the_sink_reach_the_publish():
    """A row that the sink refuses is a failure of stage write with its original message."""
    given = messages(FIRESTORE)
    rows, failures, _ = run(FIRESTORE, refused=[given[0].event_id])
    assert [(failure.stage, failure.message) for failure in failures] == [("write", given[0])]
    assert len(rows) == len(given) - 1


def test_the_next_event_goes_through(tmp_path):
    """A bad message between two good ones takes neither of them with it."""
    good = messages(FIRESTORE)[:2]
    bad = messages(MIXED)[-1]
    file = tmp_path / "m.jsonl"
    file.write_text("\n".join(map(to_line, [good[0], bad, good[1]])) + "\n\n")
    rows, failures, _ = run(file)
    assert {row.values["event_id"] for row in rows} == {message.event_id for message in good}
    assert [failure.message for failure in failures] == [bad]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{", "Expecting property name"),
        ("[]", "one JSON object a line"),
        ('{"data": "?"}', "data is not base64"),
        ('{"payload": {}}', "unknown key 'payload'"),
    ],
)
def test_a_line_that_is_no_recorded_message_ends_the_run(tmp_path, line, what):
    """A recording is ours to mend: the file, the line and what is wrong are told."""
    file = tmp_path / "m.jsonl"
    file.write_text(to_line(messages(FIRESTORE)[0]) + "\n" + line + "\n")
    with pytest.raises(Exception, match="mend the file") as raised:
        run(file)
    assert what in str(raised.value)
    [problem] = resident.raised.problems
    assert problem.where == f"{file}, line beginning {line!r}"


def top_level(engine, argv):
    settings = parse(argv, lambda: "demo-project")
    flags = PipelineOptions(engine.beam_flags(settings))
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=flags)
    build(pipeline, settings, engine)
    return [part.full_label for part in pipeline.transforms_stack[0].parts]


def test_step_names():
    """The names by which a running job is updated, the same on both engines and inputs."""
    native = {"native": lambda settings: AppendRows(settings.tables, settings.output_dataset)}
    dataflow = replace(DATAFLOW, sinks=native)  # its own sink is built in test_dataflow_graph
    longer = "--dedup_horizon=3600"
    assert top_level(DIRECT, []) == NAMES
    assert top_level(DIRECT, ["--input_files=x"]) == NAMES
    assert top_level(dataflow, []) == NAMES
    assert top_level(dataflow, [longer]) == NAMES


def test_settings_reach_the_parts():
    """Each part of the graph is given the settings, not defaults of its own."""
    seen = []

    def part(name, transform):
        return lambda settings: seen.append((name, settings)) or transform()

    settings = parse([], lambda: "demo-project")
    engine = replace(
        DIRECT,
        read=part("read", lambda: beam.Create([])),
        deduplicate=part("deduplicate", lambda: beam.Map(json.dumps)),
        sinks={"x": part("sink", CaptureRows), "y": part("other", CaptureRows)},
        dead_letters=part("dead_letters", CaptureFailures),
    )
    build(beam.Pipeline(runner=FnApiRunner()), settings, engine)
    assert [name for name, _ in seen] == ["read", "deduplicate", "sink", *["dead_letters"] * 3]
    assert all(given is settings for _, given in seen)
