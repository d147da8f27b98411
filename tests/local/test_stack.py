"""The whole stack on this machine: started, fed, killed in parts, and ended."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from requests.exceptions import ConnectionError as RequestsConnectionError

from local import identity, load, state
from local.account import Ledger, unmet
from local.compare import differing, faults
from local.layout import Options
from local.ports import listens, split, wait_until
from local.processes import ROOT, NotReadyError
from local.pull import drain
from local.record import record
from local.resources import (
    ACCOUNT_SUBSCRIPTION,
    DATASET,
    DEBUG_SUBSCRIPTION,
    LETTERS_SUBSCRIPTION,
    PIPELINE_SUBSCRIPTION,
    TOPIC,
    create,
    topic_path,
)
from local.sample import feed
from local.stack import Stack
from local.web import call
from schemas import live
from schemas.recorded import from_line

pytestmark = pytest.mark.emulators


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("stack")


# A user's own tables: the default one is not the shipped one, and drops what the sample writes.
OWN = """
table: everything
default: true
columns:
  - {path: title, policy: drop}
  - {path: details.browser, policy: drop}
  - path: issue
---
table: remarks
collections: ["projects/{project}/comments/{remark}"]
raw: true
---
table: members_raw_changelog
layout: changelog
collections: ["teams/{team}/members/{member}", invoices]
columns:
  - {path: seat, policy: drop}
"""


@pytest.fixture(scope="module")
def stack(folder, tmp_path_factory):
    own = tmp_path_factory.mktemp("schemas") / "own.yaml"
    own.write_text(OWN)
    options = Options(folder=folder, usual_ports=False, pubsub_proxy=True, schemas=(own,))
    with Stack(options) as stack:
        yield stack


@pytest.fixture(scope="module")
def ledger(stack):
    return Ledger(
        subscriber=live.subscriber_client(),
        client=live.bigquery_client(stack.addresses.project),
        dataset=DATASET,
        tables=stack.tables,
        published=ACCOUNT_SUBSCRIPTION,
        letters=LETTERS_SUBSCRIPTION,
    )


def post_issue(stack, text):
    answer = call(
        "POST",
        stack.addresses.publisher_address,
        json.dumps({"issue": text, "priority": "P1"}).encode(),
        {"Content-Type": "application/json"},
    )
    assert answer.status == 200
    return answer.json()["issue_id"]


def row_of(ledger, issue_id, seconds):
    return wait_until(
        lambda: any(row.issue_id == issue_id for row in ledger.now().rows),
        time.monotonic() + seconds,
    )


def test_every_event_of_the_sample_arrives_as_it_was_written(stack, ledger, tmp_path):
    """Each is a row or the expected dead letter, once; documents read back equal.

    So it is with a user's own tables: what their files say decides where, and without what.
    """
    assert [table.name for table in stack.tables] == [
        "everything",
        "remarks",
        "members_raw_changelog",
    ]
    expected = feed(stack.addresses.project, stack.addresses.publisher_address, stack.tables)
    assert len([each for each in expected if each.compared]) > 40
    account = ledger.settle(60, lambda account: not unmet(expected, account))
    assert account.balanced(), str(account)
    assert list(map(str, unmet(expected, account))) == []
    assert len(account.published) == len(expected)
    rows = ledger.whole()
    assert list(map(str, differing(expected, rows))) == []
    assert faults(expected, rows) == []
    places = [(row.table.name, row.arrived.document_path) for row in rows]
    assert [place for place in sorted(places) if place[0] != "everything"] == [
        ("members_raw_changelog", "invoices/2030-1"),
        ("members_raw_changelog", "teams/red/members/ada"),
        ("members_raw_changelog", "teams/red/members/ada"),
        ("remarks", "projects/gemini/comments/1"),
    ]
    assert not any("title" in (row.new or {}) for row in rows if row.table.name == "everything")
    ada = [row for row in rows if row.arrived.document_path == "teams/red/members/ada"]
    assert [(row.new, row.parameter("team")) for row in ada] == [
        ({"name": "Ada", "team": "teams/red"}, "red")
    ] * 2

    # People's own subscription has them all, the repeated one three times.
    file = tmp_path / "recorded.jsonl"
    count = record(
        live.subscriber_client(), stack.addresses.project, DEBUG_SUBSCRIPTION, file, idle=0.5
    )
    messages = [from_line(line) for line in file.read_text("utf-8").splitlines()]
    assert count == len(messages) == len(expected) + 2
    assert {message.event_id for message in messages} == account.published


def test_a_second_stack_finds_the_first(stack, folder):
    """It starts nothing and says where the first one's parts are."""
    with pytest.raises(state.AlreadyRunningError) as refused, Stack(stack.options):
        pass
    assert refused.value.state.addresses["publisher"] == stack.addresses.publisher
    assert refused.value.state.owner == identity.own()
    stack.check()


