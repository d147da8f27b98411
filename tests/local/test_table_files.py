"""The table files of a stack's job, and the job's command line."""

import pytest

from local.layout import Options, job_command
from local.table_files import read_tables, require_event_ids
from pipeline import options
from schemas.problem import ProblemsFound


@pytest.fixture
def written(tmp_path):
    """Writes a table file and gives its path."""

    def write(name, text):
        file = tmp_path / name
        file.write_text(text)
        return file

    return write


def test_the_stack_and_its_job_read_the_same_tables(written):
    """The shipped table is added, unless a file is the default; the job is told each file."""
    a = written("a.yaml", "table: a\ncollections: [a]\n")
    b = written("b.yaml", "table: b\ncollections: [b]\n---\ntable: c\n")
    own = written("own.yaml", "table: own\ndefault: true\n")
    for files, names in (
        ((), ["issues_stream"]),
        ((a, b), ["issues_stream", "a", "b", "c"]),
        ((b, own), ["b", "c", "own"]),
    ):
        tables = read_tables(files)
        assert [table.name for table in tables] == names
        _, _, *arguments = job_command(Options(schemas=files), "127.0.0.1:1").argv
        assert options.parse(arguments, lambda: "").tables == tables


def test_everything_that_is_wrong_in_files_is_told(written, tmp_path):
    """Every file that can't be read, or every fault of those that can, with its place."""
    latin = written("latin.yaml", "")
    latin.write_bytes("table: ü\n".encode("latin-1"))
    with pytest.raises(ProblemsFound) as unread:
        read_tables([tmp_path / "not-there.yaml", latin])
    first, second = unread.value.problems
    assert first.where == f"--schema {tmp_path / 'not-there.yaml'}"
    assert second.where == f"--schema {latin}"
    with pytest.raises(ProblemsFound) as wrong:
        read_tables([written("x.yaml", "table: a-b\ncolour: red\n")])
    assert len(wrong.value.problems) == 2
    assert all(str(tmp_path / "x.yaml") in each.where for each in wrong.value.problems)


def test_a_table_without_event_ids_can_not_be_accounted_for(written):
    """A flat one is named, before anything is started for it."""
    flat = written("flat.yaml", "table: older\nlayout: flat\ndefault: true\n")
    require_event_ids(read_tables([]))
    with pytest.raises(ProblemsFound) as refused:
        require_event_ids(read_tables([flat]))
    (problem,) = refused.value.problems
    assert problem.where == "table older"
    assert "--no-sample" in problem.remedy
