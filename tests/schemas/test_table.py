"""Tables as data: the file that ships, and every way in which a file can be wrong."""

import pytest

from schemas import table_reader
from schemas.problem import ProblemsFound
from schemas.structured import END, START
from schemas.table import RAW, Column, Table, Type
from schemas.table_file import parse_table, parse_tables, shipped
from schemas.views import view_functions, view_names

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
partition: {column: created_at, by: MONTH}
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
        partition_by="MONTH",
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


NO_PATH = "is not a field path; write odd names in backticks, as in a.`b c`"
NO_NAME = "is no column name (give it a `name` of letters, digits and _, 300 at most)"
NO_TABLE = "(letters, digits and _, 1,024 at most)"
EMPTY = "the item is empty (write something, or leave it out)"
LONG_FUNCTION = (
    "$.view_prefix: makes a function's name of 257 characters (BigQuery takes 256: 1 fewer)"
)
IN_PATTERN = "(give the parameter another name in the pattern)"
OWN_NAME = "(give it a `name` of its own)"
TYPES = "(known: STRING, INT64, FLOAT64, BOOL, BYTES, TIMESTAMP, JSON)"
REQUIRED = "BigQuery adds no REQUIRED column, and a document can lack any field"
NOT_BY = "(the job looks rows up by that column, and sees to it that BigQuery takes them)"
HOURS = (
    "rows from 1,824 days back to 366 ahead, which the job takes, are 52,560 partitions by HOUR; "
    "BigQuery takes 10,000 (take DAY, and cluster for what is finer)"
)
FIXED = "has fixed columns and no others"
RESERVED = "BigQuery reserves the prefix of"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["$: the document is empty (write a table, or leave the document out)"]),
        ("null", ["$: the document is empty (write a table, or leave the document out)"]),
        ("[]", ["$: a mapping is expected, not a list"]),
        ("{}", [f"$.table: the table's name is missing {NO_TABLE}"]),
        ("table: a-b", [f"$.table: 'a-b' is no table name {NO_TABLE}"]),
        (f"table: {'t' * 1_025}", [f"$.table: '{'t' * 399}... is no table name {NO_TABLE}"]),
        ("table: 5", ["$.table: a string is expected, not 5 (write it in quotes)"]),
        ("table: yes", ["$.table: a string is expected, not True (write it in quotes)"]),
        ("{table: t, column: []}", ["$.column: not a key of a table file (did you mean columns?)"]),
        ("{table: t, colour: red}",
         [("$.colour: not a key of a table file (known: table, layout, default, collections, "
          "view_prefix, description, columns, partition, clustering, raw)")]),
        ("{table: t, default: 1}", ["$.default: true or false is expected, not 1"]),
        ("{table: t, collections: a}", ["$.collections: a list is expected, not 'a'"]),
        ("{table: t, collections: [a, 1]}",
         ["$.collections[1]: a string is expected, not 1 (write it in quotes)"]),
        ('{table: t, collections: ["", null]}',
         [f"$.collections[0]: {EMPTY}", f"$.collections[1]: {EMPTY}"]),
        ("{table: t, collections: [a//b]}", ["$.collections[0]: 'a//b' has an empty segment"]),
        ("{table: t, columns: {a: 1}}", ["$.columns: a list is expected, not a mapping"]),
        ("{table: t, columns: [a]}", ["$.columns[0]: a mapping is expected, not 'a'"]),
        ("{table: t, columns: [null, {}]}",
         ["$.columns[0]: the item is empty (write a `path`, or leave it out)",
          "$.columns[1]: the item is empty (write a `path`, or leave it out)"]),
        ("{table: t, columns: [{path: a..b}]}", [f"$.columns[0].path: 'a..b' {NO_PATH}"]),
        ("{table: t, columns: [{type: INT64}]}",
         ["$.columns[0].path: the path of the field is missing (write it as in a.`b c`)"]),
        ("{table: t, columns: [{path: a, type: int}]}",
         [f"$.columns[0].type: 'int' is no column type {TYPES}"]),
        ("{table: t, columns: [{path: a, mode: REQUIRED}]}",
         [f"$.columns[0].mode: 'REQUIRED' is neither NULLABLE nor REPEATED ({REQUIRED})"]),
        ("{table: t, columns: [{path: a, mode: MANY}]}",
         ["$.columns[0].mode: 'MANY' is neither NULLABLE nor REPEATED"]),
        ("{table: t, columns: [{path: a, nam: b}]}",
         ["$.columns[0].nam: not a key of a table file (did you mean name?)"]),
        ("{table: t, columns: [{path: a, name: [b]}]}",
         ["$.columns[0].name: a string is expected, not a list"]),
        ("{table: t, columns: [{path: '`a b`'}]}", [f"$.columns `a b`: 'a b' {NO_NAME}"]),
        ("{table: t, columns: [{path: '`é`'}]}", [f"$.columns `é`: 'é' {NO_NAME}"]),
        (f"{{table: t, columns: [{{path: {'a' * 301}}}]}}",
         [f"$.columns {'a' * 301}: '{'a' * 301}' {NO_NAME}"]),
        ("{table: t, columns: [{path: _PARTITION_x}]}",
         [f"$.columns _PARTITION_x: {RESERVED} '_PARTITION_x' (give it another `name`)"]),
        ("{table: t, columns: [{path: a, name: _Change_Type}]}",
         [f"$.columns a: {RESERVED} '_Change_Type' (give it another `name`)"]),
        ("{table: t, columns: [{path: payload}]}",
         [f"$.columns payload: the name 'payload' is taken by the layout {OWN_NAME}"]),
        ("{table: t, columns: [{path: source}]}",
         [f"$.columns source: the name 'source' is taken by the layout {OWN_NAME}"]),
        ("{table: t, columns: [{path: a.b}, {path: A_B}]}",
         [f"$.columns A_B: the name 'A_B' is taken by a.b {OWN_NAME}"]),
        ("{table: t, raw: true, columns: [{path: raw}]}",
         [f"$.columns raw: the name 'raw' is taken by the layout {OWN_NAME}"]),
        ("{table: t, collections: ['u/{user}/i'], columns: [{path: user}]}",
         [f"$.columns user: the name 'user' is taken by the parameter {{user}} {OWN_NAME}"]),
        ("{table: t, collections: ['u/{payload}/i/{event_id}']}",
         [(f"$.columns the parameter {{{name}}}: the name '{name}' is taken by the layout "
           f"{IN_PATTERN}") for name in ("payload", "event_id")]),
        ("{table: t, collections: ['u/{_FILE_x}/i']}",
         [f"$.columns the parameter {{_FILE_x}}: {RESERVED} '_FILE_x' {IN_PATTERN}"]),
        ("{table: t, collections: [__x__]}",
         [("$.collections[0]: Firestore has no id '__x__', as in '__x__': no `.`, `..`, `__x__`")]),
        ("{table: t, columns: [{path: a, policy: none}]}",
         ["$.columns[0].policy: 'none' is neither keep nor drop"]),
        (f"{{table: t, view_prefix: {'v' * 241}}}", [LONG_FUNCTION]),
        (f"{{table: t, layout: changelog, view_prefix: {'v' * 235}}}", [LONG_FUNCTION]),
        (f"{{table: t, columns: [{{path: a, description: {'d' * 1_025}}}]}}",
         ["$.columns[0].description: 1025 characters, BigQuery takes 1,024"]),
        (f"{{table: t, description: {'d' * 16_385}}}",
         ["$.description: 16385 characters, BigQuery takes 16,384"]),
        ("{table: t, clustering: [issue_key, nope]}",
         ["$.clustering[1]: 'nope' is no column of the table"]),
        ("{table: t, clustering: [null]}", [f"$.clustering[0]: {EMPTY}"]),
        ("{table: t, clustering: [payload]}",
         ["$.clustering[0]: BigQuery does not cluster by 'payload', a JSON"]),
        ("{table: t, clustering: [a], columns: [{path: a, type: FLOAT64}]}",
         ["$.clustering[0]: BigQuery does not cluster by 'a', a FLOAT64"]),
        ("{table: t, clustering: [changed_fields]}",
         ["$.clustering[0]: BigQuery does not cluster by 'changed_fields', a REPEATED STRING"]),
        ("{table: t, clustering: [source, source]}", ["$.clustering[1]: 'source' stands twice"]),
        ("{table: t, clustering: [event_id, issue_id, issue_key, source, operation]}",
         ["$.clustering: 5 columns, BigQuery takes 4"]),
        ("{table: t, layout: flat, partition: created_at}",
         ["$.partition: the flat layout has no TIMESTAMP column"]),
        ("{table: t, partition: ingest_time}",
         [("$.partition: a structured table is partitioned by created_at, not by 'ingest_time' "
          f"{NOT_BY}")]),
        ("{table: t, partition: {column: due, by: DAY}}",
         [("$.partition.column: a structured table is partitioned by created_at, not by 'due' "
          f"{NOT_BY}")]),
        ("{table: t, partition: {by: WEEK}}",
         ["$.partition.by: 'WEEK' is no size of a partition (known: DAY, MONTH, YEAR)"]),
        ("{table: t, partition: {by: HOUR}}", [f"$.partition.by: {HOURS}"]),
        ("{table: t, partition: {per: DAY}}",
         ["$.partition.per: not a key of a table file (known: column, by)"]),
        ("{table: t, partition: [created_at]}", ["$.partition: a mapping is expected, not a list"]),
        ("{table: t, layout: flat, columns: [{path: a}]}", [f"$.columns: the flat layout {FIXED}"]),
        ("{table: t, layout: flat, view_prefix: v}",
         ["$.view_prefix: the flat layout has no ids to drop repeats by"]),
        ("{table: t, view_prefix: a-b}",
         [("$.view_prefix: 'a-b' cannot begin a view's name (letters, digits and _, 1,024 at most "
          "in all)")]),
    ],
)  # fmt: skip
def test_each_fault_is_named_with_its_path(text, expected):
    """The file, the line, the path, what is wrong, and where it helps what to do."""
    assert refusals(text) == [f"t.yaml:1: {each}" for each in expected]


