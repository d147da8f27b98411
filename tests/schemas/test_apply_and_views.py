"""What `apply` makes of a table's file: BigQuery's schema, missing columns, views, functions."""

import copy
from dataclasses import replace

import pytest
from google.api_core.exceptions import Conflict, NotFound
from google.cloud import bigquery

from schemas.apply import apply, bigquery_schema, bigquery_table, missing_columns
from schemas.problem import ProblemsFound
from schemas.table import Type
from schemas.table_file import parse_table, shipped
from schemas.views import view_functions, views

TABLE = parse_table(
    "{table: t, description: d, view_prefix: v, columns: [{path: a, type: INT64}, "
    "{path: b, type: FLOAT64, mode: REPEATED, description: Of b.}, {path: c, type: BOOL}]}",
    "t.yaml",
)


def live(table=TABLE, **changes):
    """A live table's schema as BigQuery's REST API answers: with the older names of types."""
    old = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN"}
    fields = []
    for field in bigquery_schema(table.columns):
        kind, mode = old.get(field.field_type, field.field_type), field.mode
        kind, mode = changes.get(field.name, (kind, mode)) or (None, None)
        if kind:
            fields.append(bigquery.SchemaField(field.name, kind, mode=mode))
    return fields


def test_the_schema_is_the_files():
    """Names, types, modes and descriptions in the columns' order; nothing is REQUIRED."""
    for table in (TABLE, *shipped()):
        assert [(f.name, f.field_type, f.mode, f.description) for f in bigquery_schema(
            table.columns)] == [
            (c.name, c.type.value, "REPEATED" if c.repeated else "NULLABLE", c.description or None)
            for c in table.columns
        ]  # fmt: skip
    assert {f.field_type for f in bigquery_schema(TABLE.columns)} <= {t.value for t in Type}


def test_the_table_is_partitioned_and_clustered_as_its_file_says():
    """By day on created_at, or by what the file says; a flat table by nothing."""
    made = bigquery_table(TABLE, "p.d").to_api_repr()
    assert made["tableReference"] == {"projectId": "p", "datasetId": "d", "tableId": "t"}
    assert made["timePartitioning"] == {"type": "DAY", "field": "created_at"}
    assert made["clustering"] == {"fields": ["issue_key", "operation"]}
    assert made["description"] == "d"
    by_month = bigquery_table(replace(TABLE, partition_by="MONTH"), "p.d").to_api_repr()
    assert by_month["timePartitioning"] == {"type": "MONTH", "field": "created_at"}
    flat = bigquery_table(parse_table("{table: f, layout: flat}", ""), "p.d").to_api_repr()
    assert "timePartitioning" not in flat
    assert "clustering" not in flat


def test_a_live_table_that_is_equal_lacks_nothing():
    """The REST API's older names are the same types, and case does not count in names."""
    assert missing_columns(TABLE, live()) == ([], [])
    upper = [bigquery.SchemaField(f.name.upper(), f.field_type, mode=f.mode) for f in live()]
    assert missing_columns(TABLE, upper) == ([], [])


def test_columns_that_a_live_table_lacks_are_found():
    """In the file's order; columns that only the live table has are let be."""
    missing, problems = missing_columns(TABLE, live(c=None, a=None))
    assert [column.name for column in missing] == ["a", "c"]
    assert problems == []
    more = [*live(), bigquery.SchemaField("theirs", "STRING")]
    assert missing_columns(TABLE, more) == ([], [])


