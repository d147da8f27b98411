"""docs/schema.md: its example is right, its keys are all keys, its transcripts are real."""

import re
import shutil

import pytest

from pipeline.engines import MOST_TABLES_OF_BEAM
from schemas.command_line import EPILOG
from schemas.event import decode_message
from schemas.layouts import LAYOUTS
from schemas.routing import UNMATCHED
from schemas.row import Shaper
from schemas.structured import END, START
from schemas.table import Type
from schemas.table_file import parse_tables
from schemas.table_reader import COLUMN_KEYS, PARTITION_KEYS, TABLE_KEYS
from schemas.times import now_micros
from tests.schemas import console
from tests.strategies import document_event, firestore_message

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


def test_the_fixed_columns_are_told():
    """Each of the structured layout, in its order, with its type and description."""
    page = console.PAGE.read_text("utf-8")
    (rows,) = re.findall(r"\| column \| type \| what \|\n\|---\|---\|---\|\n((?:\|.*\n)+)", page)
    expected = [
        f"| `{column.name}` | {column.type}{' REPEATED' * column.repeated} | {column.description} |"
        for column in (*START, *END)
    ]
    assert rows.splitlines() == expected


def test_what_the_page_says_of_other_parts_is_so():
    """Layouts, the maximum of tables, the setting for what matches nothing, links to pages."""
    page = console.PAGE.read_text("utf-8")
    assert all(f"`{name}`" in page for name in LAYOUTS)
    assert f"a job has {MOST_TABLES_OF_BEAM} tables at most" in page
    assert all(f"--unmatched {where}" in page for where in UNMATCHED[1:])
    links = re.findall(r"\]\(([^)]+)\)", page)
    assert {"changelog-layout.md", "values.md", "views.md"} <= set(links)
    assert [link for link in links if not (console.PAGE.parent / link).is_file()] == []


def test_a_document_beside_the_pattern_keeps_its_dropped_field():
    """As the page says: the policy is its table's alone, until the collection is named too."""
    (text,) = console.files().values()
    change = firestore_message(
        document_event(
            {"password": {"string_value": "x"}},
            name="projects/p/databases/(default)/documents/members/ada",
        )
    )
    event = decode_message(change)
    named = text.replace('/{member}"]', '/{member}", members]')
    found = []
    for each in (text, named):
        row = Shaper(parse_tables([("tables.yaml", each)])).shape(event, now_micros())
        found.append((row.table, row.values["payload"], row.values.get("team")))
    assert found == [("issues_stream", '{"password":"x"}', None), ("members", "{}", None)]


def test_the_transcripts_are_real(folder, capsys):
    """Each command that needs no BigQuery prints what is shown below it."""
    commands = [each for each in console.commands() if not console.asks_bigquery(each)]
    assert len(commands) > 5
    for command in commands:
        assert (command.line, console.run(command, capsys)) == (command.line, command.shown)
