"""`python -m schemas diff` and `apply` on the BigQuery stand-in: what is done, what is refused."""

import itertools
import json

import pytest
from google.cloud import bigquery
from google.cloud.bigquery import SchemaField, TimePartitioning

from schemas import live
from schemas.apply import bigquery_table
from schemas.command_line import main
from schemas.table_file import parse_table
from schemas.views import view_functions, views
from tests.schemas import console

DEADLINE = 20
FILE = """
table: t
default: true
description: What happened.
view_prefix: v
columns:
  - {path: a, type: INT64, description: Of a.}
  - {path: b}
"""
_numbers = itertools.count()


class Live:
    """A dataset of the test's own, the command line aimed at it, and table files."""

    def __init__(self, stack, folder, capsys):
        self.client = live.bigquery_client(stack.addresses.project)
        self.dataset = f"{stack.addresses.project}.schemas_{next(_numbers)}"
        self._folder = folder
        self._capsys = capsys

    def run(self, verb, text, *more):
        """The exit code, and what was written to standard output, with D for the dataset."""
        file = self._folder / "t.yaml"
        file.write_text(text, "utf-8")
        self._capsys.readouterr()
        code = main([verb, str(file), "--dataset", self.dataset, *more])
        said = self._capsys.readouterr()
        self.errors = said.err
        assert code != 3, said.err
        return code, said.out.replace(self.dataset, "D").splitlines()

    def create(self, text=FILE, change=None):
        """Makes the dataset, and the table as its file says but for `change`."""
        self.client.create_dataset(self.dataset, timeout=DEADLINE, retry=None)
        made = bigquery_table(parse_table(text, "t.yaml"), self.dataset)
        if change:
            change(made)
        self.client.create_table(made, timeout=DEADLINE, retry=None)

    def get(self, name="t"):
        return self.client.get_table(f"{self.dataset}.{name}", timeout=DEADLINE, retry=None)

    def query(self, sql):
        job = self.client.query(
            sql.replace("D.", f"{self.dataset}."), timeout=DEADLINE, retry=None, job_retry=None
        )
        return [tuple(row) for row in job.result(timeout=DEADLINE, retry=None, job_retry=None)]


@pytest.fixture
def bigquery_(stack, tmp_path, capsys):
    return Live(stack, tmp_path, capsys)


def differs(live_type, declared):
    return f"is {live_type} in BigQuery and {declared} in its file"


def derived(text):
    """What is derived from a file's table, by what it is called in a difference."""
    table = parse_table(text, "t.yaml")
    return {
        **{f"view D.{name}": each for name, each in views(table, "p.d").items()},
        **{f"function D.{name}": each for name, each in view_functions(table, "p.d").items()},
    }


def changed(before, after):
    """The differences of views and functions whose file was changed, in order."""
    old = derived(before)
    words = {"view": "SQL", "function": "SQL, parameters or description"}
    return [
        f"change  {name}: has other {words[name.split()[0]]} in BigQuery"
        for name, each in derived(after).items()
        if each != old[name]
    ]


VIEWS = [f"create  {name}: is not there" for name in derived(FILE)]


def test_apply_creates_all_of_it_and_a_second_time_does_nothing(bigquery_):
    """Dataset, table and views as declared; then no difference is left."""
    created = [
        "create  dataset D: is not there",
        "create  table D.t: is not there",
        *VIEWS,
    ]
    assert bigquery_.run("diff", FILE) == (1, created)
    assert bigquery_.run("apply", FILE, "--dry-run") == (1, created)
    assert bigquery_.run("diff", FILE) == (1, created)  # so nothing was done
    assert bigquery_.run("apply", FILE) == (0, created)
    assert bigquery_.run("diff", FILE) == (0, [])
    before = bigquery_.get().etag
    assert bigquery_.run("apply", FILE) == (0, [])
    assert bigquery_.get().etag == before
    made = bigquery_.get()
    assert (made.description, made.clustering_fields) == (
        "What happened.",
        ["issue_key", "operation"],
    )
    assert (made.time_partitioning.type_, made.time_partitioning.field) == ("DAY", "created_at")
    assert [f.description for f in made.schema if f.name == "a"] == ["Of a."]
    assert bigquery_.query("SELECT COUNT(*) FROM `D.v_latest`") == [(0,)]


def test_a_table_by_months_in_a_dataset_elsewhere(bigquery_):
    """The partitions' size is the file's, the dataset's location the command line's."""
    text = f"{FILE}partition: {{by: MONTH}}\n"
    assert bigquery_.run("apply", text, "--location", "EU")[0] == 0
    made = bigquery_.client.get_dataset(bigquery_.dataset, timeout=DEADLINE, retry=None)
    assert made.location == "EU"
    assert bigquery_.get().time_partitioning.type_ == "MONTH"
    assert bigquery_.run("diff", text) == (0, [])


