"""Views and table functions answer as their rules say, row for row, on generated histories.

The rules are written out once more here, in Python. Rows go into BigQuery's stand-in by Storage
Write, in any order.
"""

import itertools
import json
import re
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from google.cloud import bigquery as cloud

from pipeline.append_stream import Encoded, TableWriter
from schemas import live
from schemas.apply import apply
from schemas.encode import Encoder
from schemas.table import Type
from schemas.table_file import parse_table, shipped
from schemas.times import now_micros
from schemas.views import view_functions, view_names

PROJECT, DATASET = "demo-project", "views_ds"
DEADLINE = 20
DOCS = Path(__file__).parents[2] / "docs" / "views.md"
TABLE = parse_table(
    "{table: t, view_prefix: v, default: true, columns: [{path: title}, {path: flow.state, "
    "name: status}, {path: priority}, {path: first_day, type: INT64}]}",
    "t.yaml",
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_DAY = date(2026, 10, 30)  # the month ends within the histories
SECOND, DAY = 1_000_000, 86_400_000_000
START = (FIRST_DAY - EPOCH.date()).days * DAY
DAYS = 4
_numbers = itertools.count()


class Views:
    """A table with its views in the stand-in, and a way into it.

    Args:
        table: As its file declares it; here it gets a name and a prefix of its own.
        dataset: Where it is made.
    """

    def __init__(self, table, dataset=DATASET):
        self.table, self.dataset = table, dataset
        self.client = live.bigquery_client(PROJECT)
        self.apply()

    @classmethod
    def of_its_own(cls):
        number = next(_numbers)
        return cls(replace(TABLE, name=f"t{number}", view_prefix=f"v{number}"))

    def apply(self):
        return apply(self.client, self.dataset, [self.table], DEADLINE)

    def append(self, rows):
        encoder = Encoder(self.table)
        path = f"projects/{PROJECT}/datasets/{self.dataset}/tables/{self.table.name}"
        client = live.bigquery_write_client()
        writer = TableWriter(client, path, encoder.descriptor, lag=lambda: None, written=None)
        assert writer.append([Encoded(encoder.encode(row)) for row in rows]) == []
        writer.close()

    def query(self, text, *days):
        parameters = [
            cloud.ScalarQueryParameter(name, "DATE", day)
            for name, day in zip("ab", days, strict=False)
        ]
        config = cloud.QueryJobConfig(query_parameters=parameters)
        job = self.client.query(text, config, timeout=DEADLINE, retry=None, job_retry=None)
        return [dict(row) for row in job.result(timeout=DEADLINE, retry=None, job_retry=None)]

    def read(self, kind, *days):
        """What a view gives, or, with days, what its function does."""
        name = f"`{PROJECT}.{self.dataset}.{self.table.view_prefix}_{kind}"
        return self.query(f"SELECT * FROM {name}{'_between`(@a, @b)' if days else '`'}", *days)


def as_read(table, row):
    """A row as Google's client gives it back."""
    found = {}
    for column in table.columns:
        value = row.get(column.name)
        if column.repeated:
            value = list(value or ())
        elif value is not None and column.type is Type.TIMESTAMP:
            value = EPOCH + timedelta(microseconds=value)
        elif value is not None and column.type is Type.JSON:
            value = json.loads(value)
        found[column.name] = value
    return found


def ordered(rows):
    return sorted(rows, key=lambda row: json.dumps(row, default=str, sort_keys=True))


@pytest.fixture
def views(bigquery):
    """A table of the test's own, with views and functions."""
    return Views.of_its_own()


# The rules


def none_last(value):
    return (value is None, value or 0)


def changes(rows):
    """Of each event, the row that was written first."""
    found = {}
    for row in sorted(
        rows,
        key=lambda row: (
            none_last(row["ingest_time"]),
            none_last(row["publish_time"]),
            row["created_at"],
        ),
    ):
        found.setdefault((row["issue_key"], row["event_id"]), row)
    return list(found.values())


def latest(rows):
    """Of each issue, the last event, unless it is a DELETE."""
    found = {}
    for row in sorted(
        changes(rows),
        key=lambda row: (
            row["update_time"] is not None,
            row["update_time"] or 0,
            row["operation"] == "DELETE",
            row["created_at"],
            row["event_id"],
        ),
    ):
        found[row["issue_key"]] = row
    return [row for row in found.values() if row["operation"] != "DELETE"]


def daily(rows):
    """Counts by day, source, status and priority."""
    counts, issues = {}, {}
    for row in changes(rows):
        key = (day_of(row), row["source"], row["priority"], row["status"])
        count = counts.setdefault(key, Counter())
        issues.setdefault(key, set()).add(row["issue_key"])
        operation, changed = row["operation"], row["changed_fields"]
        count["events"] += 1
        count["created"] += operation in ("CREATE", "MANUAL")
        count["updated"] += operation == "UPDATE"
        count["priority_changed"] += operation == "UPDATE" and "priority" in changed
        in_status = "flow" in changed or "flow.state" in changed
        count["status_changed"] += operation == "UPDATE" and in_status
        count["deleted"] += operation == "DELETE"
        count["imported"] += operation == "IMPORT"
    return [
        dict(zip(("day", "source", "priority", "status"), key, strict=True))
        | dict(count)
        | {"issues": len(issues[key])}
        for key, count in counts.items()
    ]


def day_of(row):
    return FIRST_DAY + timedelta(days=(row["created_at"] - START) // DAY)


def within(rows, first, last):
    return [row for row in rows if first <= day_of(row) <= last]


# Histories

OPERATIONS = ("CREATE", "UPDATE", "UPDATE", "DELETE", "IMPORT", "MANUAL", None)
CHANGED = (("flow.state",), ("flow", "title"), ("priority",), ("flow.state", "priority"), ())


def times(random, count):
    """Some of the few times, among them the ends of days, so that equal ones are many."""
    ends = [day * DAY + within for day in range(DAYS) for within in (0, 1, DAY // 2, DAY - 1)]
    return [START + end for end in random.choices(ends, k=count)]


def any_issue(random, key):
    """Events in which nothing fits together, and their repeats.

    These have other times of arrival, and now and then another created_at.
    """
    rows = []
    updates, arrivals = [None, *times(random, 2)], [None, *times(random, 1)]
    for _ in range(random.randint(1, 6)):
        event = {
            "event_id": f"{random.getrandbits(64):016x}",
            "issue_key": key,
            "source": random.choice(["manual-api", "firestore-eventarc"]),
            "update_time": random.choice(updates),
            "operation": random.choice(OPERATIONS),
            "changed_fields": random.choice(CHANGED),
            "title": random.choice([None, "", "\u00e9"]),
            "status": random.choice([None, "", "open", "closed"]),
            "priority": random.choice([None, "P1"]),
            "payload": '{"n": 9007199254740993}',
        }
        created_at, *others = times(random, 2)
        for _ in range(random.choice([1, 1, 2, 3])):
            published, ingested = random.choices(arrivals, k=2)
            at = random.choice([created_at, created_at, *others])
            times_ = {"publish_time": published, "ingest_time": ingested, "created_at": at}
            rows.append(event | times_)
    return rows


def document(random, key):
    """A document's life, its times strictly rising, as rows, and its title at each day's end."""
    rows, title, updated, ends = [], None, None, [None] * DAYS
    for number, since in enumerate(sorted(random.sample(range(DAYS * DAY), random.randint(0, 8)))):
        now = START + since
        if title is None or random.random() < 0.6:
            operation = "UPDATE" if title else "CREATE"
            title, updated = f"{key} {number}", now
        else:
            operation, title = "DELETE", None  # its update_time is that of the change before
        row = {
            "event_id": f"{random.getrandbits(64):016x}",
            "issue_key": key,
            "source": "firestore-eventarc",
            "operation": operation,
            "title": title,
            "update_time": updated,
            "created_at": now,
        }
        for _ in range(random.choice([1, 1, 2, 3])):
            late = random.randrange(3 * DAY)
            rows.append(row | {"publish_time": now, "ingest_time": now + late})
        ends[since // DAY :] = [title] * (DAYS - since // DAY)
    return rows, ends


@pytest.mark.parametrize("seed", range(3))
def test_views_and_functions_answer_as_the_rules_say(views, seed):
    """Each view, of all rows; each function, of those of its days: row for row the model's."""
    random = Random(seed)
    rows = [row for number in range(60) for row in any_issue(random, f"k{number}")]
    random.shuffle(rows)
    views.append(rows)
    first, last = (FIRST_DAY + timedelta(days=day) for day in ((0, 0), (1, 2), (-9, 2))[seed])
    for kind, rule in (("latest", latest), ("changes", changes), ("daily", daily)):
        expected, expected_within = rule(rows), rule(within(rows, first, last))
        if kind != "daily":
            expected = [as_read(views.table, row) for row in expected]
            expected_within = [as_read(views.table, row) for row in expected_within]
        assert ordered(views.read(kind)) == ordered(expected)
        assert ordered(views.read(kind, first, last)) == ordered(expected_within)


def test_latest_is_what_the_documents_are(views):
    """The view has each living document as it is, and no deleted one, in whatever order rows came.

    The function, from the first day on, has it as it was at the end of the last.
    """
    random = Random(0)
    documents = {f"doc{number}": document(random, f"doc{number}") for number in range(100)}
    rows = [row for rows, _ in documents.values() for row in rows]
    random.shuffle(rows)
    views.append(rows)
    for day in range(DAYS):
        last = FIRST_DAY + timedelta(days=day)
        found = {row["issue_key"]: row["title"] for row in views.read("latest", FIRST_DAY, last)}
        assert found == {key: ends[day] for key, (_, ends) in documents.items() if ends[day]}
    assert ordered(views.read("latest")) == ordered(views.read("latest", FIRST_DAY, last))


def test_days_are_both_included_and_end_at_midnight_in_utc(views):
    """From the first microsecond of the first day to the last of the last; backwards is nothing."""
    ends = [START - 1, START, START + DAY - 1, START + DAY, START + 2 * DAY - 1, START + 2 * DAY]
    views.append(
        [
            {"event_id": f"e{n}", "issue_key": f"e{n}", "created_at": at, "operation": "CREATE"}
            for n, at in enumerate(ends)
        ]
    )
    second = FIRST_DAY + timedelta(days=1)
    for kind in ("latest", "changes"):
        for span, names in (
            ((FIRST_DAY, FIRST_DAY), ["e1", "e2"]),
            ((FIRST_DAY, second), ["e1", "e2", "e3", "e4"]),
            ((second, FIRST_DAY), []),
        ):
            assert sorted(row["event_id"] for row in views.read(kind, *span)) == names


def test_issues_without_a_document_stay(views):
    """Manual issues and flat messages, which have no update_time and perhaps no operation."""
    rows = [
        {"event_id": name, "issue_key": name, "created_at": START, "operation": operation}
        for name, operation in (("manual", "MANUAL"), ("flat", None))
    ]
    views.append(rows)
    assert sorted(row["event_id"] for row in views.read("latest")) == ["flat", "manual"]


def test_an_import_gives_way_to_what_is_newer(views):
    """It is the last event of a document of which nothing else is known, and of no other."""

    def row(number, key, operation, update_time):
        return {
            "event_id": f"e{number}",
            "issue_key": key,
            "operation": operation,
            "update_time": update_time,
            "created_at": update_time + number,
        }

    views.append(
        [
            row(1, "old", "IMPORT", START),
            row(2, "changed since", "UPDATE", START + 9),
            row(3, "changed since", "IMPORT", START + 8),
            row(4, "deleted since", "DELETE", START + 8),
            row(5, "deleted since", "IMPORT", START + 8),
        ]
    )
    assert sorted(row["event_id"] for row in views.read("latest")) == ["e1", "e2"]


def test_a_new_column_is_in_views_and_functions(views):
    """What `apply` adds to the table both have; the views' SQL changes, so that BigQuery notes it.

    The functions' does not: BigQuery finds their columns at each use.
    """
    table, name = views.table, f"{PROJECT}.{DATASET}.{views.table.view_prefix}"
    more = parse_table("{table: t, columns: [{path: size, type: INT64}]}", "").declared
    views.table = replace(table, columns=(*table.columns, *more))
    assert views.apply() == [
        f"add table {PROJECT}.{DATASET}.{table.name}, column size",
        f"change view {name}_latest",
        f"change view {name}_changes",
    ]
    assert views.apply() == []
    row = {"event_id": "e", "issue_key": "k", "created_at": START, "operation": "CREATE", "size": 3}
    views.append([row])
    for kind in ("latest", "changes"):
        for span in ((), (FIRST_DAY, FIRST_DAY)):
            assert views.read(kind, *span) == [as_read(views.table, row)]


# The page


@pytest.fixture
def issues(bigquery):
    """The shipped table with a document of each kind of life in the last days."""
    views = Views(shipped()[0], "views_page_ds")
    name = "projects/demo-project/databases/(default)/documents/issues/"
    now = now_micros()

    def row(number, key, operation, days_ago, **values):
        at = now - days_ago * DAY
        return {
            "event_id": f"e{number}",
            "issue_key": name + key,
            "issue_id": f"FS-{key}",
            "source": "firestore-eventarc",
            "operation": operation,
            "created_at": at,
            "update_time": at,
            "ingest_time": at + SECOND,
            **values,
        }

    views.append(
        [
            row(1, "one", "CREATE", 3, status="open", priority="P1"),
            row(2, "one", "UPDATE", 2, status="closed", priority="P1", changed_fields=["status"]),
            row(2, "one", "UPDATE", 2, status="closed", priority="P1", changed_fields=["status"]),
            row(3, "two", "CREATE", 3, status="open", priority="P2"),
        ]
    )
    yield views
    views.client.delete_dataset(views.dataset, delete_contents=True, timeout=DEADLINE, retry=None)


def test_every_query_of_the_page_runs(issues):
    """Each example of docs/views.md gives rows, of the table that the project ships."""
    queries = re.findall(r"```sql\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    assert len(queries) == 8
    for query in queries:
        assert issues.query(query.replace("issues_ds.", f"{issues.dataset}.")), query
    closed = issues.query(queries[5].replace("issues_ds.", f"{issues.dataset}."))
    assert [row["closed"] for row in closed] == [1]


def test_the_page_names_what_is_there(issues):
    """Views and functions in its first table, and the columns of the counts, in their order."""
    text = DOCS.read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)\((.*?)\)` \|", text, re.MULTILINE)
    functions = view_functions(issues.table, "p.d")
    assert [row[0] for row in rows] == list(view_names(issues.table))
    assert [(row[1], tuple(row[2].split(", "))) for row in rows] == [
        (name, function.parameters) for name, function in functions.items()
    ]
    section = text.partition("## issues_daily")[2]
    columns = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert [*issues.read("daily")[0]] == columns
