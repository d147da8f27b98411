"""The views of the `changelog` layout, named as the Firebase extension's are.

| view | the extension's | one row |
|---|---|---|
| `PREFIX_raw_latest` | `PREFIX_raw_latest` | a document that is there, by its last event |
| `PREFIX_schema_changelog` | `PREFIX_schema_NAME_changelog` | an event, with typed columns |
| `PREFIX_schema_latest` | `PREFIX_schema_NAME_latest` | such a document, with typed columns |

The typed columns are those that the table's file declares, by their paths in `data`
(`schemas.changelog_json`; a geo point's are `place._latitude` and `place._longitude`):

| column | takes |
|---|---|
| STRING | a string; a number or a boolean as its text |
| INT64, FLOAT64, BOOL | a number or a boolean, or its text |
| TIMESTAMP | a Firestore timestamp, to the microsecond; RFC 3339 text |
| BYTES | standard base64 |
| JSON | anything |

What does not fit is NULL. A REPEATED column leaves out what does not fit, and nulls; as STRING an
object or an array in it is its JSON text, as in the extension.
"""

import re
from functools import cache
from importlib import resources

from schemas.table import Column, Table, Type

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_INDENT = "  "


def changelog_views(table: Table) -> dict[str, str]:
    """The texts of the layout's views, by kind (`schemas.views`)."""
    latest = _file("raw_latest")
    fields = f",\n{_INDENT}".join(
        f"{_column(column)} AS `{column.name}`" for column in table.declared
    )
    inner = "".join(line for line in latest.splitlines(keepends=True) if not line.startswith("--"))
    inner = inner.rstrip("\n").replace("\n", f"\n{_INDENT}")
    return {
        "raw_latest": latest,
        "schema_changelog": _with_fields(_file("schema_changelog"), fields),
        "schema_latest": _with_fields(_file("schema_latest"), fields).replace("{latest}", inner),
    }


@cache
def _file(kind: str) -> str:
    return (resources.files("schemas") / "sql" / f"changelog_{kind}.sql").read_text("utf-8")


def _with_fields(text: str, fields: str) -> str:
    if fields:
        return text.replace("{fields}", fields)
    return text.replace(f",\n{_INDENT}{{fields}}", "")


def _column(column: Column) -> str:
    path = "$" + "".join(f".{_key(segment)}" for segment in column.path)
    if not column.repeated:
        return _value(column.type, "data", path)
    value = _value(column.type, "item", "$")
    if column.type is Type.STRING:
        value = f"IFNULL({value}, NULLIF(CAST(item AS STRING), 'null'))"
    # What is no array has no elements; the stand-in for BigQuery would refuse the whole query.
    array = f"JSON_QUERY(data, {sql_literal(path)})"
    elements = f"JSON_QUERY_ARRAY(IF(STARTS_WITH({array}, '['), {array}, '[]'))"
    return (
        f"ARRAY(SELECT {value} "  # noqa: S608 - names and paths are escaped
        f"FROM UNNEST({elements}) AS item WITH OFFSET AS place "
        f"WHERE {value} IS NOT NULL ORDER BY place)"
    )


def _value(type_: Type, json: str, path: str) -> str:
    """SQL for what a column of a type takes from JSON text at a path; NULL where nothing fits."""
    scalar = f"JSON_VALUE({json}, {sql_literal(path)})"
    if type_ is Type.STRING:
        return scalar
    if type_ is Type.JSON:
        # 'exact', the default, refuses a whole document for one number that a double rounds.
        text = f"JSON_QUERY({json}, {sql_literal(path)})"
        return f"SAFE.PARSE_JSON({text}, wide_number_mode => 'round')"
    if type_ is Type.BYTES:
        return f"SAFE.FROM_BASE64({scalar})"
    if type_ is Type.TIMESTAMP:
        seconds, nanos = (
            f"SAFE_CAST(JSON_VALUE({json}, {sql_literal(f'{path}.{name}')}) AS INT64)"
            for name in ("_seconds", "_nanoseconds")
        )
        micros = f"SAFE_ADD(SAFE_MULTIPLY({seconds}, 1000000), DIV({nanos}, 1000))"
        return f"IFNULL(SAFE.TIMESTAMP_MICROS({micros}), SAFE_CAST({scalar} AS TIMESTAMP))"
    return f"SAFE_CAST({scalar} AS {type_})"


def _key(segment: str) -> str:
    """A key as BigQuery's JSONPath takes it.

    https://cloud.google.com/bigquery/docs/reference/standard-sql/json_functions#JSONPath_format
    """
    if _PLAIN_KEY.fullmatch(segment):
        return segment
    escaped = segment.replace('"', '\\"')
    return f'"{escaped}"'


def sql_literal(text: str) -> str:
    """A literal of SQL in which no placeholder of `schemas.views` stands.

    https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#string_and_bytes_literals
    """
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("{", "\\x7b")
    return "'" + escaped.replace("\n", "\\n").replace("\r", "\\r") + "'"
