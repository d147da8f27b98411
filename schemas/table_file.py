"""Reads table files: YAML that says what a table takes and which columns it has.

Every problem of a file is found at once, each with its path and line. `docs/schema.md` tells all
the keys. A file can hold several tables, as documents of YAML between lines of `---`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources

from schemas.problem import Problem, ProblemsFound
from schemas.routing import parse_collection
from schemas.table import Table
from schemas.table_reader import TableReader
from schemas.views import view_names
from schemas.yaml_lines import Document, FileProblem, Path, path_text, read

SHIPPED = "schemas/issues.yaml"


@dataclass(frozen=True, slots=True)
class FileTable:
    """A table and where it stands.

    Args:
        table: The table.
        file: The name of its file; the one that ships for one that was given as a Table.
        document: Its document in the file; None as above.
    """

    table: Table
    file: str = SHIPPED
    document: Document | None = None

    def problem(self, path: Path, what: str, remedy: str) -> Problem:
        """A problem of this table in the company of others."""
        if self.document is None:
            return Problem(f"table {self.table.name}", what, remedy)
        line = self.document.line_of(path)
        return FileProblem.at(self.file, line, path_text(path), what, remedy)

    @property
    def label(self) -> str:
        """What it is called in another's problem."""
        line = f":{self.document.line}" if self.document else ", the file that ships"
        return f"table {self.table.name} ({self.file}{line})"


def shipped_text() -> str:
    """The text of the file that comes with the package."""
    return (resources.files("schemas") / "issues.yaml").read_text("utf-8")


def shipped() -> tuple[Table, ...]:
    """The tables that come with the package: `schemas/issues.yaml`."""
    return (parse_table(shipped_text(), SHIPPED),)


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
    tables = read_files(files)
    if not any(each.table.default for each in tables):
        tables = [*map(FileTable, without_default), *tables]
    if problems := list(_together(tables)):
        raise ProblemsFound(problems)
    return tuple(each.table for each in tables)


def read_files(files: Iterable[tuple[str, str]]) -> list[FileTable]:
    """Reads several files, each for itself.

    Args:
        files: Pairs of a name for messages and the file's text.

    Raises:
        ProblemsFound: With every problem of every file.
    """
    tables: list[FileTable] = []
    problems: list[FileProblem] = []
    for file, text in files:
        documents, found = read(text, file)
        for document in documents if not found else ():
            reader = TableReader(document, file)
            tables.append(FileTable(reader.table(), file, document))
            found = [*found, *reader.problems]
        problems += sorted(found, key=lambda problem: problem.line)
    if problems:
        raise ProblemsFound(problems)
    return tables


def parse_table(text: str, where: str) -> Table:
    """Reads a file of one table.

    Raises:
        ProblemsFound: With every problem, each with its path and line.
    """
    tables = read_files([(where, text)])
    if len(tables) > 1:
        what = f"{len(tables)} documents, where one table is expected"
        raise ProblemsFound([tables[1].problem((), what, "")])
    return tables[0].table


def _together(tables: Sequence[FileTable]) -> Iterator[Problem]:
    """What is wrong with tables in one job that is right with each of them."""
    taken: dict[str, FileTable] = {}
    for each in tables:
        for key, path in _claims(each.table):
            if key in taken:
                what = f"the {key} is already taken by {taken[key].label}"
                remedy = "one of the two has to give way"
                if taken[key].document is None:
                    remedy = "`default: true` in a file of your own takes the place of that file"
                yield each.problem(path, what, remedy)
            taken.setdefault(key, each)
    defaults = [each for each in tables if each.table.default]
    for each in defaults[1:]:
        what = f"a second table that takes what no other does, beside {defaults[0].label}"
        yield each.problem(("default",), what, "leave `default: true` in one of them")
    if not defaults:
        names = ", ".join(each.table.name for each in tables) or "none"
        yield Problem(
            "default",
            f"no table takes what no other does, here: {names}",
            "set `default: true` in one table file",
        )


def _claims(table: Table) -> Iterator[tuple[str, Path]]:
    """What no two tables of a job may have: names in the dataset, collections."""
    yield f"name {table.name}", ("table",)
    for name in view_names(table):  # views and tables share a dataset's names
        yield f"name {name}", ("view_prefix",)
    for i, text in enumerate(table.collections):
        pattern = parse_collection(text)
        key = f"collection {text}"
        if pattern is not None:
            same = zip(pattern.collections, pattern.documents, strict=True)
            key = "pattern " + "/".join(
                f"{collection}/{'{}' if id_ is None else id_}" for collection, id_ in same
            )
        yield key, ("collections", i)
