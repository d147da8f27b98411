"""Before a start: services are asked side by side, within a deadline; all that is found is told."""

import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.api_core import exceptions
from google.auth.exceptions import RefreshError

from pipeline import preflight, questions, refusals
from pipeline.launch import DONE, REFUSED, checked, main
from pipeline.options import parse
from pipeline.preflight import examine, report
from pipeline.questions import Findings, Inquiry, found_by
from schemas import live
from schemas.problem import Problem

ROOT = Path(__file__).parents[2]
SUBSCRIPTION = "--input_subscription projects/demo-project/subscriptions/issues-pipeline-sub"
DEAD = "--dead_letter_topic projects/demo-project/topics/issues-dead-letter"
TABLE = "table demo-project.issues_ds.issues_stream"
PUBSUB = (live.PUBSUB_EMULATOR_HOST,)
EMULATORS = (*PUBSUB, live.BIGQUERY_EMULATOR_HOST, live.BIGQUERY_STORAGE_EMULATOR_HOST)
AWAY = exceptions.ServiceUnavailable("connection refused")
NOWHERE = "127.0.0.1:1"
MISSING = Problem("x", "is not there")


def settings(*argv):
    return parse(["--project=demo-project", *argv], lambda: "")


def aim(monkeypatch, address):
    """Aims Pub/Sub and BigQuery at an address."""
    for name in EMULATORS:
        rest = name == live.BIGQUERY_EMULATOR_HOST
        monkeypatch.setenv(name, f"http://{address}" if rest else address)


@contextmanager
def silent():
    """A server that takes connections and never says a word; yields its address."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        host, port = server.getsockname()
        yield f"{host}:{port}"


def where(problems):
    return [problem.where for problem in problems]


@pytest.mark.parametrize("kind", ["silent", "refused"])
def test_services_that_do_not_answer(monkeypatch, kind):
    """Google's own clients meet a service that is silent, or not there: it ends in time.

    What was not found out is told, and is no problem: the job itself waits for a service.
    """
    with silent() as address:
        aim(monkeypatch, address if kind == "silent" else NOWHERE)
        began = time.monotonic()
        found = examine(settings())
        took = time.monotonic() - began
    assert took < 8
    assert found.problems == ()
    assert where(found.unchecked) == [SUBSCRIPTION, DEAD, TABLE]
    assert all("does not answer" in each.what for each in found.unchecked)


def test_the_whole_command_is_over_in_time():
    """Where services are silent `--check` says so six seconds after what Python and Beam take.

    So within ten seconds where these are there in four; how long they take here, a command that
    asks nobody tells.
    """
    began = time.monotonic()
    assert command("--project=demo-project", "--sink=none", "--check").returncode == REFUSED
    starting = time.monotonic() - began
    with silent() as address:
        began = time.monotonic()
        ended = command("--project=demo-project", "--check", aimed_at=address)
        took = time.monotonic() - began
    assert ended.returncode == DONE
    assert ended.stdout.startswith(
        "checked: 1\n  --park build/parked: can be written\ncould not be checked: 3\n"
    )
    assert ended.stdout.endswith("problems: none\n")
    assert took < 2 * starting + preflight._PATIENCE


def command(*argv, aimed_at="", **environment):
    """Runs the command where no credentials are to be had; returns the ended process."""
    bare = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "NO_GCE_CHECK": "true"}
    if aimed_at:
        bare |= dict.fromkeys(EMULATORS, aimed_at)
        bare[live.BIGQUERY_EMULATOR_HOST] = f"http://{aimed_at}"
    return subprocess.run(
        [sys.executable, "run_dataflow.py", *argv],
        cwd=ROOT,
        env=bare | {"CLOUDSDK_CONFIG": "/nonexistent"} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# Credentials


@contextmanager
def token_endpoint(status, body):
    """A token endpoint that gives one answer; yields its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def service_account(tmp_path, monkeypatch):
    """Aims Google's clients at Google, with the key of an account made up on the spot."""
    for name in EMULATORS:
        monkeypatch.delenv(name, raising=False)

    def use(token_uri):
        key = rsa.generate_private_key(65_537, 2_048).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        file = tmp_path / "account.json"
        account = {
            "type": "service_account",
            "client_email": "a@demo-project.iam.gserviceaccount.com",
            "private_key": key.decode(),
            "private_key_id": "1",
            "token_uri": token_uri,
        }
        file.write_text(json.dumps(account))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))

    return use


