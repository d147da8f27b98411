"""The wait for Storage Write to know what BigQuery has."""

import pytest
from google.api_core import exceptions
from google.cloud.bigquery_storage_v1.types import TableFieldSchema, TableSchema, WriteStream

from pipeline.known import await_columns
from pipeline.outages import Backoff, StoppedWaiting
from schemas.problem import Problem, ProblemsFound
from schemas.table_file import parse_table

TABLE = parse_table("table: t\ndefault: true\ncolumns: [{path: n, type: INT64}, {path: more}]", "t")
NAMES = [column.name for column in TABLE.columns]
NEW = exceptions.NotFound("Requested entity was not found.")


class Writer:
    """Answers GetWriteStream with names of columns, or fails; the last answer is for ever."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    def get_write_stream(self, request, timeout, retry):
        assert timeout <= 30
        assert retry is None
        self.asked.append(request["name"])
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        fields = [TableFieldSchema(name=name) for name in answer]
        return WriteStream(table_schema=TableSchema(fields=fields))


class Waits(list):
    """What is waited for, in words; told to stop after so many waits."""

    def __init__(self, most=10):
        super().__init__()
        self.most = most

    def backoff(self):
        waits = self

        class Noted(Backoff):
            def pause(self, why):
                waits.append(str(why))
                super().pause(why)

        return Noted("BigQuery", wait=lambda _: len(self) > self.most)


def await_it(writer, waits, check=lambda: None):
    await_columns(writer, "p.d", TABLE, check, waits.backoff())


def test_known_at_once():
    """Where every column is known, whatever the case of its name, one question is all."""
    writer, waits = Writer([name.upper() for name in NAMES]), Waits()
    await_it(writer, waits)
    assert writer.asked == ["projects/p/datasets/d/tables/t/streams/_default"]
    assert waits == []


def test_waits_for_table_and_columns():
    """First the table is new, then a column, then all is known."""
    writer, waits = Writer(NEW, NAMES[:-1], NAMES), Waits()
    checks = []
    await_it(writer, waits, lambda: checks.append(1))
    assert [wait.partition(":")[0] for wait in waits] == [
        "the table is new to Storage Write",
        "new to Storage Write",
    ]
    assert waits[1].endswith(f": {NAMES[-1]}")
    assert len(checks) == 2


def test_what_bigquery_lacks_is_not_waited_for():
    """The first look at BigQuery ends it."""

    def lacking():
        raise ProblemsFound([Problem("table p.d.t", "is not there")])

    waits = Waits()
    with pytest.raises(ProblemsFound, match=r"table p\.d\.t: is not there"):
        await_it(Writer(NEW), waits, lacking)
    assert waits == []


def test_told_to_stop():
    """A wait ends when the job is told to stop."""
    waits = Waits(most=3)
    with pytest.raises(StoppedWaiting):
        await_it(Writer(NAMES[:-1]), waits)
    assert len(waits) == 4


def test_denied():
    """A missing right is a Problem with its remedy."""
    denied = exceptions.PermissionDenied("no")
    with pytest.raises(ProblemsFound, match=r"does not tell its columns: 403 no .*dataEditor"):
        await_it(Writer(denied), Waits())
