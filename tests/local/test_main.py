"""The command line of the stack, where no emulator is needed."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

import local.__main__ as command
from local import identity, state
from local.layout import Options
from local.processes import ROOT


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The command line works in a folder of the test's own."""
    monkeypatch.setattr(command, "FOLDER", tmp_path)
    monkeypatch.setattr(
        command, "Options", lambda **given: replace(Options(**given), folder=tmp_path)
    )
    monkeypatch.setattr(command.signals, "raise_interrupted", lambda: None)
    monkeypatch.setattr(command.signals, "ignore", lambda: None)
    return tmp_path


def test_help_tells_every_flag_and_the_ready_line():
    """`run --help` works without an emulator and names what a script needs to know."""
    shown = subprocess.run(
        [sys.executable, "-m", "local", "run", "--help"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=True,
    ).stdout
    for word in ("--once", "--no-sample", "--keep", "--schema", "ready {...}", "build/local/env"):
        assert word in shown


def test_a_second_run_finds_the_first(folder, capsys):
    """It says where the first one's parts listen, starts nothing, and exits 1."""
    lock = state.claim(folder, 0, print)
    addresses = {"publisher": "http://h:1", "project": "demo-project"}
    state.write(folder, state.State(owner=identity.own(), addresses=addresses))
    assert command.main(["run", "--once"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert f"a stack is running already, started by process {os.getpid()}" in shown.err
    assert "http://h:1" in shown.err
    assert "python -m local stop" in shown.err
    lock.close()


def test_what_is_missing_ends_the_run_with_words(folder, capsys, monkeypatch):
    """On a machine without gcloud and Java the run exits 1, says what to install, and cleans up."""
    monkeypatch.setenv("PATH", str(folder))
    for name in ("JAVA_HOME", "PUBSUB_EMULATOR_HOST", "FIRESTORE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)
    assert command.main(["run"]) == 1
    shown = capsys.readouterr()
    assert "java: is not on PATH" in shown.err
    assert "install the Google Cloud CLI" in shown.err
    assert shown.out == ""
    assert state.read(folder) is None
    state.claim(folder, 0, print).close()


def test_stop_without_a_stack_says_so(folder, capsys):
    """There is nothing to stop, and that is no failure."""
    assert command.main(["stop"]) == 0
    assert "no stack is running" in capsys.readouterr().err


def test_a_recording_without_an_emulator_is_refused(folder, capsys, monkeypatch):
    """It would take and acknowledge what a subscription of Google Cloud has."""
    monkeypatch.delenv("PUBSUB_EMULATOR_HOST", raising=False)
    file = folder / "recorded.jsonl"
    assert command.main(["record", "--subscription", "any", str(file)]) == 1
    assert "PUBSUB_EMULATOR_HOST: is not set" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


def test_a_recording_does_not_write_over_one_that_broke_off(folder, capsys, monkeypatch):
    """What the earlier one acknowledged is nowhere else: the file is named and left."""
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:1")
    part = folder / "recorded.jsonl.part"
    part.write_text("kept")
    assert command.main(["record", "--subscription", "any", str(folder / "recorded.jsonl")]) == 1
    assert f"{part}: holds what a recording that broke off had" in capsys.readouterr().err
    assert part.read_text() == "kept"


def test_check_names_what_is_missing(folder, tmp_path, monkeypatch, capsys):
    """Without the Google Cloud SDK and Java: exit code 1, both named, with how to get them."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("PUBSUB_EMULATOR_HOST", "FIRESTORE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)
    assert command.main(["check"]) == 1
    told = capsys.readouterr().err
    assert "java: is not on PATH" in told
    assert "apt-get install" in told
    assert "gcloud: is not on PATH" in told


def test_table_files_are_read_before_anything_starts(folder, tmp_path, capsys):
    """What is wrong in a file, or can't be accounted for, is told at once; nothing is started."""
    wrong, flat = tmp_path / "wrong.yaml", tmp_path / "flat.yaml"
    wrong.write_text("table: mine\ncolour: red\n")
    flat.write_text("table: older\nlayout: flat\n")
    assert command.main(["run", "--schema", str(wrong), "--schema", str(flat)]) == 1
    assert f"{wrong}:2: $.colour: not a key of a table file" in capsys.readouterr().err
    assert command.main(["run", "--schema", str(flat)]) == 1
    assert "table older: its layout flat has no event_id" in capsys.readouterr().err
    assert {file.name for file in folder.iterdir()} == {"wrong.yaml", "flat.yaml"}