def test_credentials_that_are_refused(service_account):
    """Told as such, at once: a gRPC client would say that the service is away."""
    refused = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
    with token_endpoint(400, refused) as address:
        service_account(f"http://{address}/token")
        began = time.monotonic()
        found = examine(settings())
    assert time.monotonic() - began < 5
    [problem] = found.problems
    assert problem.where == "credentials"
    assert "invalid_grant: Invalid JWT Signature." in problem.what
    assert problem.remedy == refusals.CREDENTIALS.remedy


def test_credentials_whose_endpoint_is_silent(service_account, monkeypatch):
    """Everything is over in time all the same; nothing is known, and nothing is refused."""
    with silent() as address:
        service_account(f"http://{address}/token")
        for name in PUBSUB:
            monkeypatch.setenv(name, NOWHERE)
        began = time.monotonic()
        found = examine(settings())
    assert time.monotonic() - began < 8
    assert found.problems == ()
    assert where(found.unchecked) == ["credentials", SUBSCRIPTION, DEAD, TABLE]


def test_a_token_is_asked_for_where_something_asks_google(monkeypatch):
    """With one emulator of the two, Google is asked for the other; with both, never."""
    aim(monkeypatch, NOWHERE)
    calls = []
    monkeypatch.setattr(
        preflight.google.auth, "default", lambda **_: calls.append(1) or (Refusing(), "p")
    )
    assert where(examine(settings(), patience=0.4).problems) == []
    assert calls == []
    monkeypatch.delenv(live.PUBSUB_EMULATOR_HOST)
    assert where(examine(settings(), patience=2).problems) == ["credentials"]
    assert calls == [1]


class Refusing:
    def refresh(self, request):
        raise RefreshError("Reauthentication is needed.")


def test_no_credentials_on_the_command_line():
    """One sentence that says what to do, exit code 2, no traceback; `--check` says the same."""
    ended = command("--project=demo-project")
    assert ended.returncode == REFUSED
    told = ended.stderr.splitlines(keepends=True)[-1]  # Google's own client may warn before it
    assert told.startswith("credentials: Your default credentials were not found.")
    assert told.endswith(
        "(run gcloud auth application-default login, or aim the job at emulators)\n"
    )
    assert "Traceback" not in ended.stderr
    ended = command("--project=demo-project", "--check")
    assert ended.returncode == REFUSED
    assert ended.stdout.startswith(
        "checked: 1\n  --park build/parked: can be written\n"
        "could not be checked: none\nproblems: 1\n  credentials: Your default"
    )


# All at once


def test_flags_and_services_at_once(monkeypatch):
    """What is wrong with a flag does not keep from being told what a service has to say."""
    aim(monkeypatch, NOWHERE)
    seen = Findings(("a",), (Problem("b", "?"),), (Problem("c", "is wrong"),))
    monkeypatch.setattr("pipeline.launch.examine", lambda settings: seen)
    found = checked(["--project=demo-project", "--direct_num_workers=2", "--allow_unsafe_triggers"])
    assert found[0] is None
    assert where(found[1].problems) == ["--allow_unsafe_triggers", "--direct_num_workers", "c"]
    assert (found[1].checked, found[1].unchecked) == (seen.checked, seen.unchecked)


@pytest.mark.parametrize(
    "wrong", ["--input_subscription=x/y", "--project=X", "--schema=/nonexistent"]
)
def test_services_are_not_asked_for_something_else(monkeypatch, wrong):
    """Where a name is wrong, its default would be asked for: nobody meant that."""
    asked = []
    monkeypatch.setattr("pipeline.launch.examine", lambda settings: asked.append(1))
    assert checked(["--project=demo-project", wrong])[0] is None
    assert asked == []


