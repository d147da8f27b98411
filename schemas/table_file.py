"""Reads table files: YAML that says what a table takes and which columns it has.

Every problem of a file is found at once, each with its path in the file.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any

import yaml

from schemas.field_path import field_path, parse_field_path
from schemas.layouts import LAYOUTS
from schemas.problem import Problem, ProblemsFound
from schemas.routing import parse_collection
from schemas.table import RAW, Column, Table, Type
from schemas.views import view_names

# https://cloud.google.com/bigquery/docs/schemas#column_names
_COLUMN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,299}", re.ASCII)
_RESERVED_PREFIXES = (
    "_table_",
    "_file_",
    "_partition",
    "_row_timestamp",
    "__root__",
    "_colidentifier",
)
# https://cloud.google.com/bigquery/docs/tables#table_naming, less what needs quotes
_TABLE_NAME = re.compile(r"[A-Za-z0-9_]{1,1024}", re.ASCII)
_KEYS = (
    "table", "layout", "default", "collections", "view_prefix", "description", "columns",
    "clustering", "raw",
)  # fmt: skip
_COLUMN_KEYS = ("path", "name", "type", "mode", "description", "policy")
# https://cloud.google.com/bigquery/docs/clustered-tables#limitations
_MAX_CLUSTERING = 4


def shipped() -> tuple[Table, ...]:
    """The tables that come with the package: `schemas/issues.yaml`."""
    file = resources.files("schemas") / "issues.yaml"
    return (parse_table(file.read_text("utf-8"), "schemas/issues.yaml"),)


def parse_tables(
    files: Iterable[tuple[str, str]], without_default: Sequence[Table] = ()
) -> tuple[Table, ...]:
    """Reads several files as the tables of one job.

    Args:
        files: Pairs of a name for messages and the file's text.
        without_default: What comes before them where none of them is the default table.

    Raises:
        ProblemsFound: With every problem of every file, and of them together.
    """
    tables: list[Table] = []
    problems: list[Problem] = []
    for name, text in files:
        try:
            tables.append(parse_table(text, name))
        except ProblemsFound as error:
            problems += error.problems
    if not problems:
        if not any(table.default for table in tables):
            tables = [*without_default, *tables]
        problems = _together(tables)
    if problems:
        raise ProblemsFound(problems)
    return tuple(tables)


def _together(tables: Sequence[Table]) -> list[Problem]:
    problems = []
    taken: dict[str, str] = {}
    claims = [(f"table {table.name}", table) for table in tables]
    for label, table in claims:
        # Views and tables share a dataset's names.
        names = [table.name, *view_names(table)]
        keys = [f"name {name}" for name in names]
        for text in table.collections:
            pattern = parse_collection(text)
            keys.append(f"collection {text}" if pattern is None else f"pattern {pattern.shape}")
        for key in keys:
            if key in taken:
                problems.append(Problem(label, f"the {key} is already taken by {taken[key]}"))
            taken.setdefault(key, label)
    defaults = [table.name for table in tables if table.default]
    if len(defaults) != 1:
        problems.append(
            Problem(
                "default",
                f"exactly one table takes what no other does, here: {defaults or 'none'}",
                "set `default: true` in one table file",
            )
        )
    return problems


def parse_table(text: str, where: str) -> Table:
    """Reads one table file.

    Raises:
        ProblemsFound: With every problem, each with its path in the file.
    """
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2026-02-30
        raise ProblemsFound([Problem(where, f"not YAML: {error}")]) from error
    reader = _Reader(where)
    table = reader.table(document)
    if reader.problems or table is None:
        raise ProblemsFound(reader.problems)
    return table


class _Reader:
    """Collects every problem of a file instead of stopping at the first."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.problems: list[Problem] = []

    def wrong(self, path: str, what: str, remedy: str = "") -> None:
        self.problems.append(Problem(f"{self.where}: {path}", what, remedy))

    def keys(self, value: Any, path: str, known: Sequence[str]) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            self.wrong(path, f"a mapping is expected, not {type(value).__name__}")
            return {}
        for key in value:
            if key not in known:
                self.wrong(
                    f"{path}.{key}", "not a key of a table file", f"known: {', '.join(known)}"
                )
        return value

    def text(self, value: Any, path: str, default: str = "") -> str:
        if value is None:
            return default
        if not isinstance(value, str):
            self.wrong(path, f"a string is expected, not {value!r}")
            return default
        return value

    def texts(self, value: Any, path: str) -> tuple[str, ...]:
        if value is None:
            return ()
        if not isinstance(value, list):
            self.wrong(path, f"a list is expected, not {value!r}")
            return ()
        return tuple(self.text(item, f"{path}[{i}]") for i, item in enumerate(value))

    def flag(self, value: Any, path: str) -> bool:
        if value is not None and not isinstance(value, bool):
            self.wrong(path, f"true or false is expected, not {value!r}")
        return value is True

    def table(self, document: Any) -> Table | None:
        keys = self.keys(document, "$", _KEYS)
        name = self.text(keys.get("table"), "$.table")
        if not _TABLE_NAME.fullmatch(name):
            self.wrong("$.table", f"{name!r} is no table name", "letters, digits and _")
        layout_name = self.text(keys.get("layout"), "$.layout", "structured")
        if layout_name not in LAYOUTS:
            self.wrong("$.layout", f"{layout_name!r} is no layout", f"known: {', '.join(LAYOUTS)}")
            layout_name = "structured"  # what else is wrong is said too
        layout = LAYOUTS[layout_name]
        collections = self.texts(keys.get("collections"), "$.collections")
        parameters = self.collections(collections)
        declared, dropped = self.columns(keys.get("columns"))
        if declared and not layout.declares:
            self.wrong("$.columns", f"the {layout_name} layout has fixed columns and no others")
        self.dropped(declared, dropped)
        raw = self.flag(keys.get("raw"), "$.raw")
        if raw and not layout.raw:
            self.wrong("$.raw", f"the {layout_name} layout has fixed columns and no others")
        if raw and dropped:
            self.wrong("$.raw", "would keep the fields whose policy is drop", "take one of the two")
        columns = layout.columns(parameters if layout.parameters else (), declared)
        columns = (*columns, RAW) if raw else columns
        self.names(columns)
        clustering = layout.clustering
        if "clustering" in keys:
            clustering = self.texts(keys["clustering"], "$.clustering")
        self.clustering(clustering, columns)
        view_prefix = self.text(keys.get("view_prefix"), "$.view_prefix")
        if view_prefix and not layout.views:
            self.wrong(
                "$.view_prefix",
                f"the {layout_name} layout has no ids to drop repeats by",
            )
        if view_prefix and not _TABLE_NAME.fullmatch(view_prefix):
            self.wrong("$.view_prefix", f"{view_prefix!r} cannot begin a view's name")
        return Table(
            name=name,
            layout=layout_name,
            columns=columns,
            declared=declared,
            collections=collections,
            default=self.flag(keys.get("default"), "$.default"),
            dropped=dropped,
            raw=raw,
            partition=layout.partition,
            clustering=clustering,
            view_prefix=view_prefix,
            description=self.text(keys.get("description"), "$.description"),
        )

    def collections(self, texts: Sequence[str]) -> tuple[Column, ...]:
        """Checks what stands for collections; returns the columns of their parameters."""
        names: dict[str, str] = {}
        for i, text in enumerate(texts):
            if not text:
                continue  # said already
            try:
                pattern = parse_collection(text)
            except ValueError as error:
                self.wrong(f"$.collections[{i}]", str(error))
                continue
            for name in pattern.parameters if pattern else ():
                if name:
                    names.setdefault(name, text)
        return tuple(
            Column(name, Type.STRING, description=f"{{{name}}} of {text}.", parameter=name)
            for name, text in names.items()
        )

    def dropped(self, declared: Sequence[Column], dropped: Sequence[tuple[str, ...]]) -> None:
        for column in declared:
            for path in dropped:
                if column.path[: len(path)] == path:
                    self.wrong(
                        f"$.columns {field_path(column.path)}",
                        f"would always be NULL: the policy of {field_path(path)} is drop",
                        "leave the column out, or keep the field",
                    )

    def columns(self, value: Any) -> tuple[tuple[Column, ...], tuple[tuple[str, ...], ...]]:
        """The declared columns, and the paths of dropped fields."""
        if value is None:
            return (), ()
        if not isinstance(value, list):
            self.wrong("$.columns", f"a list is expected, not {value!r}")
            return (), ()
        kept, dropped = [], []
        for i, item in enumerate(value):
            where = f"$.columns[{i}]"
            column = self.column(item, where)
            policy = item.get("policy", "keep") if isinstance(item, dict) else "keep"
            if policy not in ("keep", "drop"):
                self.wrong(f"{where}.policy", f"{policy!r} is neither keep nor drop")
            if column is not None and policy == "drop":
                dropped.append(column.path)
            elif column is not None:
                kept.append(column)
        return tuple(kept), tuple(dropped)

    def column(self, value: Any, where: str) -> Column | None:
        keys = self.keys(value, where, _COLUMN_KEYS)
        text = self.text(keys.get("path"), f"{where}.path")
        try:
            path = parse_field_path(text)
        except ValueError as error:
            self.wrong(f"{where}.path", str(error))
            return None
        kind = self.text(keys.get("type"), f"{where}.type", "STRING")
        if kind not in Type.__members__:
            known = ", ".join(Type)
            self.wrong(f"{where}.type", f"{kind!r} is no column type", f"known: {known}")
            return None
        mode = self.text(keys.get("mode"), f"{where}.mode", "NULLABLE")
        if mode not in ("NULLABLE", "REPEATED"):
            self.wrong(f"{where}.mode", f"{mode!r} is neither NULLABLE nor REPEATED")
        return Column(
            name=self.text(keys.get("name"), f"{where}.name", "_".join(path)),
            type=Type(kind),
            repeated=mode == "REPEATED",
            description=self.text(keys.get("description"), f"{where}.description"),
            path=path,
        )

    def names(self, columns: Sequence[Column]) -> None:
        taken: dict[str, str] = {}
        for column in columns:
            label = field_path(column.path) if column.path else "the layout"
            if column.parameter:
                label = f"the parameter {{{column.parameter}}}"
            if not _COLUMN_NAME.fullmatch(column.name):
                self.wrong(
                    f"$.columns {label}",
                    f"{column.name!r} is no column name",
                    "give it a `name` of letters, digits and _, 300 at most",
                )
            if column.name.lower().startswith(_RESERVED_PREFIXES):
                self.wrong(f"$.columns {label}", f"BigQuery reserves the prefix of {column.name!r}")
            key = column.name.lower()  # BigQuery's column names are case-insensitive
            if key in taken:
                self.wrong(
                    f"$.columns {label}",
                    f"the name {column.name!r} is taken by {taken[key]}",
                    "give it a `name` of its own",
                )
            taken.setdefault(key, label)

    def clustering(self, names: Sequence[str], columns: Sequence[Column]) -> None:
        by_name = {column.name: column for column in columns}
        if len(names) > _MAX_CLUSTERING:
            self.wrong("$.clustering", f"{len(names)} columns, BigQuery takes {_MAX_CLUSTERING}")
        for name in names:
            column = by_name.get(name)
            if column is None:
                self.wrong("$.clustering", f"{name!r} is no column of the table")
            elif column.repeated or column.type in (Type.FLOAT64, Type.BYTES, Type.JSON):
                self.wrong(
                    "$.clustering", f"BigQuery does not cluster by {name!r}, a {column.type}"
                )
