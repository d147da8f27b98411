"""What preflight refuses of BigQuery's tables, on the stand-in wherever it keeps the setting."""

import time
from datetime import UTC, datetime

import pytest
from google.api_core import exceptions
from google.cloud import bigquery

from pipeline.options import parse
from pipeline.preflight_tables import check_table, table_problems
from pipeline.questions import Inquiry, found_by
from schemas import live
from schemas.apply import bigquery_table
from tests.pipeline.conftest import PROJECT

SECONDS = 20
DATASET = f"{PROJECT}.preflight_ds"
FULL = f"{DATASET}.issues_stream"
TABLE = f"table {FULL}"
APPLY = f"python -m schemas apply --dataset {DATASET}"
DAY = 86_400_000


@pytest.fixture
def declared():
    [table] = parse([f"--project={PROJECT}"], lambda: "").tables
    return table


@pytest.fixture
def client(bigquery):
    """A client of the stand-in with an empty dataset."""
    made = live.bigquery_client(PROJECT)
    made.delete_dataset(
        DATASET, delete_contents=True, not_found_ok=True, timeout=SECONDS, retry=None
    )
    made.create_dataset(DATASET, timeout=SECONDS, retry=None)
    return made


def found(declared, *, rights=False, reads=True):
    """What is found of the table, by the clock of a start."""

    def steps(inquiry):
        check_table(inquiry, declared, DATASET, rights=rights, reads=reads)

    return found_by([Inquiry(TABLE, steps)], time.monotonic() + SECONDS)


def told(declared):
    return [str(problem) for problem in found(declared).problems]


def changed(change):
    """The table as it should be, changed before it is created."""

    def create(client, declared):
        made = bigquery_table(declared, DATASET)
        client.create_table(change(made) or made, timeout=SECONDS, retry=None)

    return create


def without(*names):
    def change(made):
        made.schema = [field for field in made.schema if field.name not in names]

    return changed(change)


def column(name, kind, mode="NULLABLE", **more):
    def change(made):
        field = bigquery.SchemaField(name, kind, mode=mode, **more)
        others = [each for each in made.schema if each.name != name]
        made.schema = [*others, field]

    return changed(change)


def partitioned(**how):
    def change(made):
        made.time_partitioning = bigquery.TimePartitioning(**how) if how else None

    return changed(change)


def a_view(client, declared):
    view = bigquery.Table(FULL)
    view.view_query = "SELECT 1 AS issue_id"
    client.create_table(view, timeout=SECONDS, retry=None)