def test_check_starts_nothing(monkeypatch, capsys):
    """The three groups go to the output; exit code 0 without problems, 2 with one."""
    started = []
    monkeypatch.setattr("pipeline.launch.run_here", lambda *_: started.append(1) or DONE)
    seen = Findings(("a is well",), (Problem("b", "does not answer", "wait"),))
    monkeypatch.setattr("pipeline.launch.examine", lambda settings: seen)
    assert main(["--project=demo-project", "--check"]) == DONE
    assert capsys.readouterr().out == (
        "checked: 1\n  a is well\ncould not be checked: 1\n  b: does not answer (wait)\n"
        "problems: none\n"
    )
    assert main(["--project=demo-project", "--check", "--direct_num_workers=2"]) == REFUSED
    assert "problems: 1\n  --direct_num_workers: 2 workers" in capsys.readouterr().out
    assert main(["--project=demo-project", "--direct_num_workers=2"]) == REFUSED
    assert started == []


def test_what_was_not_checked_is_logged_at_a_start(monkeypatch, caplog):
    """A start goes on, and says what it could not find out."""
    seen = Findings(unchecked=(Problem("b", "does not answer"),))
    monkeypatch.setattr("pipeline.launch.examine", lambda settings: seen)
    monkeypatch.setattr("pipeline.launch.run_here", lambda *_: DONE)
    monkeypatch.setattr("pipeline.launch._log_to_stderr", lambda: None)
    assert main(["--project=demo-project"]) == DONE
    assert "not checked: b: does not answer" in [each.getMessage() for each in caplog.records]


def test_report_of_nothing():
    """Each group is there, if only to say that it is empty."""
    assert report(Findings()) == [
        "checked: none",
        "could not be checked: none",
        "problems: none",
    ]


def test_an_unknown_runner_is_not_asked_for():
    """What it would need is not known."""
    assert examine(settings("--runner=FlinkRunner")) == Findings()


# Files


@pytest.fixture
def away(monkeypatch):
    aim(monkeypatch, NOWHERE)


def test_files_are_looked_for(away, tmp_path):
    """input-files: Beam would read nothing of a pattern without files, and all seem well."""
    (tmp_path / "a.jsonl").write_text("")
    there = examine(settings(f"--input_files={tmp_path}/*.jsonl"), patience=0.5)
    assert there.problems == ()
    assert there.checked[-1] == f"--input_files {tmp_path}/*.jsonl: 1 files"
    assert where(there.unchecked) == [DEAD, TABLE]
    found = examine(settings(f"--input_files={tmp_path}/*.json"), patience=0.5)
    assert [str(problem) for problem in found.problems] == [
        f"--input_files {tmp_path}/*.json: matches no file (give a path or a glob)"
    ]


def test_a_place_of_files_that_is_unknown(away):
    """A scheme that Beam cannot read is told as a problem, not as a traceback."""
    [problem] = examine(settings("--input_files=nowhere://b/f"), patience=0.5).problems
    assert problem.where == "--input_files nowhere://b/f"
    assert problem.what.startswith("cannot be looked up: Unable to get filesystem")


def test_a_place_for_letters_that_cannot_be_written(away, tmp_path, monkeypatch):
    """park: a place on this machine is tried, and left as it was; another one is not.

    Without the flag it is the engine's own.
    """
    (tmp_path / "file").write_text("")
    [problem] = examine(settings(f"--park={tmp_path}/file/x"), patience=0.4).problems
    assert str(problem).startswith(f"--park {tmp_path}/file/x: cannot be written: ")
    found = examine(settings(f"--park={tmp_path}/new"), patience=0.4)
    assert found.problems == ()
    assert found.checked == (f"--park {tmp_path}/new: can be written",)
    assert not (tmp_path / "new").exists()
    monkeypatch.chdir(tmp_path)
    assert examine(settings(), patience=0.4).checked == ("--park build/parked: can be written",)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    found = examine(settings("--park=gs://b/parked"), patience=0.4)
    assert where(found.unchecked)[0] == "--park gs://b/parked"


