"""Tables as data: the file that ships, and every way in which a file can be wrong."""

import pytest

from schemas.problem import ProblemsFound
from schemas.structured import END, START
from schemas.table import RAW, Column, Table, Type
from schemas.table_file import parse_table, parse_tables, shipped

FIXED_START = [
    ("event_id", "STRING", "NULLABLE"),
    ("issue_id", "STRING", "NULLABLE"),
    ("issue_key", "STRING", "NULLABLE"),
    ("source", "STRING", "NULLABLE"),
    ("created_at", "TIMESTAMP", "NULLABLE"),
    ("update_time", "TIMESTAMP", "NULLABLE"),
    ("event_type", "STRING", "NULLABLE"),
    ("operation", "STRING", "NULLABLE"),
    ("document_name", "STRING", "NULLABLE"),
    ("document_path", "STRING", "NULLABLE"),
    ("document_id", "STRING", "NULLABLE"),
    ("collection", "STRING", "NULLABLE"),
    ("changed_fields", "STRING", "REPEATED"),
]
FIXED_END = [
    ("type_errors", "STRING", "REPEATED"),
    ("payload", "JSON", "NULLABLE"),
    ("old_payload", "JSON", "NULLABLE"),
    ("auth_type", "STRING", "NULLABLE"),
    ("auth_id", "STRING", "NULLABLE"),
    ("publish_time", "TIMESTAMP", "NULLABLE"),
    ("ingest_time", "TIMESTAMP", "NULLABLE"),
]


def columns(table):
    return [(c.name, c.type.value, "REPEATED" if c.repeated else "NULLABLE") for c in table.columns]


def refusals(text):
    with pytest.raises(ProblemsFound) as caught:
        parse_table(text, "t.yaml")
    return [str(problem) for problem in caught.value.problems]


def refusals_together(*texts):
    with pytest.raises(ProblemsFound) as caught:
        parse_tables([(f"{i}.yaml", text) for i, text in enumerate(texts, start=1)])
    return [str(problem) for problem in caught.value.problems]


def test_the_shipped_table_is_the_one_of_the_design():
    """`issues_stream`: fixed columns, the declared ones between, partitioned and clustered."""
    (table,) = shipped()
    declared = [
        ("issue", "STRING", "NULLABLE"),
        ("title", "STRING", "NULLABLE"),
        ("description", "STRING", "NULLABLE"),
        ("priority", "STRING", "NULLABLE"),
        ("status", "STRING", "NULLABLE"),
        ("assignee", "STRING", "NULLABLE"),
        ("reporter_name", "STRING", "NULLABLE"),
        ("reporter_email", "STRING", "NULLABLE"),
        ("labels", "STRING", "REPEATED"),
        ("votes", "INT64", "NULLABLE"),
        ("estimate", "FLOAT64", "NULLABLE"),
        ("blocked", "BOOL", "NULLABLE"),
        ("due_at", "TIMESTAMP", "NULLABLE"),
        ("environment", "JSON", "NULLABLE"),
    ]
    assert columns(table) == FIXED_START + declared + FIXED_END
    assert [(c.name, c.path) for c in table.declared][6] == ("reporter_name", ("reporter", "name"))
    assert (table.name, table.layout, table.default) == ("issues_stream", "structured", True)
    assert (table.collections, table.view_prefix) == (("issues",), "issues")
    assert (table.partition, table.clustering) == ("created_at", ("issue_key", "operation"))
    assert all(column.description for column in table.columns)
    assert parse_tables([("a", "table: t\ndefault: true")])[0].declared == ()


def test_a_flat_table_has_the_four_columns_of_the_older_contract():
    """Four STRING columns, no partitioning, clustering only where it is asked for."""
    table = parse_table("{table: t, layout: flat}", "t.yaml")
    assert columns(table) == [
        (name, "STRING", "NULLABLE") for name in ("issue_id", "source", "created_at", "payload")
    ]
    assert (table.partition, table.clustering, table.view_prefix) == ("", (), "")
    assert parse_table("{table: t, layout: flat, clustering: [source]}", "").clustering == (
        "source",
    )


