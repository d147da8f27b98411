"""On DirectRunner everything from the read to the last publish is one fused stage.

The read acknowledges when its stage is done. A step of another stage would come after the
acknowledgement, and a kill between the two would lose what it was to write.
"""

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipeline.build import build
from pipeline.engines import DIRECT
from pipeline.options import parse
from transforms.attempt import FAILED
from transforms.decode import EVENTS, DecodeEvents
from transforms.shape import ROWS, ShapeRows

STEPS = (
    "ReadMessages/Pull",
    "Deduplicate",
    "DecodeEvents/Decode",
    "ShapeRows/Shape",
    "WriteRows/Append",
    "PublishDeadLettersOfDecode/Publish",
    "PublishDeadLettersOfShape/Publish",
    "PublishDeadLettersOfWrite/Publish",
)


@pytest.fixture
def settings():
    return parse([], lambda: "demo-project")


def graph(settings, made=build):
    """The pipeline as DirectRunner would be given it; nothing is run."""
    options = PipelineOptions(DIRECT.beam_flags(settings))
    pipeline = beam.Pipeline(runner=DIRECT.beam_runner(), options=options)
    made(pipeline, settings, DIRECT)
    return pipeline


def stages_of_steps(pipeline):
    """By step, the stages in which its work is done, as the runner fuses them.

    Of a splittable read only the part that reads counts: its first part makes one restriction.
    """
    _, stages = FnApiRunner().create_stages(pipeline.to_runner_api())
    found = {step: set() for step in STEPS}
    for number, stage in enumerate(stages):
        for transform in stage.transforms:
            step = next((s for s in STEPS if _is_of(transform.unique_name, s)), None)
            before_reading = transform.unique_name.endswith(
                ("/PairWithRestriction", "/SplitAndSizeRestriction", "/SplitWithSizing")
            )
            if step and not before_reading:
                found[step].add(number)
    return found


def _is_of(name, step):
    return name == step or name.startswith(f"{step}/")


def assert_one_stage(pipeline):
    """The check itself: every step is there, and all of them are in one and the same stage."""
    found = stages_of_steps(pipeline)
    assert all(found.values()), f"a step is missing: {found}"
    assert len(set.union(*found.values())) == 1, f"the stage is broken apart: {found}"


def test_one_stage(settings):
    """From the read's process step to the three publishes all is one stage."""
    assert_one_stage(graph(settings))


def test_one_stage_with_several_tables(settings, tmp_path):
    """Several tables break nothing apart."""
    files = []
    for name, more in (("a", "default: true"), ("b", "collections: [bs]"), ("c", "layout: flat")):
        files.append(tmp_path / f"{name}.yaml")
        files[-1].write_text(f"table: {name}\n{more}\n")
    several = parse([f"--schema={file}" for file in files], lambda: "demo-project")
    assert len(several.tables) == 3
    assert_one_stage(graph(several))


def flattened(pipeline, settings, engine):
    """The graph as one would first write it: the failures flattened, and published once."""
    messages = pipeline | "ReadMessages" >> engine.read_messages(settings)
    fresh = messages | "Deduplicate" >> engine.deduplicate(settings)
    decoded = fresh | "DecodeEvents" >> DecodeEvents()
    shaped = decoded[EVENTS] | "ShapeRows" >> ShapeRows(settings.tables)
    written = shaped[ROWS] | "WriteRows" >> engine.write_rows(settings)
    failed = (decoded[FAILED], shaped[FAILED], written[FAILED]) | beam.Flatten()
    for name in ("Decode", "Shape", "Write"):
        failed | f"PublishDeadLettersOf{name}" >> engine.dead_letters(settings)


def reshuffled(pipeline, settings, engine):
    """The graph with a Reshuffle before the write."""
    messages = pipeline | "ReadMessages" >> engine.read_messages(settings)
    fresh = messages | "Deduplicate" >> engine.deduplicate(settings)
    decoded = fresh | "DecodeEvents" >> DecodeEvents()
    shaped = decoded[EVENTS] | "ShapeRows" >> ShapeRows(settings.tables)
    written = shaped[ROWS] | beam.Reshuffle() | "WriteRows" >> engine.write_rows(settings)
    for name, step in (("Decode", decoded), ("Shape", shaped), ("Write", written)):
        step[FAILED] | f"PublishDeadLettersOf{name}" >> engine.dead_letters(settings)


@pytest.mark.parametrize("broken", [flattened, reshuffled])
def test_the_check_sees_a_broken_stage(settings, broken):
    """Controls: with a Flatten or a Reshuffle the same check fails, so it can fail."""
    with pytest.raises(AssertionError, match="the stage is broken apart"):
        assert_one_stage(graph(settings, broken))
