"""The whole pipeline with its job, as `make run` starts it: Firestore and HTTP in, rows out."""

import json
import re
import time
import urllib.request
from datetime import UTC, datetime

import pytest

from bench.chaos import Plan, run
from local.emulators import FIRESTORE_EMULATOR_HOST, PUBSUB_EMULATOR_HOST
from local.layout import Options
from local.stack import Stack
from local.table_files import FILES
from local.tour import tour
from schemas import live


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A stack of its own, with the job, and the sample's tables beside the shipped one."""
    folder = tmp_path_factory.mktemp("whole")
    options = Options(folder=folder, usual_ports=False, pubsub_proxy=True, schemas=FILES)
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


def rows_of(stack, query):
    """The rows of a query, as tuples."""
    client = live.bigquery_client(stack.addresses.project)
    job = client.query(query, timeout=20, retry=None, job_retry=None)
    return [tuple(row.values()) for row in job.result(timeout=20, retry=None, job_retry=None)]


def test_every_value_from_firestore_to_select(whole):  # after the ledger: it ends the account
    """The sample, every Firestore value type among it, reads back equal; all is accounted for.

    The last line says how many events are in each table and in the dead letters: all of them.
    """
    said = []
    assert tour(whole, said.append, sample=True), said
    counts = re.search(r"(\d+) events published = (.*)$", said[-1])
    places = [place.split(" ", 1) for place in counts[2].split(" + ")]
    assert [name for _, name in places] == [
        "in issues_stream", "in comments", "in projects", "in teams", "dead letters",
    ]  # fmt: skip
    assert sum(int(number) for number, _ in places) == int(counts[1])
    assert [int(number) for number, _ in places[1:4]] == [6, 6, 5]


def test_a_subcollections_documents_say_whose_they_are(whole):
    """The ids of its path pattern are columns: two comments of one id, under different issues."""
    found = rows_of(
        whole,
        "SELECT issue, comment, text, likes FROM issues_ds.comments WHERE operation = 'CREATE' "
        "ORDER BY issue",
    )
    assert found == [
        ("full", "1", "Same id, another issue", 3),
        ("other", "1", "Hi", None),
        ("ü 'quoted'", "2 (50%25)", "Odd path", None),
    ]


def test_a_collections_own_columns_are_filled(whole):
    """A REPEATED one and a TIMESTAMP; what does not fit is NULL or empty, and named."""
    found = rows_of(
        whole,
        "SELECT document_id, tags, starts_at, budget_amount, contact_name, type_errors "
        "FROM issues_ds.projects WHERE operation = 'CREATE' ORDER BY document_id",
    )
    starts = datetime(2030, 7, 16, 13, 32, tzinfo=UTC), datetime(1958, 10, 7, tzinfo=UTC)
    assert found == [
        ("apollo", ["moon", "größer", ""], starts[0], 25.8e9, "Ada", []),
        ("gemini", [], None, 1e17, "Ada", ["tags", "starts_at"]),
        ("mercury", [], starts[1], None, None, []),
    ]


def test_a_change_of_what_is_dropped_leaves_an_empty_row_of_changes(whole):
    """The update is there, with nothing of what has changed: neither name nor value."""
    found = rows_of(
        whole,
        "SELECT ARRAY_TO_STRING(changed_fields, ','), TO_JSON_STRING(payload) = "
        "TO_JSON_STRING(old_payload) FROM issues_ds.projects WHERE operation = 'UPDATE' "
        "ORDER BY 1",
    )
    assert found == [("", True), ("tags", False)]


def test_what_no_table_names_is_in_the_default_one(whole):
    """An unknown collection, and a known collection's id at a path that no pattern matches."""
    found = rows_of(
        whole,
        "SELECT DISTINCT document_path FROM issues_ds.issues_stream "
        "WHERE document_path IS NOT NULL AND NOT STARTS_WITH(document_path, 'issues/') ORDER BY 1",
    )
    assert found == [
        ("invoices/2030-1",),
        ("projects/gemini/comments/1",),
        ("teams/red/members/ada",),
    ]


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
    rows = []
    while not rows and time.monotonic() - began < 5:
        rows = rows_of(whole, query)
    assert rows == [("Test", "P1", "manual-api", "MANUAL")]
