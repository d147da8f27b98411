"""docs/schema.md: its example is right, its keys are all keys, its transcripts are real."""

import re
import shutil

import pytest

from schemas.command_line import EPILOG
from schemas.table import Type
from schemas.table_file import parse_tables
from schemas.table_reader import COLUMN_KEYS, PARTITION_KEYS, TABLE_KEYS
from tests.schemas import console

DATA = console.ROOT / "tests" / "data"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in console.files().items():
        (tmp_path / name).write_text(text, "utf-8")
    shutil.copy(DATA / "firestore_events.jsonl", tmp_path)


def test_the_example_is_right():
    """It shows a path pattern, a dropped field and a raw column, and passes `check`."""
    (text,) = console.files().values()
    first, second = parse_tables([("tables.yaml", text)])
    assert (first.default, first.raw, first.view_prefix) == (True, True, "issues")
    assert second.collections == ("teams/{team}/members/{member}",)
    assert second.dropped == (("password",),)
    assert second.partition_by == "MONTH"


def test_every_key_is_told():
    """Each key of a file and of a column has its row, and there is no row for another."""
    page = console.PAGE.read_text("utf-8")
    tables = re.findall(r"\| key \| value \| without it \|\n\|---\|---\|---\|\n((?:\|.*\n)+)", page)
    told = [set(re.findall(r"^\| `(\w+)` \|", rows, re.MULTILINE)) for rows in tables]
    assert told == [set(TABLE_KEYS), set(COLUMN_KEYS)]
    assert all(f"{key}:" in page or f"`{key}`" in page or "the column is" in page
               for key in PARTITION_KEYS)  # fmt: skip
    assert all(kind in tables[1] for kind in Type)
    codes = re.findall(r"^\| (\d) \| ", page, re.MULTILINE)
    assert codes == re.findall(r"^  (\d)  ", EPILOG, re.MULTILINE)


def test_the_transcripts_are_real(folder, capsys):
    """Each command that needs no BigQuery prints what is shown below it."""
    commands = [each for each in console.commands() if not console.asks_bigquery(each)]
    assert len(commands) > 5
    for command in commands:
        assert (command.line, console.run(command, capsys)) == (command.line, command.shown)
