"""Tables for other tools and for readers: exact texts, read back by other parsers."""

import json

import hcl2
import pytest

from schemas.apply import bigquery_schema, bigquery_table
from schemas.layouts import LAYOUTS
from schemas.render import markdown, schema_json, terraform
from schemas.table_file import parse_table, shipped

TABLE = parse_table(
    r"""
table: t
collections: [c, "users/{user}/c|d"]
description: "With \"quotes\", ${a} and %{b}, back\\slash and\na line | *bold*."
partition: {by: MONTH}
view_prefix: v
columns:
  - {path: a.b, type: INT64, description: "Of <b>."}
  - {path: "`x|``y` ", name: xy, mode: REPEATED}
  - {path: secret, policy: drop}
""".replace('"`x|``y` "', "'`x|\\`y`'"),
    "t.yaml",
)
EVERY = [parse_table(f"{{table: t, layout: {name}}}", "") for name in LAYOUTS]


@pytest.mark.parametrize("table", [TABLE, *shipped(), *EVERY], ids=lambda table: table.layout)
def test_the_schema_is_what_the_client_would_send(table):
    """Names, types, modes and descriptions as BigQuery's API takes them, in the table's order."""
    sent = [field.to_api_repr() for field in bigquery_schema(table.columns)]
    for field in sent:
        if field["description"] is None:
            del field["description"]
    assert schema_json(table) == sent


@pytest.mark.parametrize("table", [TABLE, parse_table("{table: f, layout: flat}", "")])
def test_terraform_says_the_same(table):
    """Read by an HCL parser: schema, partitioning and clustering are those of the API."""
    (resource,) = hcl2.loads(terraform(table))["resource"]
    ((kind, named),) = resource.items()
    ((name, body),) = named.items()
    assert (plain(kind), plain(name), plain(body["table_id"])) == (
        "google_bigquery_table",
        table.name,
        table.name,
    )
    api = bigquery_table(table, "p.d").to_api_repr()
    if table.partition:
        (partitioning,) = body["time_partitioning"]
        found = {
            key: plain(value) for key, value in partitioning.items() if key in ("type", "field")
        }
        assert found == api["timePartitioning"]
    assert [plain(each) for each in body.get("clustering", [])] == api.get("clustering", {}).get(
        "fields", []
    )
    assert body["dataset_id"].strip("${}") == "var.dataset"
    assert body["schema"].startswith("${jsonencode([")
    for column in table.columns:
        assert f'"{column.name}"' in body["schema"]


def plain(text):
    """What an HCL parser leaves of a string: without its quotes."""
    return text.strip('"')


def test_terraform_text():
    """Strings in which a template would begin, and line ends, are escaped."""
    text = terraform(TABLE)
    start, rest = text.split("  schema = jsonencode([\n")
    assert start == (
        'resource "google_bigquery_table" "t" {\n'
        "  dataset_id  = var.dataset\n"
        '  table_id    = "t"\n'
        '  description = "With \\"quotes\\", $${a} and %%{b}, back\\\\slash and\\u000aa line | '
        '*bold*."\n'
        '  clustering  = ["issue_key", "operation"]\n'
        "\n"
        "  time_partitioning {\n"
        '    type  = "MONTH"\n'
        '    field = "created_at"\n'
        "  }\n"
        "\n"
    )
    assert (
        "    {\n"
        '      name        = "a_b"\n'
        '      type        = "INT64"\n'
        '      mode        = "NULLABLE"\n'
        '      description = "Of <b>."\n'
        "    },\n"
        "    {\n"
        '      name = "xy"\n'
        '      type = "STRING"\n'
        '      mode = "REPEATED"\n'
        "    },\n"
    ) in rest
    assert rest.endswith("    },\n  ])\n}\n")


def test_a_resource_has_a_name_that_terraform_takes():
    """A name of Terraform's begins with no digit, a table's may."""
    assert terraform(parse_table("table: '1t'", "")).startswith(
        'resource "google_bigquery_table" "t_1t" {'
    )


def test_the_page_of_a_table():
    """What it takes and what it has, with no mark-up from names and descriptions."""
    lines = markdown(TABLE).splitlines()
    assert lines[:5] == [
        "# t",
        "",
        'With "quotes", ${a} and %{b}, back\\\\slash and a line \\| \\*bold\\*.',
        "",
        "| | |",
    ]
    assert lines[6:12] == [
        "| layout | structured |",
        "| takes | documents of `c`; documents of `users/{user}/c\\|d` |",
        "| partitioned by | MONTH of `created_at` |",
        "| clustered by | `issue_key`, `operation` |",
        next(line for line in lines if line.startswith("| views |")),
        "| kept nowhere | `secret` |",
    ]
    assert "`v_latest`" in lines[10]
    rows = [line for line in lines if line.startswith(("| `user`", "| `a_b`", "| `xy`"))]
    assert rows == [
        "| `user` | STRING | NULLABLE | `{user}` | {user} of users/{user}/c\\|d. |",
        "| `a_b` | INT64 | NULLABLE | `a.b` | Of \\<b\\>. |",
        "| `xy` | STRING | REPEATED | `` `x\\|\\`y` `` |  |",
    ]
    assert len(lines) == 12 + 3 + len(TABLE.columns)


def test_the_page_of_a_table_that_takes_nothing():
    """Neither collections nor default: it says so."""
    assert "| takes | nothing: its file names no collection |" in markdown(
        parse_table("{table: t, layout: flat}", "")
    )


def test_the_schema_is_json():
    """What `bq mk --schema` reads from a file."""
    assert json.loads(json.dumps(schema_json(TABLE)))[-1]["name"] == "ingest_time"
