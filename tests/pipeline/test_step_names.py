"""Which steps an update would lose, and which mappings lead nowhere."""

import pytest
from apache_beam.portability.api import beam_runner_api_pb2

from pipeline.step_names import step_names, update_problems

RUNNING = ("Read", "Read/Pull", "Shape", "Shape/Map", "Write", "Write/a", "Write/a/Flush")


def told(new, mapping=None, running=RUNNING):
    return [str(problem) for problem in update_problems(running, new, mapping or {})]


def test_names_are_without_the_root():
    """The graph's own transform is no step, whatever it is called."""
    graph = beam_runner_api_pb2.Pipeline(root_transform_ids=["r"])
    graph.components.transforms["r"].unique_name = "ref_1"
    graph.components.transforms["s"].unique_name = "Read"
    assert step_names(graph) == {"Read"}


def test_the_same_steps():
    """Nothing is lost, nor where there are more."""
    assert told(RUNNING) == told([*RUNNING, "Write/b"]) == []


def test_a_step_that_is_gone():
    """It is told once, by its uppermost part, with the mapping that the reader may mean."""
    assert told(["Read", "Read/Pull", "Shape", "Shape/Map", "Write"]) == [
        (
            "--update: the running job has steps that the new one has not, and what they hold "
            "would be lost: Write/a (where they have other names now, or none: "
            "--transform_name_mapping "
            '\'{"Write/a": ""}\')'
        )
    ]


def test_a_renamed_step_and_a_removed_one():
    """One mapping for all, with what was mapped; names are looked for among what is new."""
    new = ["Read", "Read/Pull", "Shaped", "Shaped/Map", "Wrote"]
    [problem] = told(new, {"Write": "Wrote"}, [*RUNNING, "Read/Old"])
    assert "lost: Read/Old, Shape, Write/a (" in problem
    assert problem.endswith(
        """'{"Write": "Wrote", "Read/Old": "", "Shape": "Shaped", "Write/a": ""}')"""
    )


@pytest.mark.parametrize(
    "mapping",
    [
        {"Write": "Out", "Write/a": "Out/b"},
        {"Write": "Out", "Write/a": "Out/b", "Write/a/Flush": ""},
        {"Write": ""},
    ],
)
def test_a_mapping_goes_by_prefixes(mapping):
    """The longest prefix counts; '' removes what is below it."""
    new = ["Read", "Read/Pull", "Shape", "Shape/Map", "Out", "Out/b", "Out/b/Flush"]
    assert told(new, mapping) == []


def test_a_prefix_is_of_whole_names():
    """`Write` is no prefix of `Writer`."""
    new = ["Read", "Read/Pull", "Shape", "Shape/Map", "Writer"]
    [problem] = told(new, {"Write": ""}, [*RUNNING, "Writers"])
    assert "lost: Writers (" in problem


def test_mappings_from_and_onto_nothing():
    """Each is told, with what was perhaps meant; a step under a wrong target is not told again."""
    assert told([*RUNNING, "Form"], {"Shapes": "Form", "Read": "Reed"}) == [
        (
            "--transform_name_mapping: maps Read onto Reed, and the new job has no such step "
            "(did you mean Read?)"
        ),
        (
            "--transform_name_mapping: maps Shapes, and the running job has no such step "
            "(did you mean Shape?)"
        ),
    ]


def test_a_running_job_that_is_not_known():
    """Only the mapping's targets can be judged."""
    assert told(["A"], {"B": "A"}, None) == []
    assert told(["A"], {"B": "C"}, None) == [
        (
            "--transform_name_mapping: maps B onto C, and the new job has no such step "
            "(docs/dataflow.md says how steps are named)"
        )
    ]
