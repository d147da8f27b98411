"""The Flex Template's metadata: made of the options, with the fields that Dataflow has."""

import json
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from pipeline import flex_metadata
from pipeline.beam_flags import beam_flags
from pipeline.options import OPTIONS, parse
from schemas.problem import ProblemsFound

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "deploy/flex/metadata.json"
BY_NAME = {option.name: option for option in OPTIONS}
DATASET = "a" * 1_024
TEXTS = {
    "input_subscription": (
        ["issues-pipeline-sub", "projects/demo-project/subscriptions/s.1~2+3%4_5", "a" * 255],
        [
            *("projects/demo-project/topics/t", "1abc", "ab", "a" * 256, "", "a b", "abc\n"),
            *("projects/p/subscriptions/abc", "/projects/demo-project/subscriptions/abc", "äbc"),
        ],
    ),
    "output_dataset": (
        ["issues_ds", "demo-project.issues_ds", "demo-project:issues_ds", "1", DATASET],
        [DATASET + "a", "a.b.c", "demo-project.", "issues-ds", "", "a.b", "issues ds"],
    ),
    "dead_letter_topic": (
        ["issues-dead-letter", "projects/demo-project/topics/abc"],
        ["projects/demo-project/subscriptions/abc", "projects/demo-project/topics/", "9lives"],
    ),
    "unmatched": (
        ["default_table", "dead_letters"],
        ["default_tables", "drop", "", "default_table|dead_letters", "xdead_letters"],
    ),
    "dedup_horizon": (["60", "600.5", "604800"], ["1h", "", "-60", "6e2", "nan", "60.", "٦٠٠"]),
    "num_storage_api_streams": (["1", "1000"], ["1.5", "-1", "", "a", "٣"]),
    "triggering_frequency": (["1", "5", "3600"], ["5s", "", "0x5", " 5", "0.5"]),
}
# What only the command line refuses: no pattern compares numbers.
OUT_OF_RANGE = {
    "dedup_horizon": "59",
    "num_storage_api_streams": "1001",
    "triggering_frequency": "0",
}


def parameters():
    return {each["name"]: each for each in json.loads(COMMITTED.read_text("utf-8"))["parameters"]}


def test_the_file_is_what_the_options_give():
    """The command gives the file that is committed, byte by byte."""
    made = subprocess.run(
        [sys.executable, "-m", "pipeline.flex_metadata"],
        cwd=ROOT, capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    remedy = "python -m pipeline.flex_metadata > deploy/flex/metadata.json"
    assert made.stdout == COMMITTED.read_bytes(), remedy


def test_the_streaming_mode():
    """A streaming template that takes exactly once and nothing else, so without a default mode."""
    told = json.loads(COMMITTED.read_text("utf-8"))
    assert (told["streaming"], told["supportsExactlyOnce"]) == (True, True)
    assert told["supportsAtLeastOnce"] is False
    assert "defaultStreamingMode" not in told


def test_which_options_are_parameters():
    """All but what is for a run here, what the launcher gives by itself, what the image settles."""
    left_out = {option.name for option in OPTIONS} - parameters().keys()
    assert left_out == {
        *("runner", "project", "job_name", "input_files", "sink", "stop_when_idle"),
        *("expansion_service", "check", "drain"),
    }
    assert not any(BY_NAME[name].flag for name in parameters() if name in BY_NAME)


def test_every_parameter_is_optional_and_described():
    """A launch without parameters reads and writes the project's usual names."""
    for name, each in parameters().items():
        assert each["isOptional"] is True, name
        assert each["label"], name
        assert re.fullmatch(r"[A-Z.].*\.", each["helpText"]), name


def test_beams_flags_are_beams():
    """Each takes a value, and none is one that the launch request has a field of its own for."""
    for flag in flex_metadata.BEAM_FLAGS:
        assert beam_flags()[f"--{flag.name}"] is True
        assert flag.name not in BY_NAME


def test_defaults_and_choices_pass_their_own_patterns():
    """What a form proposes is taken."""
    for each in parameters().values():
        proposed = [each[key] for key in ("defaultValue",) if key in each]
        proposed += [choice["value"] for choice in each.get("enumOptions", ())]
        for text in proposed:
            assert all(re.search(pattern, text) for pattern in each.get("regexes", ())), each


def test_which_have_patterns():
    """Each option that the command line checks by a pattern has that same pattern here."""
    checked = {option.name for option in OPTIONS if option.in_template and option.regex}
    chosen = {option.name for option in OPTIONS if option.in_template and option.choices}
    assert {name for name, each in parameters().items() if "regexes" in each} == checked | chosen
    assert checked | chosen == TEXTS.keys()


def taken_by_command_line(name, text):
    """Whether the job's own check of one option takes a text."""
    problems = []
    try:
        parse(["--project=demo-project", f"--{name}={text}"], lambda: "")
    except ProblemsFound as error:
        problems = [problem.where for problem in error.problems]
    assert problems in ([], [f"--{name}"])
    return not problems


def taken_by_re2(pattern, text, how):
    """Whether RE2, which DuckDB has inside, finds a pattern: `full` as a whole, else anywhere."""
    function = "regexp_full_match" if how == "full" else "regexp_matches"
    [[taken]] = duckdb.execute(f"SELECT {function}(?, ?)", [text, pattern]).fetchall()
    return taken


@pytest.mark.parametrize("name", TEXTS)
def test_patterns(name):
    """Good and bad values fare alike: on the command line, and by RE2 as a whole or in part."""
    [pattern] = parameters()[name]["regexes"]
    good, bad = TEXTS[name]
    for text in (*good, *bad):
        expected = text in good
        assert taken_by_command_line(name, text) is expected, text
        assert bool(re.fullmatch(pattern, text)) is expected, text
        assert taken_by_re2(pattern, text, "full") is expected, text
        assert taken_by_re2(pattern, text, "part") is expected, text


def test_numbers_out_of_range_are_the_launchers_to_refuse():
    """A pattern takes them, the job's own check does not: the launch ends with its sentence."""
    for name, text in OUT_OF_RANGE.items():
        assert re.fullmatch(parameters()[name]["regexes"][0], text)
        assert not taken_by_command_line(name, text)
