"""A table for other tools and for readers: BigQuery's JSON schema, Terraform, a Markdown page."""

import re
from collections.abc import Sequence
from typing import Any

from schemas.evolve import column_json
from schemas.field_path import field_path
from schemas.table import Column, Table
from schemas.views import view_names


def schema_json(table: Table) -> list[dict[str, Any]]:
    """The columns as `bq mk --schema` and `google_bigquery_table.schema` take them."""
    return [column_json(column) for column in table.columns]


def terraform(table: Table) -> str:
    """A resource of Terraform's Google provider; the dataset is the variable `dataset`.

    Views are not in it: their SQL names the project, which `apply` knows.
    """
    lines = [
        f'resource "google_bigquery_table" {_hcl(_resource_name(table.name))} {{',
        "  dataset_id  = var.dataset",
        f"  table_id    = {_hcl(table.name)}",
    ]
    if table.description:
        lines.append(f"  description = {_hcl(table.description)}")
    if table.clustering:
        lines.append(f"  clustering  = [{', '.join(map(_hcl, table.clustering))}]")
    if table.partition:
        lines += [
            "",
            "  time_partitioning {",
            f"    type  = {_hcl(table.partition_by)}",
            f"    field = {_hcl(table.partition)}",
            "  }",
        ]
    lines += ["", "  schema = jsonencode(["]
    for column in schema_json(table):
        width = max(map(len, column))
        lines.append("    {")
        lines += [f"      {key:<{width}} = {_hcl(value)}" for key, value in column.items()]
        lines.append("    },")
    return "\n".join([*lines, "  ])", "}", ""])


def markdown(table: Table) -> str:
    """A page about the table: what it takes, and its columns with type, mode, path, description."""
    lines = [f"# {_cell(table.name)}", ""]
    if table.description:
        lines += [_cell(table.description), ""]
    lines += ["| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in _facts(table)]
    lines += ["", "| column | type | mode | from | description |", "|---|---|---|---|---|"]
    lines += [_row(column) for column in table.columns]
    beside = [column for column in table.declared if column not in table.columns]
    if beside:  # of a layout that shows them in a view
        lines += ["", "Columns of its typed view:", ""]
        lines += ["| column | type | mode | from | description |", "|---|---|---|---|---|"]
        lines += [_row(column) for column in beside]
    return "\n".join([*lines, ""])


def _facts(table: Table) -> list[tuple[str, str]]:
    takes = [f"documents of {_code(text)}" for text in table.collections]
    if table.default:
        takes.append("what no other table takes, manual issues among it")
    found = [
        ("layout", table.layout),
        ("takes", "; ".join(takes) or "nothing: its file names no collection"),
    ]
    if table.partition:
        found.append(("partitioned by", f"{table.partition_by} of {_code(table.partition)}"))
    if table.clustering:
        found.append(("clustered by", _codes(table.clustering)))
    if names := list(view_names(table)):
        found.append(("views", _codes(names)))
    if table.dropped:
        found.append(("kept nowhere", _codes([field_path(path) for path in table.dropped])))
    return found


def _row(column: Column) -> str:
    source = ""
    if column.path:
        source = _code(field_path(column.path))
    elif column.parameter:
        source = _code(f"{{{column.parameter}}}")
    mode = "REPEATED" if column.repeated else "NULLABLE"
    cells = (_code(column.name), column.type, mode, source, _cell(column.description))
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    """Text inside a cell of a table: on one line, and no mark-up."""
    flat = " ".join(text.split())
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", flat)


def _code(text: str) -> str:
    flat = " ".join(text.split()).replace("|", r"\|")
    # As many backticks around it as are nowhere in it: https://spec.commonmark.org/#code-spans
    ticks = "`" * (max(map(len, re.findall("`+", flat)), default=0) + 1)
    space = " " if "`" in flat else ""
    return f"{ticks}{space}{flat}{space}{ticks}"


def _codes(texts: Sequence[str]) -> str:
    return ", ".join(map(_code, texts))


def _resource_name(name: str) -> str:
    return name if not name[0].isdigit() else f"t_{name}"


def _hcl(text: str) -> str:
    """A string of HCL, in which `${` and `%{` would begin a template."""
    escaped = re.sub(r'["\\]', r"\\\g<0>", text)
    escaped = re.sub(r"[\x00-\x1f]", lambda found: f"\\u{ord(found[0]):04x}", escaped)
    return '"' + escaped.replace("${", "$${").replace("%{", "%%{") + '"'