_OURS = "and INT64 NULLABLE in its file"
_ANOTHER_NAME = (
    "(BigQuery keeps a column's type: give it another `name` in the file, and it is added)"
)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("STRING", "NULLABLE"), f"is STRING NULLABLE in BigQuery {_OURS} {_ANOTHER_NAME}"),
        (("INTEGER", "REPEATED"), f"is INT64 REPEATED in BigQuery {_OURS} {_ANOTHER_NAME}"),
        (
            ("INTEGER", "REQUIRED"),
            f"is INT64 REQUIRED in BigQuery {_OURS} (`python -m schemas apply` makes it NULLABLE)",
        ),
    ],
)
def test_a_column_of_another_type_or_mode_is_a_problem(change, said):
    """Its rows would be refused, or not fit: the reader is told what to do."""
    missing, problems = missing_columns(TABLE, live(a=change))
    assert missing == []
    assert [str(problem) for problem in problems] == [f"table t, column a: {said}"]


def test_a_required_column_that_is_always_filled_is_none():
    """As the Firebase extension has some of its own; no row of the job is without a value."""
    assert missing_columns(TABLE, live(event_id=("STRING", "REQUIRED"))) == ([], [])


def test_a_required_column_of_their_own_is_a_problem():
    """Every row without it would be refused."""
    more = [*live(), bigquery.SchemaField("theirs", "STRING", mode="REQUIRED")]
    _, (problem,) = missing_columns(TABLE, more)
    assert str(problem) == (
        "table t, column theirs: is STRING REQUIRED in BigQuery and not in its file: every row "
        "would be refused (ALTER TABLE `t` ALTER COLUMN theirs DROP NOT NULL)"
    )


def test_a_remedy_names_the_whole_table_where_it_is_told():
    """So that the statement can be run as it is written."""
    more = [*live(), bigquery.SchemaField("theirs", "STRING", mode="REQUIRED")]
    _, (problem,) = missing_columns(TABLE, more, "p.d.t")
    assert problem.where == "table p.d.t, column theirs"
    assert problem.remedy == "ALTER TABLE `p.d.t` ALTER COLUMN theirs DROP NOT NULL"


class BigQuery:
    """BigQuery's REST service in memory: it gives back what it was sent, as it is on the wire.

    Every call must have a deadline and no retry of Google's own.
    """

    project = "p"

    def __init__(self):
        self.made = {}

    def get_dataset(self, name, **options):
        return bigquery.Dataset.from_api_repr(self._get(name, options))

    def create_dataset(self, dataset, **options):
        name = f"{dataset.project}.{dataset.dataset_id}"
        self._create(name, dataset.to_api_repr(), options)

    def get_table(self, name, **options):
        return bigquery.Table.from_api_repr(self._get(str(name), options))

    def create_table(self, table, **options):
        resource = table.to_api_repr() | {"type": "VIEW" if table.view_query else "TABLE"}
        self._create(str(table.reference), resource, options)

    def update_table(self, table, fields, **options):
        changed = table._build_resource(fields)
        self._get(str(table.reference), options).update(changed)

    def get_routine(self, reference, **options):
        return bigquery.Routine.from_api_repr(self._get(f"{reference}()", options))

    def create_routine(self, routine, **options):
        self._create(f"{routine.reference}()", routine.to_api_repr(), options)

    def update_routine(self, routine, fields, **options):
        """Not a patch: what the fields leave out is gone."""
        self._get(f"{routine.reference}()", options)
        self.made[f"{routine.reference}()"] = routine._build_resource(fields) | {
            "routineReference": routine.reference.to_api_repr()
        }

    def _create(self, name, resource, options):
        assert options == {"timeout": 7.0, "retry": None}
        if name in self.made:
            raise Conflict(name)
        self.made[name] = copy.deepcopy(resource)

    def _get(self, name, options):
        assert options == {"timeout": 7.0, "retry": None}
        if name not in self.made:
            raise NotFound(name)
        return self.made[name]


def applied(service, *tables):
    return apply(service, "d", tables, 7.0)


ALL = [
    "create dataset p.d",
    "create table p.d.t",
    "create view p.d.v_latest",
    "create view p.d.v_changes",
    "create view p.d.v_daily",
    "create function p.d.v_latest_between",
    "create function p.d.v_changes_between",
    "create function p.d.v_daily_between",
]