def test_a_file_of_every_key_is_read_whole():
    """Each key has its place in the Table."""
    table = parse_table(
        """
table: t_1
layout: structured
default: true
collections: [a, "b c", "users/{user}/a"]
raw: true
view_prefix: v
description: What it is.
clustering: [a_b, event_id]
columns:
  - {path: a.b, type: INT64, description: Of b.}
  - {path: "`x y`.z", name: xyz, mode: REPEATED, type: BYTES}
""",
        "t.yaml",
    )
    assert table == Table(
        name="t_1",
        layout="structured",
        columns=table.columns,
        declared=(
            Column("a_b", Type.INT64, description="Of b.", path=("a", "b")),
            Column("xyz", Type.BYTES, repeated=True, path=("x y", "z")),
        ),
        collections=("a", "b c", "users/{user}/a"),
        default=True,
        raw=True,
        partition="created_at",
        clustering=("a_b", "event_id"),
        view_prefix="v",
        description="What it is.",
    )
    user = Column("user", Type.STRING, description="{user} of users/{user}/a.", parameter="user")
    assert table.columns == (*START, user, *table.declared, *END, RAW)


@pytest.mark.parametrize("kind", list(Type))
def test_every_type_can_be_declared(kind):
    """By BigQuery's own names."""
    table = parse_table(f"{{table: t, columns: [{{path: a, type: {kind}}}]}}", "")
    assert table.declared[0].type is kind


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["t.yaml: $: a mapping is expected, not NoneType",
              "t.yaml: $.table: '' is no table name (letters, digits and _)"]),
        ("[]", ["t.yaml: $: a mapping is expected, not list",
                "t.yaml: $.table: '' is no table name (letters, digits and _)"]),
        ("table: a-b", ["t.yaml: $.table: 'a-b' is no table name (letters, digits and _)"]),
        ("table: 5", ["t.yaml: $.table: a string is expected, not 5",
                      "t.yaml: $.table: '' is no table name (letters, digits and _)"]),
        ("{table: t, layout: wide}",
         ["t.yaml: $.layout: 'wide' is no layout (known: structured, flat)"]),
        ("{table: t, column: []}",
         [("t.yaml: $.column: not a key of a table file (known: table, layout, default, "
          "collections, view_prefix, description, columns, clustering, raw)")]),
        ("{table: t, default: 1}", ["t.yaml: $.default: true or false is expected, not 1"]),
        ("{table: t, collections: a}", ["t.yaml: $.collections: a list is expected, not 'a'"]),
        ("{table: t, collections: [a, 1]}",
         ["t.yaml: $.collections[1]: a string is expected, not 1"]),
        ("{table: t, columns: {a: 1}}", ["t.yaml: $.columns: a list is expected, not {'a': 1}"]),
        ("{table: t, columns: [a]}",
         ["t.yaml: $.columns[0]: a mapping is expected, not str",
          ("t.yaml: $.columns[0].path: '' is not a field path; write odd names in backticks, as in "
          "a.`b c`")]),
        ("{table: t, columns: [{path: a..b}]}",
         [("t.yaml: $.columns[0].path: 'a..b' is not a field path; write odd names in backticks, "
          "as in a.`b c`")]),
        ("{table: t, columns: [{path: a, type: int}]}",
         [("t.yaml: $.columns[0].type: 'int' is no column type (known: STRING, INT64, FLOAT64, "
          "BOOL, BYTES, TIMESTAMP, JSON)")]),
        ("{table: t, columns: [{path: a, mode: REQUIRED}]}",
         ["t.yaml: $.columns[0].mode: 'REQUIRED' is neither NULLABLE nor REPEATED"]),
        ("{table: t, columns: [{path: a, nam: b}]}",
         [("t.yaml: $.columns[0].nam: not a key of a table file (known: path, name, type, mode, "
          "description, policy)")]),
        ("{table: t, columns: [{path: a, name: [b]}]}",
         ["t.yaml: $.columns[0].name: a string is expected, not ['b']"]),
        ("{table: t, columns: [{path: '`a b`'}]}",
         [("t.yaml: $.columns `a b`: 'a b' is no column name (give it a `name` of letters, digits "
          "and _, 300 at most)")]),
        (f"{{table: t, columns: [{{path: {'a' * 301}}}]}}",
         [(f"t.yaml: $.columns {'a' * 301}: '{'a' * 301}' is no column name (give it a `name` of "
          "letters, digits and _, 300 at most)")]),
        ("{table: t, columns: [{path: _PARTITION_x}]}",
         ["t.yaml: $.columns _PARTITION_x: BigQuery reserves the prefix of '_PARTITION_x'"]),
        ("{table: t, columns: [{path: payload}]}",
         [("t.yaml: $.columns the layout: the name 'payload' is taken by payload (give it a `name` "
          "of its own)")]),
        ("{table: t, columns: [{path: source}]}",
         [("t.yaml: $.columns source: the name 'source' is taken by the layout (give it a `name` "
          "of its own)")]),
        ("{table: t, columns: [{path: a.b}, {path: A_B}]}",
         ["t.yaml: $.columns A_B: the name 'A_B' is taken by a.b (give it a `name` of its own)"]),
        ("{table: t, clustering: [issue_key, nope]}",
         ["t.yaml: $.clustering: 'nope' is no column of the table"]),
        ("{table: t, clustering: [payload]}",
         ["t.yaml: $.clustering: BigQuery does not cluster by 'payload', a JSON"]),
        ("{table: t, clustering: [changed_fields]}",
         ["t.yaml: $.clustering: BigQuery does not cluster by 'changed_fields', a STRING"]),
        ("{table: t, clustering: [event_id, issue_id, issue_key, source, operation]}",
         ["t.yaml: $.clustering: 5 columns, BigQuery takes 4"]),
        ("{table: t, layout: flat, columns: [{path: a}]}",
         ["t.yaml: $.columns: the flat layout has fixed columns and no others"]),
        ("{table: t, layout: flat, view_prefix: v}",
         ["t.yaml: $.view_prefix: the flat layout has no ids to drop repeats by"]),
        ("{table: t, view_prefix: a-b}",
         ["t.yaml: $.view_prefix: 'a-b' cannot begin a view's name"]),
    ],
)  # fmt: skip
def test_each_fault_is_named_with_its_path(text, expected):
    """The file, the path inside it, what is wrong, and where it helps what to do."""
    assert refusals(text) == expected


