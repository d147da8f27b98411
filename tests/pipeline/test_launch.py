"""From the command line to an exit code."""

import logging
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from google.api_core.exceptions import ServiceUnavailable

from pipeline import launch, metrics, read, resident
from pipeline.append import Sender
from pipeline.engines import DIRECT
from pipeline.launch import DONE, FAILED, REFUSED, banner, run_here
from pipeline.metrics import RunTotals
from pipeline.options import parse
from pipeline.outages import StoppedWaiting, ride_out
from schemas import live
from schemas.problem import Problem, ProblemsFound
from schemas.recorded import from_line
from tests.pipeline.test_build import FIRESTORE, CaptureFailures, CaptureRows, captured, deduplicate
from tests.pipeline.test_read import FakePuller, stopping_after

ROOT = Path(__file__).parents[2]
LINES = FIRESTORE.read_text().splitlines()
CAPTURING = replace(
    DIRECT,
    deduplicate=deduplicate,
    sinks={"capture": lambda settings: CaptureRows()},
    dead_letters=lambda settings: CaptureFailures(),
)


def settings(*argv):
    return parse(["--project=demo-project", *argv], lambda: "")


def command(*argv, **environment):
    """Runs the command where no credentials are to be had; returns the ended process."""
    bare = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "NO_GCE_CHECK": "true"}
    return subprocess.run(
        [sys.executable, "run_dataflow.py", *argv],
        cwd=ROOT,
        env=bare | {"CLOUDSDK_CONFIG": "/nonexistent"} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_needs_no_credentials():
    """`--help` works on a fresh machine, and begins with what runs where."""
    ended = command("--help")
    assert ended.returncode == 0
    assert ended.stdout.startswith("Runs the job on Dataflow; without --runner on this machine")
    assert ended.stderr == ""


def test_refused_in_one_sentence():
    """Another runner is refused with exit code 2, one sentence and no traceback."""
    ended = command("--runner=FlinkRunner", GOOGLE_CLOUD_PROJECT="demo-project")
    assert ended.returncode == REFUSED
    assert ended.stderr == (
        "--runner FlinkRunner: this job is not proven on it "
        "(choose DirectRunner or DataflowRunner)\n"
    )
    assert ended.stdout == ""


def test_no_project():
    """Without a project anywhere, the sentence says which flag to give."""
    ended = command()
    assert ended.returncode == REFUSED
    assert ended.stderr.splitlines()[-1] == (
        "--project: not given, and the environment names none (give --project ID)"
    )


def test_banner_for_google_cloud(monkeypatch):
    """The banner says what is read and written, and that it is Google Cloud."""
    monkeypatch.delenv(live.PUBSUB_EMULATOR_HOST, raising=False)
    monkeypatch.delenv(live.BIGQUERY_EMULATOR_HOST, raising=False)
    assert banner(settings(), DIRECT) == [
        "engine DirectRunner, job issues-pubsub-to-bq",
        "writing demo-project.issues_ds: issues_stream (BigQuery: Google Cloud; sink native)",
        "dead letters to projects/demo-project/topics/issues-dead-letter (Pub/Sub: Google Cloud)",
        "reading projects/demo-project/subscriptions/issues-pipeline-sub (Pub/Sub: Google Cloud)",
    ]


def test_banner_for_emulators(monkeypatch):
    """The banner names each emulator's address, and files where files are read."""
    monkeypatch.setenv(live.PUBSUB_EMULATOR_HOST, "127.0.0.1:1")
    monkeypatch.setenv(live.BIGQUERY_EMULATOR_HOST, "http://127.0.0.1:2")
    lines = banner(settings("--input_files=f.jsonl", "--sink=storage_write"), DIRECT)
    assert lines[1].endswith("(BigQuery: emulator at http://127.0.0.1:2; sink storage_write)")
    assert lines[2].endswith("(Pub/Sub: emulator at 127.0.0.1:1)")
    assert lines[3] == "reading f.jsonl"


def test_files_end_by_themselves(caplog):
    """A run over files reads them once, logs its counters and ends with 0."""
    with caplog.at_level(logging.INFO):
        assert run_here(settings(f"--input_files={FIRESTORE}"), CAPTURING) == DONE
    said = [record.getMessage() for record in caplog.records if record.name == "pipeline.launch"]
    assert f"decode.good {len(LINES)}" in said
    assert said[-1] == "done: everything read is written and acknowledged"


def with_puller(*bundles):
    """An engine that reads recorded messages from a fake subscription, and the puller."""
    source = FakePuller(bundles)
    given = settings()
    take = source.take

    def recorded(wait):
        return [
            replace(pulled, message=from_line(LINES[int(pulled.ack_id)])) for pulled in take(wait)
        ]

    source.take = recorded
    resident.resident(("puller", given.input_subscription), lambda: source)
    return given, source


def test_stretches_follow_each_other(monkeypatch, caplog):
    """A live run goes on stretch after stretch until it is told to stop; counters are summed."""
    monkeypatch.setattr(read, "STRETCH_BUNDLES", 3)
    given, source = with_puller(*stopping_after(*([f"{n}"] for n in range(10))))
    rows = captured("rows")
    with caplog.at_level(logging.INFO):
        assert run_here(given, CAPTURING) == DONE
    assert len(rows) == 10
    assert [event for event in source.events if event.startswith("ack")] == [
        f"ack {n}" for n in range(10)
    ]
    assert "read.messages 10" in caplog.messages
    assert "read.bundles 11" in caplog.messages


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains(number):
    """The bundle in hand is written and acknowledged, nothing more is taken, the exit code is 0."""

    def told():
        os.kill(os.getpid(), number)
        return ["1"]

    before = signal.getsignal(number)
    given, source = with_puller(["0"], told, ["2"], ["3"])
    rows = captured("rows")
    assert run_here(given, CAPTURING) == DONE
    assert source.events[:2] == ["take 0", "ack 0"]
    assert source.events[-1].startswith("ack")
    # The signal's handler runs in the main thread, at the latest before the next bundle but one.
    assert len(rows) == sum(event.startswith("ack") for event in source.events) <= 3
    assert signal.getsignal(number) is before


@pytest.mark.timeout(30)  # where it fails, it hangs
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_within_the_lock_of_the_stop_itself(number):
    """A signal that interrupts a wait for the stop, within its lock, neither hangs nor is lost."""
    before = signal.getsignal(number)
    with launch.stopped_by_signals():
        with resident.stopping._cond:
            signal.raise_signal(number)
        assert resident.stopping.wait(10)
        assert signal.getsignal(number) is signal.SIG_DFL  # so the second ends the process
    assert signal.getsignal(number) is before


class Away:
    """A table's writer while BigQuery is away."""

    def __init__(self):
        self.tried = 0
        self.closed = False

    def append(self, rows):
        return ride_out("BigQuery", self._refuse)

    def _refuse(self):
        self.tried += 1
        raise ServiceUnavailable("away")

    def close(self):
        self.closed = True


@pytest.mark.timeout(60)  # where it fails, it hangs
def test_a_job_that_must_end_does_not_wait_for_bigquery(until, capsys):
    """What rides out an outage is told to stop when a fault ends the job, and all is closed."""
    writer = Away()

    def fault():
        sender = resident.resident(("sender",), lambda: Sender(writer), Sender.close)
        sender.send([])
        until(lambda: writer.tried)
        raise ProblemsFound([Problem("subscription", "is gone")])

    given, _ = with_puller(["0"], fault)
    assert run_here(given, CAPTURING) == FAILED
    assert capsys.readouterr().err == "subscription: is gone\n"
    assert writer.closed


def test_a_subscription_lost_at_the_end_is_told(capsys, caplog):
    """A fault that the last acknowledgements meet is a sentence and a failure."""
    given, source = with_puller(*stopping_after(["0"]))

    def drain():
        raise ProblemsFound([Problem("subscription", "is gone", "create it")])

    source.drain = drain
    assert run_here(given, CAPTURING) == FAILED
    assert capsys.readouterr().err == "subscription: is gone (create it)\n"
    assert "done" not in caplog.text


def test_unsent_acknowledgements_are_a_failure(caplog):
    """A run that is told to stop says "done" only when Pub/Sub has every acknowledgement."""

    def told():
        resident.stop()
        return ["1"]

    given, source = with_puller(told)
    source.left = 3
    assert run_here(given, CAPTURING) == FAILED
    assert "3 acknowledgements not taken: those messages come again" in caplog.text
    assert "done" not in caplog.text


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ProblemsFound([Problem("a", "is wrong"), Problem("b", "too", "mend")]), None),
        (StoppedWaiting("told to stop while waiting for BigQuery: away"), "what was not"),
        (ValueError("ours"), "the job ended; what was not acknowledged comes again"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_ends_a_run(error, said, capsys, caplog):
    """Problems are told as sentences, a stop as a line, a fault of ours with its traceback."""
    given, source = with_puller(["0"], error)
    assert run_here(given, CAPTURING) == FAILED
    told = [record for record in caplog.records if record.name == "pipeline.launch"]
    if said is None:
        assert capsys.readouterr().err == "a: is wrong\nb: too (mend)\n"
        assert told == []
    else:
        [record] = told
        assert said in record.getMessage()
        assert bool(record.exc_info) == isinstance(error, ValueError)
    assert source.events == ["take 0", "ack 0"]


def test_everything_is_closed_at_the_end():
    """Whatever the outcome, what is resident in the process is closed."""
    closed = []
    for bundles in (stopping_after(), [ValueError("ours")]):
        given, _ = with_puller(*bundles)
        resident.resident(("thing",), lambda: "thing", closed.append)
        run_here(given, CAPTURING)
        resident.stopping.clear()
    assert closed == ["thing", "thing"]


def test_totals_add_up():
    """Counters of one name are one sum over steps and stretches; strangers' are left out."""

    class Counter:
        def __init__(self, namespace, name, committed):
            name = type("Name", (), {"namespace": namespace, "name": name})
            self.key = type("Key", (), {"metric": name})
            self.committed = committed

    totals = RunTotals()
    totals.add([Counter("dead_letters", "published", 1), Counter("dead_letters", "published", 2)])
    totals.add([Counter("dead_letters", "published", 3), Counter("beam", "else", 9)])
    totals.add([Counter("read", "messages", 5), Counter("read", "bytes", 0)])
    assert totals["dead_letters", "published"] == 6
    assert totals["beam", "else"] == totals["read", "bytes"] == 0
    assert totals.lines() == ["read.messages 5", "dead_letters.published 6"]
    assert set(metrics.ALL) > {("read", "messages"), ("dead_letters", "published")}