def test_a_column_is_added_and_no_row_is_lost(bigquery_):
    """Old rows are there as they were, NULL or [] in the new columns; new rows have values."""
    bigquery_.run("apply", FILE)
    bigquery_.query("INSERT INTO `D.t` (event_id, a) VALUES ('old', 1)")
    more = f"""{FILE}
  - {{path: c.d, type: FLOAT64, description: Of d.}}
  - {{path: e, mode: REPEATED}}
"""
    added = [
        "add     table D.t, column c_d: FLOAT64 NULLABLE is not there",
        "add     table D.t, column e: STRING REPEATED is not there",
    ]
    added += changed(FILE, more)
    assert bigquery_.run("diff", more) == (1, added)
    assert bigquery_.run("apply", more) == (0, added)
    assert bigquery_.run("diff", more) == (0, [])
    bigquery_.query("INSERT INTO `D.t` (event_id, a, c_d, e) VALUES ('new', 2, 0.5, ['x'])")
    rows = bigquery_.query("SELECT event_id, a, c_d, e FROM `D.t` ORDER BY a")
    assert rows == [("old", 1, None, []), ("new", 2, 0.5, ["x"])]
    assert [f.name for f in bigquery_.get().schema][-2:] == ["c_d", "e"]


def test_what_can_be_changed_in_place_is_changed(bigquery_):
    """Descriptions, clustering, a REQUIRED that the job does not fill, a view's SQL; rows stay."""

    def change(table):
        table.description = "Before."
        table.clustering_fields = ["source"]
        table.schema = [
            SchemaField(f.name, f.field_type, "REQUIRED" if f.name in ("b", "event_id") else f.mode,
                        description="Before." if f.name == "a" else f.description)
            for f in table.schema
        ]  # fmt: skip

    bigquery_.create(change=change)
    bigquery_.query("INSERT INTO `D.t` (event_id, b) VALUES ('1', 'kept')")
    view = bigquery.Table(f"{bigquery_.dataset}.v_daily")
    view.view_query = "SELECT 1 AS one"
    bigquery_.client.create_table(view, timeout=DEADLINE, retry=None)
    described = "its description is 'Before.' in BigQuery and"
    clustered = "is clustered by source in BigQuery and by issue_key, operation in its file"
    changes = [
        f"change  table D.t, column a: {described} 'Of a.' in its file",
        f"change  table D.t, column b: {differs('STRING REQUIRED', 'STRING NULLABLE')}",
        f"change  table D.t: {described} 'What happened.' in its file",
        f"change  table D.t: {clustered}",
        *(
            line.replace("create", "change").replace("is not there", "has other SQL in BigQuery")
            if "view D.v_daily" in line
            else line
            for line in VIEWS
        ),
    ]
    assert bigquery_.run("diff", FILE) == (1, changes)
    assert bigquery_.run("apply", FILE) == (0, changes)
    assert bigquery_.run("diff", FILE) == (0, [])
    live_table = bigquery_.get()
    modes = {field.name: field.mode for field in live_table.schema}
    assert (modes["b"], modes["event_id"]) == ("NULLABLE", "REQUIRED")
    assert live_table.clustering_fields == ["issue_key", "operation"]
    assert bigquery_.query("SELECT event_id, b FROM `D.v_changes`") == [("1", "kept")]


def test_a_column_that_left_the_file_is_kept(bigquery_):
    """With its data; apply says how to drop it, and does the rest."""
    bigquery_.run("apply", FILE)
    bigquery_.query("INSERT INTO `D.t` (event_id, b) VALUES ('1', 'kept')")
    less = FILE.replace("path: b", "path: c")
    kept = (
        "keep    table D.t, column b: is in BigQuery only; new rows are NULL in it (its data would "
        "be lost: ALTER TABLE `D.t` DROP COLUMN b, if that is meant)"
    )
    assert bigquery_.run("apply", less) == (
        0,
        ["add     table D.t, column c: STRING NULLABLE is not there", kept, *changed(FILE, less)],
    )
    assert bigquery_.run("diff", less) == (0, [kept])
    assert bigquery_.query("SELECT event_id, b, c FROM `D.t`") == [("1", "kept", None)]


def retyped(name, kind, mode="NULLABLE"):
    def change(table):
        table.schema = [
            SchemaField(f.name, kind, mode) if f.name == name else f for f in table.schema
        ]

    return change


def more_required(table):
    table.schema = [*table.schema, SchemaField("theirs", "STRING", "REQUIRED")]


def by_hours(table):
    table.time_partitioning = TimePartitioning(type_="HOUR", field="created_at")


def by_another(table):
    table.time_partitioning = TimePartitioning(type_="DAY", field="ingest_time")