def test_an_unknown_layout_is_refused():
    """With the names of those that there are."""
    (problem,) = refusals("{table: t, layout: wide}")
    assert problem.startswith(
        "t.yaml:1: $.layout: 'wide' is no layout (known: structured, changelog, flat"
    )


def test_faults_have_their_own_lines():
    """Of a key, of an item, of a missing key's mapping, below comments and in flow style."""
    found = refusals(
        """# what it is
table: t
layout: structured
view_prefx: v
collections:
  - issues
  -
columns:
  - path: a
    type: INT
  - {path: b,
     mode: X}
  - name: c
  - path: event_id
    type: STRING

clustering: [source,
  nope]
"""
    )
    assert [problem.split(": ")[:2] for problem in found] == [
        ["t.yaml:4", "$.view_prefx"],
        ["t.yaml:7", "$.collections[1]"],
        ["t.yaml:10", "$.columns[0].type"],
        ["t.yaml:12", "$.columns[1].mode"],
        ["t.yaml:13", "$.columns[2].path"],
        ["t.yaml:14", "$.columns event_id"],
        ["t.yaml:18", "$.clustering[1]"],
    ]


def test_a_key_that_stands_twice_is_refused():
    """YAML lets the last one win, and half of the file would be without effect."""
    text = "table: t\ncolumns:\n  - path: a\n    type: INT64\n    type: JSON\ntable: u\n"
    remedy = "(leave one of the two)"
    assert refusals(text) == [
        f"t.yaml:5: $.columns[0].type: the key stands twice, at first in line 4 {remedy}",
        f"t.yaml:6: $.table: the key stands twice, at first in line 1 {remedy}",
    ]