def test_a_killed_job_goes_on_where_it_was(stack, ledger):
    """After SIGKILL the job is started again, and what came meanwhile arrives."""
    before = stack.job.restarts
    stack.job.kill()
    issue_id = post_issue(stack, "sent while the job was down")
    assert row_of(ledger, issue_id, 60)
    assert stack.job.restarts == before + 1
    assert ledger.now().balanced()


def test_bigquery_comes_back_with_its_data(stack, ledger):
    """Killed and started again it has lost nothing, and the job has waited for it."""
    restarts = stack.job.restarts
    rows = set(ledger.now().rows)
    assert rows
    stack.kill_bigquery()
    assert not listens(*split(stack.addresses.bigquery_address))
    issue_id = post_issue(stack, "sent while BigQuery was down")
    with pytest.raises(RequestsConnectionError):
        ledger.now()
    stack.start_bigquery()
    assert rows <= set(ledger.now().rows)
    assert row_of(ledger, issue_id, 60)
    assert stack.job.restarts == restarts
    assert ledger.settle(30).balanced()


def test_pubsub_can_be_unreachable_for_a_while(stack, ledger):
    """Publisher and job reach it again by themselves, and nothing is lost or doubled."""
    restarts = stack.job.restarts, stack.publisher.restarts
    stack.pubsub_proxy.refuse()
    assert wait_until(lambda: not stack.publisher.wait_ready(0), time.monotonic() + 20)
    stack.pubsub_proxy.resume()
    assert stack.publisher.wait_ready(30)
    issue_id = post_issue(stack, "sent after the outage")
    assert row_of(ledger, issue_id, 60)
    assert (stack.job.restarts, stack.publisher.restarts) == restarts
    assert ledger.settle(30).balanced()


def test_a_run_uses_running_emulators_and_tells_when_its_own_ends(stack, tmp_path):
    """Those that the environment names are used and left; one of its own that ends is an error.

    What an earlier stack left unread is no part of the new one's account; people's own
    subscription keeps it.
    """
    options = Options(folder=tmp_path, usual_ports=False, job=False, project="demo-other")
    subscriber, publisher = live.subscriber_client(), live.publisher_client()
    create(publisher, subscriber, "demo-other")
    load.publish(publisher, topic_path("demo-other", TOPIC), load.changes(1, "of an earlier stack"))
    said = []
    with Stack(options, said.append) as second:
        assert f"{PIPELINE_SUBSCRIPTION} is made anew: what was left in it is not read" in said
        assert list(drain(subscriber, "demo-other", PIPELINE_SUBSCRIPTION)) == []
        assert len(list(drain(subscriber, "demo-other", DEBUG_SUBSCRIPTION))) == 1
        assert second.addresses.pubsub == stack.addresses.pubsub
        assert second.addresses.firestore == stack.addresses.firestore
        children = {child.name: child for child in state.read(tmp_path).children}
        assert children.keys() == {"BigQuery emulator", "publisher"}
        second.check()
        os.kill(children["BigQuery emulator"].identity.pid, signal.SIGKILL)
        assert wait_until(
            lambda: not listens(*split(second.addresses.bigquery_address)), time.monotonic() + 10
        )
        with pytest.raises(NotReadyError, match=r"BigQuery emulator ended by itself \(SIGKILL"):
            second.check()
    stack.check()


def test_killed_without_a_word_it_leaves_nothing(tmp_path):
    """After SIGKILL of the run nothing of it is left, and the next one starts cleanly."""
    script = (
        "import sys, time; from pathlib import Path\n"
        "from local.layout import Options; from local.stack import Stack\n"
        "options = Options(folder=Path(sys.argv[1]), usual_ports=False, job=False)\n"
        "with Stack(options):\n"
        "    print('ready', flush=True); time.sleep(60)\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.endswith("EMULATOR_HOST")}
    run = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    try:
        assert run.stdout.readline() == "ready\n"
        children = state.read(tmp_path).children
        assert {child.name for child in children} == {
            "Pub/Sub emulator", "Firestore emulator", "BigQuery emulator", "publisher",
        }  # fmt: skip
        assert all(child.identity.alive() for child in children)
    finally:
        run.kill()
        run.wait()
    assert wait_until(
        lambda: not any(child.identity.alive() for child in children), time.monotonic() + 10
    )
    state.claim(tmp_path, 0, print).close()
