"""What a stack leaves on disk, and how the next one reads it."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from local import identity, state
from local.identity import Identity
from local.layout import Addresses, exported, write_exports
from local.ports import wait_until
from local.processes import ROOT

GONE = Identity(2**22 - 1, "long ago")


def a_state(**more):
    return state.State(owner=identity.own(), **more)


def test_a_state_is_read_as_written(tmp_path):
    """Who runs the stack, what it started and where it listens come back equal."""
    written = a_state(
        make=GONE,
        children=(state.Process("job", Identity(7, "8")),),
        addresses={"publisher": "http://h:1"},
    )
    state.write(tmp_path, written)
    assert state.read(tmp_path) == written
    state.remove(tmp_path)
    assert state.read(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"owner": 1}', '{"owner": {"pid": 1}}'])
def test_a_state_of_another_form_is_none(tmp_path, text):
    """A file that some other version left, or half of one, is no state."""
    (tmp_path / "state.json").write_text(text)
    assert state.read(tmp_path) is None


def test_a_second_stack_finds_the_first(tmp_path):
    """While the lock is held, a claim is refused with the state of the holder."""
    first = state.claim(tmp_path / "new", 0, print)
    running = a_state(addresses={"publisher": "http://h:1"})
    state.write(tmp_path / "new", running)
    with pytest.raises(state.AlreadyRunningError) as refused:
        state.claim(tmp_path / "new", 0, print)
    assert refused.value.state == running
    first.close()
    state.claim(tmp_path / "new", 0, print).close()


def test_a_stack_whose_make_is_gone_is_waited_for(tmp_path):
    """A stack that is about to end, since its make was killed, is waited for, not reported."""
    said = []
    first = state.claim(tmp_path, 0, print)
    state.write(tmp_path, a_state(make=GONE))
    with pytest.raises(state.AlreadyRunningError):
        state.claim(tmp_path, 0.1, said.append)
    assert said == ["waiting for the last stack to end: its make is gone"]
    first.close()


def test_a_lock_ends_with_its_holder(tmp_path):
    """A stack that was killed by SIGKILL holds nothing."""
    script = (
        "import sys, time; from pathlib import Path; from local import state\n"
        "lock = state.claim(Path(sys.argv[1]), 0, print); print('held', flush=True)\n"
        "time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(state.AlreadyRunningError):
            state.claim(tmp_path, 0, print)
    finally:
        holder.kill()
        holder.wait()
    state.claim(tmp_path, 0, print).close()


def test_only_leftovers_of_the_same_start_are_killed():
    """Of what a killed stack left, only processes with that id and start are killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True
    )
    try:
        who = identity.of(process.pid)
        other = state.Process("reused", replace(who, started="another"))
        gone = state.Process("gone", GONE)
        assert state.kill_leftovers((other, gone)) == []
        assert process.poll() is None
        assert state.kill_leftovers((other, gone, state.Process("job", who))) == ["job"]
        assert process.wait(10) == -signal.SIGKILL
    finally:
        process.kill()


def test_the_env_can_be_sourced_and_is_known_again(tmp_path):
    """A shell that sources it has the variables; the next stack knows the addresses for its own."""
    addresses = Addresses("http://h:1", "http://h:2", "h:3", "h:4", "h:5", "a $project")
    write_exports(tmp_path, addresses)
    shown = subprocess.run(
        ["sh", "-c", f". {tmp_path}/env; env"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert {
        "PUBLISHER=http://h:1",
        "BIGQUERY_EMULATOR_HOST=http://h:2",
        "BIGQUERY_STORAGE_EMULATOR_HOST=h:3",
        "PUBSUB_EMULATOR_HOST=h:4",
        "FIRESTORE_EMULATOR_HOST=h:5",
        "GOOGLE_CLOUD_PROJECT=a $project",
    } <= set(shown)
    assert exported(tmp_path) == {"http://h:1", "http://h:2", "h:3", "h:4", "h:5", "a $project"}
    assert exported(tmp_path / "nowhere") == frozenset()


@pytest.mark.parametrize("late", [[], ["late"]], ids=["while it runs", "before it looks"])
def test_a_run_ends_when_its_make_is_killed(tmp_path, late):
    """SIGKILL to make is SIGTERM to what it started, which then can stop in order."""
    run = (
        "import json, os, sys, time\n"
        "from local import signals\n"
        "late = len(sys.argv) > 2\n"
        "if late:\n"
        "    print(os.getpid(), flush=True)\n"
        "    end = time.monotonic() + 20\n"
        "    while os.getppid() != 1 and time.monotonic() < end:\n"
        "        time.sleep(0.01)\n"
        "try:\n"
        "    signals.raise_interrupted()\n"
        "    signals.end_with_make()\n"
        "    if not late:\n"
        "        print(os.getpid(), flush=True)\n"
        "    time.sleep(60)\n"
        "except signals.Interrupted as signal:\n"
        "    open(sys.argv[1], 'w').write(str(signal))\n"
    )
    make = tmp_path / "make"
    make.write_text(f'#!/bin/sh\n"{sys.executable}" -c "$@" &\nwait\n')
    make.chmod(0o755)
    told = tmp_path / "told"
    process = subprocess.Popen(
        [str(make), run, str(told), *late],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"MAKELEVEL": "1"},
    )
    try:
        who = identity.of(int(process.stdout.readline()))
        assert who.alive()
    finally:
        process.kill()
        process.wait()
    assert wait_until(lambda: not who.alive(), time.monotonic() + 30)
    assert told.read_text() == "SIGTERM"


def test_make_is_only_looked_for_under_make(monkeypatch):
    """Without MAKELEVEL nothing above this process is taken for its make."""
    monkeypatch.delenv("MAKELEVEL", raising=False)
    assert identity.make_above() is None


def test_a_state_file_is_json_for_people_too(tmp_path):
    """It names each process and its id."""
    state.write(tmp_path, a_state(children=(state.Process("job", Identity(7, "8")),)))
    record = json.loads((tmp_path / "state.json").read_text())
    assert record["children"] == [{"name": "job", "identity": {"pid": 7, "started": "8"}}]