PARTITIONING = (
    "BigQuery keeps a table's partitioning: give the file another `table`, and copy the rows, or "
    "declare what is there"
)
CASES = {
    "table-missing": (
        lambda client, declared: None,
        [f"{TABLE}: is not there (create it: {APPLY})"],
    ),
    "columns-missing": (
        without("votes", "auth_id"),
        [f"{TABLE}: lacks columns: votes, auth_id (add them: {APPLY})"],
    ),
    "table-differs": (
        a_view,
        [
            (
                f"{TABLE}: the name is taken by a VIEW in BigQuery "
                "(give it another name in the file, or remove what is there)"
            )
        ],
    ),
    "table-differs: a column's type": (
        column("title", "INTEGER"),
        [
            (
                f"{TABLE}, column title: is INT64 NULLABLE in BigQuery and STRING NULLABLE in its "
                "file (BigQuery keeps a column's type: give it another `name` in the file, "
                "and it is added)"
            )
        ],
    ),
    "table-differs: REPEATED": (
        column("title", "STRING", "REPEATED"),
        [
            (
                f"{TABLE}, column title: is STRING REPEATED in BigQuery and STRING NULLABLE in its "
                "file (BigQuery keeps a column's type: give it another `name` in the file, and it "
                "is added)"
            )
        ],
    ),
    "table-differs: REQUIRED, and the job knows the column": (
        column("title", "STRING", "REQUIRED"),
        [
            (
                f"{TABLE}, column title: is STRING REQUIRED in BigQuery and STRING NULLABLE in its "
                "file (`python -m schemas apply` makes it NULLABLE)"
            )
        ],
    ),
    "table-differs: REQUIRED, and the job does not know the column": (
        column("theirs", "STRING", "REQUIRED"),
        [
            (
                f"{TABLE}, column theirs: is STRING REQUIRED in BigQuery and not in its file: "
                f"every row would be refused (ALTER TABLE `{FULL}` ALTER COLUMN theirs DROP "
                "NOT NULL)"
            )
        ],
    ),
    "table-differs: partitioned by another column": (
        partitioned(type_="DAY", field="ingest_time"),
        [
            (
                f"{TABLE}: is partitioned by DAY of ingest_time in BigQuery and by DAY of "
                f"created_at in its file ({PARTITIONING})"
            )
        ],
    ),
    "table-differs: not partitioned": (
        partitioned(),
        [
            (
                f"{TABLE}: is partitioned not at all in BigQuery and by DAY of created_at in its "
                f"file ({PARTITIONING})"
            )
        ],
    ),
    "partition-expires": (
        partitioned(type_="DAY", field="created_at", expiration_ms=40 * DAY),
        [
            (
                f"{TABLE}: drops rows 40 days after created_at: late events vanish as they are "
                "written, and the job needs 41 days to know what it wrote (ALTER TABLE "
                f"`{FULL}` SET OPTIONS (partition_expiration_days = 41), or more)"
            )
        ],
    ),
    "everything at once": (
        changed(
            lambda made: (
                setattr(made, "schema", [each for each in made.schema if each.name != "votes"])
                or setattr(
                    made,
                    "time_partitioning",
                    bigquery.TimePartitioning(type_="MONTH", field="created_at", expiration_ms=DAY),
                )
            )
        ),
        [
            (
                f"{TABLE}: is partitioned by MONTH of created_at in BigQuery and by DAY of "
                f"created_at in its file ({PARTITIONING})"
            ),
            f"{TABLE}: lacks columns: votes (add them: {APPLY})",
            (
                f"{TABLE}: drops rows 1 days after created_at: late events vanish as they are "
                "written, and the job needs 41 days to know what it wrote (ALTER TABLE "
                f"`{FULL}` SET OPTIONS (partition_expiration_days = 41), or more)"
            ),
        ],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_refused(client, declared, name):
    """Each of these is refused in these words."""
    make, problems = CASES[name]
    make(client, declared)
    assert told(declared) == problems
    if name != "table-missing":
        live_one = client.get_table(FULL, timeout=SECONDS, retry=None)
        assert [str(each) for each in table_problems(declared, DATASET, live_one)] == problems


def more_columns(made):
    made.schema = [*made.schema, bigquery.SchemaField("theirs", "DATE")]


def other_clustering(made):
    made.clustering_fields = ["source"]


def filter_required(made):
    made.require_partition_filter = True


@pytest.mark.parametrize(
    "change",
    [lambda made: None, more_columns, other_clustering, filter_required],
    ids=["as declared", "more columns", "other clustering", "filter required"],
)
def test_let_through(client, declared, change):
    """What takes every row as it is does not hinder a start."""
    changed(change)(client, declared)
    assert found(declared).problems == ()
    assert found(declared).checked == (f"{TABLE}: has the 34 columns",)


@pytest.mark.parametrize("days", [41, 730])
def test_partitions_that_are_kept_long_enough(client, declared, days):
    """An expiry that the owner of the table wants is no problem, and is told."""
    partitioned(type_="DAY", field="created_at", expiration_ms=days * DAY)(client, declared)
    assert found(declared).problems == ()
    assert found(declared).checked == (
        f"{TABLE}: has the 34 columns; BigQuery drops rows {days} days old, late ones at once",
    )


def as_the_service_says(declared, **more):
    """The table as `tables.get` of the service returns it."""
    resource = bigquery_table(declared, DATASET).to_api_repr()
    return bigquery.Table.from_api_repr({**resource, "type": "TABLE", **more})


def test_a_table_that_expires(declared):
    """table-expires: the stand-in does not keep this; the answer is built as the service's."""
    when = datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)
    live_one = as_the_service_says(declared, expirationTime=str(int(when.timestamp()) * 1_000))
    assert [str(each) for each in table_problems(declared, DATASET, live_one)] == [
        (
            f"{TABLE}: is deleted with its rows at 2027-01-02T03:04:05+00:00 "
            f"(ALTER TABLE `{FULL}` SET OPTIONS (expiration_timestamp = NULL))"
        )
    ]
    assert table_problems(declared, DATASET, as_the_service_says(declared)) == []


@pytest.mark.parametrize("kind", ["EXTERNAL", "MATERIALIZED_VIEW", "SNAPSHOT"])
def test_other_kinds(declared, kind):
    """table-differs: the stand-in has none of these; the answer is built as the service's."""
    live_one = as_the_service_says(declared, type=kind)
    assert [str(each) for each in table_problems(declared, DATASET, live_one)] == [
        (
            f"{TABLE}: the name is taken by a {kind} in BigQuery "
            "(give it another name in the file, or remove what is there)"
        )
    ]


class Rights:
    """A client whose account has some permissions; the rest is the stand-in's."""

    def __init__(self, client, had):
        self._client = client
        self._had = had
        self.asked = []

    def get_table(self, *args, **keywords):
        return self._client.get_table(*args, **keywords)

    def test_iam_permissions(self, table, permissions, timeout, retry):
        assert table == FULL
        self.asked = permissions
        return {"permissions": [each for each in permissions if each in self._had]}


@pytest.mark.parametrize("reads", [True, False])
def test_rights(client, declared, monkeypatch, reads):
    """An account that may not write is refused; one that only writes needs not read the rows."""
    changed(lambda made: None)(client, declared)
    writes = ["bigquery.tables.get", "bigquery.tables.updateData"]
    wanted = [*writes, "bigquery.tables.getData"] if reads else writes
    rights = Rights(client, ["bigquery.tables.get"])
    monkeypatch.setattr(live, "bigquery_client", lambda project: rights)
    lacking = ", ".join(wanted[1:])
    assert [str(each) for each in found(declared, rights=True, reads=reads).problems] == [
        f"{TABLE}: the account lacks {lacking} (grant it roles/bigquery.dataEditor)"
    ]
    assert rights.asked == wanted
    rights = Rights(client, wanted)
    monkeypatch.setattr(live, "bigquery_client", lambda project: rights)
    assert found(declared, rights=True, reads=reads).problems == ()


def test_denied(client, declared, monkeypatch):
    """A table that may not be read is refused with the role that would let it."""

    class Closed:
        def get_table(self, name, timeout, retry):
            raise exceptions.Forbidden("Access Denied: Table x")

    monkeypatch.setattr(live, "bigquery_client", lambda project: Closed())
    assert told(declared) == [
        (
            f"{TABLE}: may not be read: Access Denied: Table x "
            "(grant the account roles/bigquery.metadataViewer)"
        )
    ]


def test_permissions_that_the_stand_in_does_not_tell(client, declared):
    """That nobody could be asked is said, and no problem."""
    changed(lambda made: None)(client, declared)
    seen = found(declared, rights=True)
    assert seen.problems == ()
    assert [str(each) for each in seen.unchecked] == ["permissions: an emulator knows of none"]