def test_all_is_made_once():
    """Dataset, table, views, functions, as derived; and a second time there is nothing to do."""
    service = BigQuery()
    assert applied(service, TABLE) == ALL
    for name, view in views(TABLE, "p.d").items():
        assert service.made[f"p.d.{name}"]["view"] == {"query": view.query, "useLegacySql": False}
        assert service.made[f"p.d.{name}"]["description"] == view.description
    for name, function in view_functions(TABLE, "p.d").items():
        made = service.made[f"p.d.{name}()"]
        assert made == {
            "routineReference": {"projectId": "p", "datasetId": "d", "routineId": name},
            "routineType": "TABLE_VALUED_FUNCTION",
            "language": "SQL",
            "arguments": [
                {"name": "first_day", "dataType": {"typeKind": "DATE"}},
                {"name": "last_day", "dataType": {"typeKind": "DATE"}},
            ],
            "definitionBody": function.query.strip(),
            "description": function.description,
        }
    before = copy.deepcopy(service.made)
    assert applied(service, TABLE) == []
    assert service.made == before


def test_views_and_functions_of_yesterday_are_brought_up_to_date():
    """Their SQL, description and arguments; whatever else was set on a view stays."""
    service = BigQuery()
    applied(service, TABLE)
    service.made["p.d.v_daily"]["labels"] = {"team": "blue"}
    wanted = copy.deepcopy(service.made)
    service.made["p.d.v_latest"]["view"]["query"] = "SELECT 1"
    service.made["p.d.v_daily"]["description"] = "old"
    service.made["p.d.v_latest_between()"]["definitionBody"] = "SELECT 1"
    service.made["p.d.v_changes_between()"]["arguments"][0]["name"] = "since"
    service.made["p.d.v_daily_between()"]["description"] = "old"
    assert applied(service, TABLE) == [
        "change view p.d.v_latest",
        "change view p.d.v_daily",
        "change function p.d.v_latest_between",
        "change function p.d.v_changes_between",
        "change function p.d.v_daily_between",
    ]
    assert service.made == wanted
    assert applied(service, TABLE) == []


def test_a_new_column_changes_the_views_that_have_all():
    """The table gets it, and the views that select everything another text, so that it is noted."""
    service = BigQuery()
    applied(service, TABLE)
    more = parse_table("{table: t, columns: [{path: size, type: INT64}]}", "").declared
    wider = replace(TABLE, columns=(*TABLE.columns, *more))
    assert applied(service, wider) == [
        "add table p.d.t, column size",
        "change view p.d.v_latest",
        "change view p.d.v_changes",
    ]
    assert service.made["p.d.t"]["schema"]["fields"][-1]["name"] == "size"
    assert applied(service, wider) == []


def test_what_is_refused_is_a_problem_and_nothing_is_done():
    """A column of another type; a table where a view is declared, a function of another kind."""
    service = BigQuery()
    applied(service, parse_table("{table: t, columns: [{path: a, type: BOOL}]}", ""))
    service.create_table(bigquery.Table("p.d.v_daily"), timeout=7.0, retry=None)
    scalar = bigquery.Routine("p.d.v_daily_between", type_="SCALAR_FUNCTION", body="1")
    service.create_routine(scalar, timeout=7.0, retry=None)
    before = copy.deepcopy(service.made)
    with pytest.raises(ProblemsFound) as found:
        applied(service, TABLE, parse_table("{table: plain}", ""))
    taken = "the name is taken by a"
    remedy = "(give it another name in the file, or remove what is there)"
    assert str(found.value).splitlines() == [
        f"table p.d.t, column a: is BOOL NULLABLE in BigQuery {_OURS} {_ANOTHER_NAME}",
        f"view p.d.v_daily: {taken} TABLE in BigQuery {remedy}",
        f"function p.d.v_daily_between: {taken} SCALAR_FUNCTION in BigQuery {remedy}",
    ]
    assert service.made == before