def test_anchors_and_merges_are_read():
    """What YAML has for repeated parts works, and is told by the line where it stands."""
    text = """
table: t
columns:
  - &number {path: a, type: INT64}
  - {<<: *number, path: b}
  - *number
"""
    (problem,) = refusals(text)
    assert (
        problem == "t.yaml:4: $.columns a: the name 'a' is taken by a (give it a `name` of its own)"
    )
    table = parse_table(text.replace("  - *number\n", ""), "t.yaml")
    assert [(c.name, c.type) for c in table.declared] == [("a", Type.INT64), ("b", Type.INT64)]


def test_a_file_cannot_grow_without_end():
    """An anchor inside itself, and lists of lists of one anchor, are refused at once."""
    assert refusals("table: &a [*a]") == ["t.yaml:1: $.table: a string is expected, not a list"]
    levels = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 40))
    assert len(refusals(f"table: t\na0: &a0 [x]\n{levels}")) == 40


def test_there_is_room_for_10000_columns_and_no_more(monkeypatch):
    """The layout's own among them (with fewer here, since YAML is slow)."""
    own = len(parse_table("table: t", "").columns)
    assert table_reader.MAX_COLUMNS == 10_000
    monkeypatch.setattr(table_reader, "MAX_COLUMNS", own + 5)
    declared = "table: t\ncolumns:\n" + "".join(f"  - path: f{i}\n" for i in range(5))
    assert len(parse_table(declared, "").columns) == own + 5
    (problem,) = refusals(f"{declared}  - path: one_more\n")
    assert problem == (
        f"t.yaml:2: $.columns: {own + 6} with the layout's own, BigQuery takes {own + 5} columns "
        "(declare fewer; `payload` has every field)"
    )