@pytest.mark.parametrize("text", ["a: [", "\t- x", "table: 2026-02-30", "a: b: c", "!!python/x y"])
def test_what_is_no_yaml_is_refused(text):
    """A file that cannot be read is one problem; nothing of it is executed."""
    (problem,) = refusals(text)
    assert problem.startswith("t.yaml: not YAML: ")


def test_every_fault_is_reported_at_once():
    """Faults of several columns and keys come together, each with its own place."""
    found = refusals(
        "{table: t!, layout: wide, x: 1, "
        "columns: [{path: ''}, {path: a, type: T}, {path: event_id}]}"
    )
    assert [problem.split(": ")[1] for problem in found] == [
        "$.x",
        "$.table",
        "$.layout",
        "$.columns[0].path",
        "$.columns[1].type",
        "$.columns event_id",
    ]


def test_several_files_are_one_job():
    """Tables in the files' order; one of them takes what no other does."""
    tables = parse_tables(
        [("1", "{table: a, default: true, collections: [x]}"), ("2", "{table: b, layout: flat}")]
    )
    assert [(table.name, table.default) for table in tables] == [("a", True), ("b", False)]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["{table: a, default: true}", "{table: a}"],
         ["table a: the name a is already taken by table a"]),
        (["{table: a, default: true, collections: [x, y]}", "{table: b, collections: [y]}"],
         ["table b: the collection y is already taken by table a"]),
        (["{table: a, default: true, view_prefix: v}", "{table: b, view_prefix: v}"],
         ["table b: the name v_latest is already taken by table a",
          "table b: the name v_changes is already taken by table a",
          "table b: the name v_daily is already taken by table a"]),
        (["{table: a, default: true, view_prefix: v}", "{table: v_latest}"],
         ["table v_latest: the name v_latest is already taken by table a"]),
        (["{table: a}"],
         [("default: exactly one table takes what no other does, here: none (set `default: true` "
          "in one table file)")]),
        (["{table: a, default: true}", "{table: b, default: true}"],
         [("default: exactly one table takes what no other does, here: ['a', 'b'] (set "
          "`default: true` in one table file)")]),
    ],
)  # fmt: skip
def test_files_that_clash_are_refused(texts, expected):
    """Tables, views and collections are taken once, and there is one default."""
    assert refusals_together(*texts) == expected


def test_faults_of_every_file_come_together():
    """Two bad files are two problems, each with its file's name."""
    assert [p.split(":")[0] for p in refusals_together("table: 1-", "[")] == ["1.yaml", "2.yaml"]
