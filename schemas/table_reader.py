"""One document of a table file, read as a Table: every problem of it, by path and line."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from schemas.bigquery_rules import (
    MAX_CLUSTERING,
    MAX_COLUMN_DESCRIPTION,
    MAX_COLUMNS,
    MAX_FUNCTION_NAME,
    MAX_PARTITIONS,
    MAX_TABLE_DESCRIPTION,
    PARTITIONINGS,
    TABLE_NAME,
    clusters,
    column_name_faults,
    description_fault,
    partitions_needed,
)
from schemas.field_path import field_path, parse_field_path
from schemas.layouts import LAYOUTS, Layout
from schemas.routing import parse_collection
from schemas.shaping import PARTITION_DAYS_AHEAD, PARTITION_DAYS_BACK
from schemas.table import RAW, Column, Table, Type
from schemas.views import view_functions
from schemas.yaml_lines import Document, FileProblem, Path, path_text, shown

TABLE_KEYS = (
    "table", "layout", "default", "collections", "view_prefix", "description", "columns",
    "partition", "clustering", "raw",
)  # fmt: skip
COLUMN_KEYS = ("path", "name", "type", "mode", "description", "policy")
PARTITION_KEYS = ("column", "by")
_KEEP, _DROP = "keep", "drop"
_NULLABLE, _REPEATED = "NULLABLE", "REPEATED"
_NAME_REMEDY = "letters, digits and _, 1,024 at most"
_HALF = re.compile("[\ud800-\udfff]")
_FIXED_COLUMNS = "has fixed columns and no others"


class TableReader:
    """Collects every problem of a document instead of stopping at the first.

    Args:
        document: What was read.
        file: The file's name for messages.
    """

    def __init__(self, document: Document, file: str) -> None:
        self._document = document
        self._file = file
        self._places: dict[int, Path] = {}  # of columns, by id: two of a file can be equal
        self.problems: list[FileProblem] = []

    def table(self) -> Table:
        """The table, as far as it can be read; right only without `problems`."""
        keys = self._keys(self._document.value, (), TABLE_KEYS)
        name = self._name(keys)
        layout_name, layout = self._layout(keys)
        collections = self._texts(keys, "collections")
        parameters = self._parameters(collections)
        declared, dropped = self._columns(keys, layout_name, layout)
        raw = self._raw(keys, layout_name, layout, dropped)
        columns = layout.columns(parameters if layout.parameters else (), declared)
        columns = (*columns, RAW) if raw else columns
        self._names(columns, declared)
        partition, partition_by = self._partition(keys, layout_name, layout)
        table = Table(
            name=name,
            layout=layout_name,
            columns=columns,
            declared=declared,
            collections=collections,
            default=self._flag(keys, "default"),
            dropped=dropped,
            raw=raw,
            partition=partition,
            partition_by=partition_by,
            clustering=self._clustering(keys, layout, columns),
            view_prefix=self._view_prefix(keys, layout_name, layout),
            description=self._description(keys, (), MAX_TABLE_DESCRIPTION),
        )
        self._function_names(table)
        return table

    def _wrong(self, path: Path, what: str, remedy: str = "", label: str = "") -> None:
        """Notes a problem; `label` stands for the path where it says more."""
        text = label or path_text(path)
        line = self._document.line_of(path)
        self.problems.append(FileProblem.at(self._file, line, text, what, remedy))

    def _keys(self, value: Any, path: Path, known: Sequence[str]) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            if value is None and not path:
                self._wrong(
                    path, "the document is empty", "write a table, or leave the document out"
                )
                return {}
            self._wrong(path, f"a mapping is expected, not {shown(value)}")
            return {}
        for key in value:
            if key in known:
                continue
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.7)
            remedy = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            self._wrong((*path, str(key)), "not a key of a table file", remedy)
        return value

    def _text(self, keys: Mapping[str, Any], key: str, path: Path, default: str = "") -> str:
        value = keys.get(key)
        return default if value is None else self._string(value, (*path, key), default)

    def _string(self, value: Any, path: Path, default: str = "") -> str:
        if isinstance(value, str):
            if not _HALF.search(value):
                return value
            what = f"{shown(value)} has half of a surrogate pair, which is no character"
            self._wrong(path, what, "write the character itself")
            return default
        remedy = "write it in quotes" if isinstance(value, bool | int | float) else ""
        self._wrong(path, f"a string is expected, not {shown(value)}", remedy)
        return default

    def _texts(self, keys: Mapping[str, Any], key: str) -> tuple[str, ...]:
        value = keys.get(key)
        if value is None:
            return ()
        if not isinstance(value, list):
            self._wrong((key,), f"a list is expected, not {shown(value)}")
            return ()
        found = []
        for i, item in enumerate(value):
            if item is None or item == "":
                self._wrong((key, i), "the item is empty", "write something, or leave it out")
            found.append("" if item is None else self._string(item, (key, i)))
        return tuple(found)

    def _flag(self, keys: Mapping[str, Any], key: str) -> bool:
        value = keys.get(key)
        if value is not None and not isinstance(value, bool):
            self._wrong((key,), f"true or false is expected, not {shown(value)}")
        return value is True

    def _description(self, keys: Mapping[str, Any], path: Path, most: int) -> str:
        text = self._text(keys, "description", path)
        if fault := description_fault(text, most):
            self._wrong((*path, "description"), fault)
        return text

    def _name(self, keys: Mapping[str, Any]) -> str:
        name = self._text(keys, "table", ())
        if not name:
            if keys.get("table") in (None, "") and isinstance(self._document.value, dict):
                self._wrong(("table",), "the table's name is missing", _NAME_REMEDY)
        elif not TABLE_NAME.fullmatch(name):
            self._wrong(("table",), f"{shown(name)} is no table name", _NAME_REMEDY)
        return name

    def _layout(self, keys: Mapping[str, Any]) -> tuple[str, Layout]:
        name = self._text(keys, "layout", (), "structured")
        if name not in LAYOUTS:
            self._wrong(("layout",), f"{shown(name)} is no layout", f"known: {', '.join(LAYOUTS)}")
            name = "structured"  # what else is wrong is said too
        return name, LAYOUTS[name]

    def _parameters(self, collections: Sequence[str]) -> tuple[Column, ...]:
        """Checks what stands for collections; returns the columns of their parameters."""
        names: dict[str, tuple[str, int]] = {}
        for i, text in enumerate(collections):
            if not text:
                continue  # said already
            try:
                pattern = parse_collection(text)
            except ValueError as error:
                self._wrong(("collections", i), str(error))
                continue
            for name in pattern.parameters if pattern else ():
                if name:
                    names.setdefault(name, (text, i))
        columns = []
        for name, (text, i) in names.items():
            description = f"{{{name}}} of {text}."[:MAX_COLUMN_DESCRIPTION]
            column = Column(name, Type.STRING, description=description, parameter=name)
            self._places[id(column)] = ("collections", i)
            columns.append(column)
        return tuple(columns)

    def _columns(
        self, keys: Mapping[str, Any], layout_name: str, layout: Layout
    ) -> tuple[tuple[Column, ...], tuple[tuple[str, ...], ...]]:
        """The declared columns, and the paths of dropped fields."""
        value = keys.get("columns")
        if value is None:
            return (), ()
        if not isinstance(value, list):
            self._wrong(("columns",), f"a list is expected, not {shown(value)}")
            return (), ()
        kept: list[Column] = []
        dropped: list[Column] = []
        for i, item in enumerate(value):
            path: Path = ("columns", i)
            if item is None or item == {}:
                self._wrong(path, "the item is empty", "write a `path`, or leave it out")
                continue
            column = self._column(self._keys(item, path, COLUMN_KEYS), path)
            policy = item.get("policy") if isinstance(item, dict) else None
            policy = _KEEP if policy is None else policy  # as any key without a value
            if policy not in (_KEEP, _DROP):
                self._wrong((*path, "policy"), f"{shown(policy)} is neither keep nor drop")
            if column is not None:
                self._places[id(column)] = path
                (dropped if policy == _DROP else kept).append(column)
        if kept and not layout.declares:
            self._wrong(("columns",), f"the {layout_name} layout {_FIXED_COLUMNS}")
        self._never_filled(kept, dropped)
        return tuple(kept), tuple(column.path for column in dropped)

    def _column(self, keys: Mapping[str, Any], path: Path) -> Column | None:
        if not keys:
            return None  # said already
        fields = self._fields(keys, path)
        kind = self._text(keys, "type", path, "STRING")
        if kind not in Type.__members__:
            what = f"{shown(kind)} is no column type"
            self._wrong((*path, "type"), what, f"known: {', '.join(Type)}")
        mode = self._text(keys, "mode", path, _NULLABLE)
        if mode not in (_NULLABLE, _REPEATED):
            any_document = "BigQuery adds no REQUIRED column, and a document can lack any field"
            remedy = any_document if mode == "REQUIRED" else ""
            self._wrong((*path, "mode"), f"{shown(mode)} is neither NULLABLE nor REPEATED", remedy)
        name = self._text(keys, "name", path, "_".join(fields))
        description = self._description(keys, path, MAX_COLUMN_DESCRIPTION)
        if not fields or kind not in Type.__members__:
            return None
        return Column(name, Type(kind), mode == _REPEATED, description, fields)

    def _fields(self, keys: Mapping[str, Any], path: Path) -> tuple[str, ...]:
        text = self._text(keys, "path", path)
        if not text:
            if keys.get("path") in (None, ""):
                what = "the path of the field is missing"
                self._wrong((*path, "path"), what, "write it as in a.`b c`")
            return ()
        try:
            return parse_field_path(text)
        except ValueError as error:
            self._wrong((*path, "path"), str(error))
            return ()

    def _never_filled(self, kept: Sequence[Column], dropped: Sequence[Column]) -> None:
        for column in kept:
            for each in dropped:
                if column.path[: len(each.path)] == each.path:
                    self._wrong(
                        self._places[id(column)],
                        f"would always be NULL: the policy of {field_path(each.path)} is drop",
                        "leave the column out, or keep the field",
                        f"$.columns {field_path(column.path)}",
                    )

    def _raw(
        self,
        keys: Mapping[str, Any],
        layout_name: str,
        layout: Layout,
        dropped: Sequence[tuple[str, ...]],
    ) -> bool:
        raw = self._flag(keys, "raw")
        if raw and not layout.raw:
            self._wrong(("raw",), f"the {layout_name} layout {_FIXED_COLUMNS}")
        if raw and dropped:
            what = "would keep the fields whose policy is drop"
            self._wrong(("raw",), what, "take one of the two")
        return raw

    def _names(self, columns: Sequence[Column], declared: Sequence[Column]) -> None:
        """Judges the names of the table's columns, and of those that a view alone has."""
        if len(columns) > MAX_COLUMNS:
            what = f"{len(columns):,} with the layout's own, BigQuery takes {MAX_COLUMNS:,} columns"
            self._wrong(("columns",), what, "declare fewer; `payload` has every field")
        taken: dict[str, str] = {}
        fixed = [column for column in columns if not column.path]
        # The layout's own first: where a parameter has such a name, the parameter is at fault.
        for column in (*sorted(fixed, key=lambda each: bool(each.parameter)), *declared):
            label = _label(column)
            for what, remedy in self._name_faults(column, taken):
                self._wrong(self._places.get(id(column), ()), what, remedy, f"$.columns {label}")
            taken.setdefault(column.name.lower(), label)

    def _name_faults(self, column: Column, taken: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        rename = "give the parameter another name in the pattern" if column.parameter else ""
        for what, remedy in column_name_faults(column.name):
            yield what, rename or remedy
        other = taken.get(column.name.lower())  # BigQuery's column names are case-insensitive
        if other is not None:
            what = f"the name {column.name!r} is taken by {other}"
            yield what, rename or "give it a `name` of its own"

    def _partition(
        self, keys: Mapping[str, Any], layout_name: str, layout: Layout
    ) -> tuple[str, str]:
        """The partitioning column and the size of a partition.

        The column is the layout's own: the job checks that its time lies where BigQuery takes
        streamed rows, and looks rows up by it.
        """
        value = keys.get("partition")
        if value is None:
            return layout.partition, "DAY"
        if not layout.partition:
            self._wrong(("partition",), f"the {layout_name} layout has no TIMESTAMP column")
            return "", "DAY"
        path: Path = ("partition",)
        column, by = value, "DAY"
        if not isinstance(value, str):
            given = self._keys(value, path, PARTITION_KEYS)
            column = self._text(given, "column", path, layout.partition)
            by = self._text(given, "by", path, "DAY")
            path = ("partition", "column")
        if column != layout.partition:
            self._wrong(
                path,
                f"a {layout_name} table is partitioned by {layout.partition}, not by {column!r}",
                "the job looks rows up by that column, and sees to it that BigQuery takes them",
            )
        if by not in PARTITIONINGS:
            what = f"{shown(by)} is no size of a partition"
            self._wrong(("partition", "by"), what, "known: DAY, MONTH, YEAR")
        elif (needed := partitions_needed(by)) > MAX_PARTITIONS:
            self._wrong(
                ("partition", "by"),
                f"rows from {PARTITION_DAYS_BACK:,} days back to {PARTITION_DAYS_AHEAD} ahead, "
                f"which the job takes, are {needed:,} partitions by {by}; BigQuery takes "
                f"{MAX_PARTITIONS:,}",
                "take DAY, and cluster for what is finer",
            )
        return layout.partition, by

    def _clustering(
        self, keys: Mapping[str, Any], layout: Layout, columns: Sequence[Column]
    ) -> tuple[str, ...]:
        if "clustering" not in keys:
            return layout.clustering
        names = self._texts(keys, "clustering")
        by_name = {column.name: column for column in columns}
        if len(names) > MAX_CLUSTERING:
            what = f"{len(names)} columns, BigQuery takes {MAX_CLUSTERING}"
            self._wrong(("clustering",), what)
        for i, name in enumerate(names):
            column = by_name.get(name)
            path: Path = ("clustering", i)
            if not name:
                continue  # said already
            if column is None:
                self._wrong(path, f"{name!r} is no column of the table")
            elif not clusters(column):
                kind = f"REPEATED {column.type}" if column.repeated else str(column.type)
                self._wrong(path, f"BigQuery does not cluster by {name!r}, a {kind}")
            if name in names[:i]:
                self._wrong(path, f"{name!r} stands twice")
        return names

    def _view_prefix(self, keys: Mapping[str, Any], layout_name: str, layout: Layout) -> str:
        prefix = self._text(keys, "view_prefix", ())
        if prefix and not layout.views:
            what = f"the {layout_name} layout has no ids to drop repeats by"
            self._wrong(("view_prefix",), what)
        longest = max((f"{prefix}_{kind}" for kind in layout.views), key=len, default=prefix)
        if prefix and not TABLE_NAME.fullmatch(longest):
            what = f"{shown(prefix)} cannot begin a view's name"
            self._wrong(("view_prefix",), what, "letters, digits and _, 1,024 at most in all")
        return prefix

    def _function_names(self, table: Table) -> None:
        """Judges the names of the table functions beside the views, which BigQuery has shorter."""
        longest = max(view_functions(table, ""), key=len, default="")
        over = len(longest) - MAX_FUNCTION_NAME
        if over > 0:
            what = f"makes a function's name of {len(longest)} characters"
            remedy = f"BigQuery takes {MAX_FUNCTION_NAME}: {over} fewer"
            self._wrong(("view_prefix",), what, remedy)


def _label(column: Column) -> str:
    if column.parameter:
        return f"the parameter {{{column.parameter}}}"
    return field_path(column.path) if column.path else "the layout"