def test_names_of_the_greatest_length_are_taken():
    """A table's 1,024 bytes, a column's 300 characters, descriptions of 16,384 and 1,024."""
    table = parse_table(
        f"table: {'t' * 1_024}\ndescription: {'d' * 16_384}\n"
        f"columns: [{{path: {'a' * 300}, description: {'d' * 1_024}}}]",
        "t.yaml",
    )
    assert (len(table.name), len(table.declared[0].name)) == (1_024, 300)
    table = parse_table(f"{{table: t, view_prefix: {'v' * 240}}}", "t.yaml")
    assert max(map(len, view_functions(table, "p.d"))) == 256


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("partition: created_at", ("created_at", "DAY")),
        ("partition: {}", ("created_at", "DAY")),
        ("partition: {by: MONTH}", ("created_at", "MONTH")),
        ("partition: {column: created_at, by: YEAR}", ("created_at", "YEAR")),
        ("partition:", ("created_at", "DAY")),
    ],
)
def test_partitions_are_as_large_as_the_file_says(text, expected):
    """The column is the layout's, the size a day unless the file says otherwise."""
    table = parse_table(f"table: t\n{text}", "t.yaml")
    assert (table.partition, table.partition_by) == expected


NO_CHARACTER = "stands for no character; U+10FFFF is the last"


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("a: [", 1, "not YAML: expected the node content, but found '<stream end>'"),
        ("\t- x", 1, "not YAML: found character '\\t' that cannot start any token"),
        ("table: t\na: b: c", 2, "not YAML: mapping values are not allowed here"),
        ("table: t\nlayout: \x01", 2, "not YAML: character U+0001 is not taken"),
        ("[" * 20_000, 1, "not YAML that can be read: nested too deep"),
        ("!!python/x y", 1, "$: no use for 'tag:yaml.org,2002:python/x' (leave the tag out)"),
        ("table: !!set {a}", 1, "$.table: no use for 'tag:yaml.org,2002:set'"),
        ("table: t\nlayout: 0x_", 2, "$.layout: '0x_' is no int (write it in quotes)"),
        ('table: t\nlayout: "\\U00110000"', 2, f"not YAML: an escape {NO_CHARACTER}"),
        ('table: t\n\nlayout: "\\UFFFFFFFF"', 3, f"not YAML: an escape {NO_CHARACTER}"),
        (f"table: t\nlayout: 1{':59' * 200}.5", 2, "$.layout: '1:59"),
        ("? [a]\n: b", 1, "$: a key is a word, no list or mapping"),
        ("table: t\n<<: 5", 2, "$['<<']: a mapping is merged, nothing else"),
    ],
)
def test_what_is_no_yaml_is_refused(text, line, reason):
    """A file that cannot be read is one problem, with its line; nothing of it is executed."""
    (problem,) = refusals(text)
    assert problem.startswith(f"t.yaml:{line}: {reason}")


def test_half_of_a_surrogate_pair_is_refused_wherever_it_stands():
    """YAML can write it, and neither BigQuery nor an output can take it: each with its line."""
    found = refusals(
        r"""table: "t\ud800"
description: "\udfff"
view_prefix: "\ud83d\ude00"
collections: ["\ud800"]
clustering: ["\ud800"]
columns:
  - path: "\ud800"
  - path: a
    name: "\ud800"
    description: "x\udc00"
"""
    )
    places = [problem.split(": ")[:2] for problem in found]
    assert places == [
        ["t.yaml:1", "$.table"],
        ["t.yaml:2", "$.description"],
        ["t.yaml:3", "$.view_prefix"],
        ["t.yaml:4", "$.collections[0]"],
        ["t.yaml:5", "$.clustering[0]"],
        ["t.yaml:7", "$.columns[0].path"],
        ["t.yaml:9", "$.columns[1].name"],
        ["t.yaml:10", "$.columns[1].description"],
    ]
    assert found[1] == (
        r"t.yaml:2: $.description: '\udfff' has half of a surrogate pair, which is no character "
        "(write the character itself)"
    )
    assert parse_table('{table: t, description: "\\U0001F600"}', "").description == "\U0001f600"


