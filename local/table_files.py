"""The table files that a stack's job is started with: `local/tables`, or a user's own."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from local.processes import ROOT
from schemas.layouts import layout_of
from schemas.problem import Problem, ProblemsFound
from schemas.table import Table
from schemas.table_file import parse_tables, shipped

FILES = tuple(sorted((ROOT / "local" / "tables").glob("*.yaml")))
"""Those of the sample: with the shipped table, three collections and a subcollection."""


def read_tables(files: Iterable[Path]) -> tuple[Table, ...]:
    """Reads them as the job does: `schemas/issues.yaml` comes first, unless one is the default.

    Raises:
        ProblemsFound: With every file that can't be read, or everything that is wrong in them.
    """
    texts, problems = [], []
    for file in files:
        try:
            texts.append((str(file), file.read_text("utf-8")))
        except (OSError, UnicodeDecodeError) as error:
            problems.append(Problem(f"--schema {file}", f"cannot be read: {error}"))
    if problems:
        raise ProblemsFound(problems)
    return parse_tables(texts, shipped())


def require_event_ids(tables: Sequence[Table]) -> None:
    """Refuses tables whose rows can't be told to be of which event.

    Raises:
        ProblemsFound: With each table whose layout has no `event_id`.
    """
    problems = [
        Problem(
            f"table {table.name}",
            f"its layout {table.layout} has no event_id, by which the sample is accounted for",
            "feed no sample (--no-sample), or take another layout",
        )
        for table in tables
        if not layout_of(table).has_event_id
    ]
    if problems:
        raise ProblemsFound(problems)
