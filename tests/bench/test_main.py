"""The command line of `python -m bench`."""

import json

import pytest

import bench.__main__ as command
from bench import report


def test_the_help_names_the_benches(capsys):
    """All of them, and nothing that is none."""
    with pytest.raises(SystemExit) as ended:
        command.main(["--help"])
    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "steps, sink, sinks, end_to_end, memory, dedup, streams (default: all of them)" in text
    assert "[]" not in text


def test_an_unknown_bench_is_refused(capsys):
    """Exit code 2 and a sentence that names those that there are."""
    with pytest.raises(SystemExit) as ended:
        command.main(["step"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "'step' is none of steps, sink, sinks, end_to_end, memory, dedup, streams" in said


def test_no_name_is_all_of_them(monkeypatch, tmp_path):
    """Each one's figures are in a file of its own, with what they were measured on."""
    monkeypatch.setattr(report, "FOLDER", tmp_path / "made")
    monkeypatch.setattr(command, "BENCHES", {"a": lambda: {"x": 1}, "b": lambda: {"y": 2.5}})
    assert command.main(["--here"]) == 0
    files = {file.name: json.loads(file.read_text()) for file in (tmp_path / "made").iterdir()}
    figures = {name: content["figures"] for name, content in files.items()}
    assert figures == {"a.json": {"x": 1}, "b.json": {"y": 2.5}}
    assert all(content["machine"]["cores"] >= 1 for content in files.values())
