"""Writes proposals of `schemas.infer` as the text of a table file, or as JSON for scripts."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from schemas.field_path import field_path
from schemas.infer import Inferred, Proposal

# All that ends a line in YAML 1.1, a comment too: https://yaml.org/spec/1.1/#id871136
_BREAKS = re.compile("[\n\r\x85\u2028\u2029]")
_MOST_SHAPES = 5
_MOST_PATHS = 20


def to_yaml(proposals: Sequence[Proposal]) -> str:
    """One document a table; the comments say what was seen."""
    return "---\n".join(_document(proposal) for proposal in proposals)


def to_json(proposals: Iterable[Proposal]) -> list[dict[str, Any]]:
    """The same, a value for each part."""
    return [
        {
            "table": proposal.table,
            "collection": proposal.collection,
            "default": proposal.default,
            "events": proposal.events,
            "paths": list(proposal.shapes),
            "columns": [_column_json(column) for column in proposal.columns],
            "only_null": [field_path(path) for path in proposal.only_null],
            "left_out": [field_path(path) for path in proposal.left_out],
            "file": _document(proposal),
        }
        for proposal in proposals
    ]


def _column_json(inferred: Inferred) -> dict[str, Any]:
    column, observed = inferred.column, inferred.observed
    return {
        "path": field_path(column.path),
        "name": column.name,
        "type": column.type.value,
        "mode": "REPEATED" if column.repeated else "NULLABLE",
        "kinds": dict(observed.kinds.most_common()),
        "items": dict(observed.items.most_common()),
        "missing": inferred.missing,
        "null_share": round(inferred.null_share, 4),
    }


def _document(proposal: Proposal) -> str:
    what = "without a document"
    if proposal.collection is not None:
        more = len(proposal.shapes) - _MOST_SHAPES
        shapes = ", ".join(map(_scalar, proposal.shapes[:_MOST_SHAPES]))
        what = f"at {shapes}" + (f" and {more} more" if more > 0 else "")
    lines = [f"# {_events(proposal.events)} {what}.", f"table: {_scalar(proposal.table)}"]
    if proposal.default:
        lines.append("default: true  # takes what no other table does, manual issues among it")
    if proposal.collection is not None:
        lines.append(f"collections: [{_scalar(proposal.collection)}]")
    if proposal.columns:
        lines.append("columns:")
    for inferred in proposal.columns:
        lines += _column(inferred)
    lines += _notes("Never anything but null, so without a type", proposal.only_null)
    lines += _notes("In `payload` only, since BigQuery has no more columns", proposal.left_out)
    return "\n".join(lines) + "\n"


def _column(inferred: Inferred) -> list[str]:
    column = inferred.column
    lines = [f"  - path: {_scalar(field_path(column.path))}"]
    if column.name != "_".join(column.path):
        lines.append(f"    name: {column.name}")
    lines.append(f"    type: {column.type}  # {_seen(inferred)}")
    if column.repeated:
        lines.append("    mode: REPEATED")
    return lines


def _seen(inferred: Inferred) -> str:
    observed = inferred.observed
    parts = [f"{kind} {count}" for kind, count in observed.kinds.most_common()]
    if observed.items:
        items = ", ".join(f"{kind} {count}" for kind, count in observed.items.most_common())
        parts.append(f"elements: {items}")
    if inferred.missing:
        parts.append(f"missing {inferred.missing}")
    return f"{'; '.join(parts)}: {100 * inferred.null_share:.0f}% null"


def _notes(what: str, paths: Sequence[tuple[str, ...]]) -> list[str]:
    if not paths:
        return []
    shown = ", ".join(_scalar(field_path(path)) for path in paths[:_MOST_PATHS])
    more = len(paths) - _MOST_PATHS
    return [f"# {what}: {shown}" + (f" and {more} more" if more > 0 else "")]


def _events(count: int) -> str:
    return "1 event" if count == 1 else f"{count} events"


def _scalar(text: str) -> str:
    """A string as YAML takes it anywhere, on one line: quoted where need be."""
    if _BREAKS.search(text):  # PyYAML's other styles spread them over lines
        return yaml.safe_dump(text, default_style='"', allow_unicode=True, width=2**31).strip()
    dumped = yaml.safe_dump([text], default_flow_style=True, allow_unicode=True, width=2**31)
    return dumped.strip()[1:-1]