# Questions


def asked(steps, seconds=5.0):
    return found_by([Inquiry("it", steps)], time.monotonic() + seconds)


def ask(inquiry, question, **more):
    return inquiry.ask("it", question, absent=MISSING, role="roles/viewer", **more)


def raising(*outcomes):
    left = list(outcomes)

    def question(seconds):
        assert 0 < seconds <= questions.CALL_SECONDS
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return question


def test_a_service_that_comes_back_is_asked_again(monkeypatch):
    """A question that met an outage is asked again within the patience."""
    monkeypatch.setattr(questions, "_PAUSE", 0.001)
    found = asked(lambda inquiry: inquiry.checked(ask(inquiry, raising(AWAY, AWAY, "back"))))
    assert found == Findings(checked=("back",))


QUOTA = exceptions.Forbidden("slow down", errors=[{"reason": "rateLimitExceeded"}])


@pytest.mark.parametrize(
    ("error", "more", "problem"),
    [
        (exceptions.NotFound("gone"), {}, "x: is not there"),
        (
            exceptions.PermissionDenied("not you"),
            {},
            "it: may not be read: not you (grant the account roles/viewer)",
        ),
        (exceptions.PermissionDenied("not you"), {"needed": False}, None),
        (
            exceptions.Unauthenticated("who are you"),
            {},
            f"credentials: 401 who are you ({refusals.CREDENTIALS.remedy})",
        ),
        (exceptions.BadRequest("what"), {}, "it: cannot be asked about: 400 what"),
        (QUOTA, {}, None),
        (AWAY, {}, None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_a_question_can_meet(error, more, problem):
    """Each refusal of a service is a problem of its own; what says nothing is none."""
    found = asked(lambda inquiry: ask(inquiry, raising(error), **more), 0.2)
    assert [str(each) for each in found.problems] == ([problem] if problem else [])
    assert where(found.unchecked) == ([] if problem else ["it"])


def test_what_comes_too_late_is_not_heard():
    """An inquiry that hangs is told as one, and what it says afterwards changes nothing."""
    let_go, said = threading.Event(), threading.Event()

    def hang(inquiry):
        inquiry.checked("in time")
        let_go.wait(20)
        inquiry.refuse(MISSING)
        said.set()

    found = asked(hang, 0.2)
    let_go.set()
    assert said.wait(10)
    assert found == Findings(("in time",), (Problem("it", "does not answer in time"),))


def test_many_things_are_asked_side_by_side():
    """The order is that of the things, whichever answers first; none is left out."""
    began = time.monotonic()

    def steps(number):
        def ask_(inquiry):
            time.sleep(0.2 if number % 2 else 0.1)
            inquiry.checked(str(number))

        return ask_

    inquiries = [Inquiry(str(number), steps(number)) for number in range(64)]
    found = found_by(inquiries, began + 20)
    assert found.checked == tuple(str(number) for number in range(64))
    assert time.monotonic() - began < 64 * 0.15 / 4


def test_what_was_not_asked_in_time_is_told():
    """With more things than threads, those that did not get their turn are not checked either."""
    ended = threading.Event()
    inquiries = [Inquiry(str(number), lambda inquiry: ended.wait(20)) for number in range(40)]
    try:
        found = found_by(inquiries, time.monotonic() + 0.3)
    finally:
        ended.set()
    assert where(found.unchecked) == [str(number) for number in range(40)]


def test_the_unforeseen_is_raised():
    """A fault of our own is no finding."""
    with pytest.raises(ZeroDivisionError):
        asked(lambda inquiry: 1 / 0)


def test_what_is_said_twice_is_told_once():
    """Each client that finds no credentials says so; it is one problem."""

    def refuse(inquiry):
        inquiry.refuse(MISSING)

    inquiries = [Inquiry("a", refuse), Inquiry("b", refuse)]
    assert found_by(inquiries, time.monotonic() + 5).problems == (MISSING,)