def test_a_policy_of_null_is_keep():
    """As of any key without a value."""
    table = parse_table("table: t\ncolumns:\n  - path: a\n    policy:\n", "t.yaml")
    assert ([column.name for column in table.declared], table.dropped) == (["a"], ())


def test_a_date_is_the_string_that_was_written():
    """YAML would make it a date, or refuse the whole file for the 30th of February."""
    assert parse_table("table: t\ndescription: 2026-02-30", "").description == "2026-02-30"


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


def test_one_file_can_hold_several_tables():
    """Documents of YAML; lines count on. Where one table is asked for, two are refused."""
    text = "table: a\ndefault: true\n---\ntable: b\n"
    assert [table.name for table in parse_tables([("t.yaml", text)])] == ["a", "b"]
    assert refusals(text) == ["t.yaml:4: $: 2 documents, where one table is expected"]
    assert refusals_together(f"{text}---\ntable: 1-") == [
        f"1.yaml:6: $.table: '1-' is no table name {NO_TABLE}"
    ]


GIVE_WAY = "(one of the two has to give way)"


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["{table: a, default: true}", "{table: a}"],
         [f"2.yaml:1: $.table: the name a is already taken by table a (1.yaml:1) {GIVE_WAY}"]),
        (["{table: a, default: true, collections: [x, y]}", "table: b\ncollections:\n- y"],
         [("2.yaml:3: $.collections[0]: the collection y is already taken by table a (1.yaml:1) "
          f"{GIVE_WAY}")]),
        (["{table: a, default: true, collections: [x, x]}"],
         [("1.yaml:1: $.collections[1]: the collection x is already taken by table a (1.yaml:1) "
          f"{GIVE_WAY}")]),
        (["{table: a, default: true, collections: ['u/{x}/i']}",
          "{table: b, collections: ['u/{y}/i/{z}']}"],
         [("2.yaml:1: $.collections[0]: the pattern u/{}/i/{} is already taken by table a "
          f"(1.yaml:1) {GIVE_WAY}")]),
        (["{table: a, default: true, view_prefix: v}", "{table: v_latest}"],
         [("2.yaml:1: $.table: the name v_latest is already taken by table a (1.yaml:1) "
          f"{GIVE_WAY}")]),
        (["{table: a}"],
         [("default: no table takes what no other does, here: a (set `default: true` in one table "
          "file)")]),
        (["{table: a, default: true}", "table: b\ndefault: true"],
         [("2.yaml:2: $.default: a second table that takes what no other does, beside table a "
          "(1.yaml:1) (leave `default: true` in one of them)")]),
    ],
)  # fmt: skip
def test_files_that_clash_are_refused(texts, expected):
    """Tables, views and collections are taken once, and there is one default."""
    assert refusals_together(*texts) == expected


def test_views_of_the_same_names_are_refused():
    """Each of them is told."""
    found = refusals_together(
        "{table: a, default: true, view_prefix: v}", "{table: b, view_prefix: v}"
    )
    names = list(view_names(parse_table("{table: a, view_prefix: v}", "")))
    assert "v_latest" in names
    taken = f"is already taken by table a (1.yaml:1) {GIVE_WAY}"
    assert found == [f"2.yaml:1: $.view_prefix: the name {name} {taken}" for name in names]


def test_the_file_that_ships_comes_first_where_no_other_is_the_default():
    """And what clashes with it is told."""
    with pytest.raises(ProblemsFound) as caught:
        parse_tables([("t.yaml", "{table: t, collections: [issues]}")], shipped())
    (problem,) = caught.value.problems
    assert str(problem) == (
        "t.yaml:1: $.collections[0]: the collection issues is already taken by table issues_stream "
        "(schemas/issues.yaml, the file that ships) (`default: true` in a file of your own takes "
        "the place of that file)"
    )
    tables = parse_tables(
        [("t.yaml", "{table: t, default: true, collections: [issues]}")], shipped()
    )
    assert [table.name for table in tables] == ["t"]


def test_faults_of_every_file_come_together():
    """Two bad files are two problems, each with its file's name."""
    assert [p.split(":")[0] for p in refusals_together("table: 1-", "[")] == ["1.yaml", "2.yaml"]


def test_problems_say_where_as_data_too():
    """For scripts: file, line and path apart."""
    with pytest.raises(ProblemsFound) as caught:
        parse_table("table: t\ncolumns:\n  - path: a\n    type: int\n", "t.yaml")
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.path) == ("t.yaml", 4, "$.columns[0].type")
    assert problem.where == "t.yaml:4: $.columns[0].type"
