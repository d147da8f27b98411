"""The whole pipeline with its job, as `make run` starts it: Firestore and HTTP in, rows out."""

import json
import time
import urllib.request

import pytest

from bench.chaos import Plan, run
from local.emulators import FIRESTORE_EMULATOR_HOST, PUBSUB_EMULATOR_HOST
from local.layout import Options
from local.stack import Stack
from local.tour import tour
from schemas import live


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A stack of its own, with the job."""
    folder = tmp_path_factory.mktemp("whole")
    options = Options(folder=folder, usual_ports=False, pubsub_proxy=True)
    with pytest.MonkeyPatch.context() as patch:
        # Else it would use the emulators of the other tests' stack, and what is left in them.
        for name in (PUBSUB_EMULATOR_HOST, FIRESTORE_EMULATOR_HOST):
            patch.delenv(name, raising=False)
        with Stack(options, lambda _: None) as running:
            yield running


def test_the_ledger_balances_under_two_kills(whole):
    """2,000 events, two SIGKILLs of the job: each event_id in the table exactly once, by set."""
    plan = Plan(events=2_000, rate=400.0, kills=2, bigquery_outages=0, pubsub_outages=0, seed=7)
    said = []
    result = run(whole, plan, said.append)
    assert result.holds(plan), (result, said)


def test_every_value_from_firestore_to_select(whole):  # after the ledger: it ends the account
    """The sample, every Firestore value type among it, reads back equal; all is accounted for."""
    said = []
    assert tour(whole, said.append, sample=True), said


def test_a_curl_request_is_a_row_within_five_seconds(whole):
    """With its columns filled."""
    body = json.dumps({"issue": "Test", "priority": "P1"}).encode()
    request = urllib.request.Request(
        whole.addresses.publisher, body, {"Content-Type": "application/json"}
    )
    began = time.monotonic()
    with urllib.request.urlopen(request, timeout=10) as response:
        answer = json.load(response)
    assert answer["status"] == "created"
    query = (
        "SELECT issue, priority, source, operation FROM issues_ds.issues_stream "
        f"WHERE issue_id = '{answer['issue_id']}'"
    )
    client = live.bigquery_client(whole.addresses.project)
    rows = []
    while not rows and time.monotonic() - began < 5:
        found = client.query(query, timeout=20, retry=None, job_retry=None)
        rows = [tuple(row.values()) for row in found.result(timeout=20, retry=None)]
    assert rows == [("Test", "P1", "manual-api", "MANUAL")]