def not_partitioned(table):
    table.time_partitioning = None


NEW_NAME = "(BigQuery keeps a column's type: give it another `name` in the file, and it is added)"
NEW_TABLE = (
    "by DAY of created_at in its file (BigQuery keeps a table's partitioning: give the file "
    "another `table`, and copy the rows, or declare what is there)"
)
THEIRS = (
    "is STRING REQUIRED in BigQuery and not in its file: every row would be refused "
    "(ALTER TABLE `D.t` ALTER COLUMN theirs DROP NOT NULL)"
)
INT64 = "INT64 NULLABLE"
LIST = "STRING REPEATED"
REFUSALS = [
    (retyped("a", "STRING"), f", column a: {differs('STRING NULLABLE', INT64)} {NEW_NAME}"),
    (retyped("a", "FLOAT64"), f", column a: {differs('FLOAT64 NULLABLE', INT64)} {NEW_NAME}"),
    (
        retyped("a", "INT64", "REPEATED"),
        f", column a: {differs('INT64 REPEATED', INT64)} {NEW_NAME}",
    ),
    (
        retyped("changed_fields", "STRING"),
        f", column changed_fields: {differs('STRING NULLABLE', LIST)} {NEW_NAME}",
    ),
    (more_required, f", column theirs: {THEIRS}"),
    (by_hours, f": is partitioned by HOUR of created_at in BigQuery and {NEW_TABLE}"),
    (by_another, f": is partitioned by DAY of ingest_time in BigQuery and {NEW_TABLE}"),
    (not_partitioned, f": is partitioned not at all in BigQuery and {NEW_TABLE}"),
]


@pytest.mark.parametrize(("change", "said"), REFUSALS, ids=[str(i) for i in range(len(REFUSALS))])
def test_what_would_lose_data_is_refused(bigquery_, change, said):
    """With why and what to do instead; nothing else of it is done either."""
    bigquery_.create(change=change)
    before = bigquery_.get().to_api_repr()
    more = f"{FILE}  - path: c\n"
    added = "add     table D.t, column c: STRING NULLABLE is not there"
    code, lines = bigquery_.run("apply", more)
    assert code == 2
    assert set(lines) == {f"refuse  table D.t{said}", added, *VIEWS}
    assert bigquery_.errors == "refused: nothing was changed\n"
    assert bigquery_.get().to_api_repr() == before
    assert bigquery_.run("diff", more) == (1, lines)


def test_a_name_that_is_taken_by_something_else_is_refused(bigquery_):
    """A view where a table is declared, and a table where a view is."""
    bigquery_.client.create_dataset(bigquery_.dataset, timeout=DEADLINE, retry=None)
    view = bigquery.Table(f"{bigquery_.dataset}.t")
    view.view_query = "SELECT 1 AS one"
    table = bigquery.Table(f"{bigquery_.dataset}.v_daily", schema=[SchemaField("x", "STRING")])
    for each in (view, table):
        bigquery_.client.create_table(each, timeout=DEADLINE, retry=None)
    remedy = "(give it another name in the file, or remove what is there)"
    assert bigquery_.run("apply", FILE) == (
        2,
        [
            f"refuse  table D.t: the name is taken by a VIEW in BigQuery {remedy}",
            *(
                f"refuse  view D.v_daily: the name is taken by a TABLE in BigQuery {remedy}"
                if "view D.v_daily" in line
                else line
                for line in VIEWS
            ),
        ],
    )


def test_scripts_get_the_same_as_json(bigquery_):
    """One object: what differs, what is done about it, and whether it was done."""
    bigquery_.create()
    code, lines = bigquery_.run("apply", f"{FILE}  - path: c\n", "--format", "json")
    told = json.loads("\n".join(lines))
    assert (code, told["dataset"], told["applied"]) == (0, "D", True)
    assert told["differences"][0] == {
        "action": "add",
        "where": "table D.t, column c",
        "what": "STRING NULLABLE is not there",
        "remedy": "",
    }
    assert len(told["differences"]) == 1 + len(VIEWS)


def test_the_transcripts_of_the_page_are_real(bigquery_, tmp_path, monkeypatch, capsys):
    """docs/schema.md, from its first command to its last, each with what is shown below it."""
    monkeypatch.chdir(tmp_path)
    for name, text in console.files().items():
        (tmp_path / name).write_text(text, "utf-8")
    sample = console.ROOT / "tests" / "data" / "firestore_events.jsonl"
    (tmp_path / sample.name).symlink_to(sample)
    commands = console.commands()
    assert any(map(console.asks_bigquery, commands))
    for command in commands:
        said = console.run(command, capsys, bigquery_.dataset)
        assert (command.line, said) == (command.line, command.shown)
