"""Rows and dead letters as tables on a terminal."""

import io
from datetime import UTC, datetime

from rich.console import Console

from local import show
from local.show import latest_of, letters_table, query_of
from schemas.message import Message
from schemas.table_file import parse_table, shipped

(ISSUES,) = shipped()

ROW = {
    "event_id": "0123456789",
    "operation": "CREATE",
    "document_path": "issues/a",
    "created_at": datetime(2026, 1, 31, 12, 0, 1, tzinfo=UTC),
    "title": "A title",
    "priority": "P1",
    "status": "open",
    "labels": ["a", "b"],
    "payload": {"title": "A title"},
}


def rows_table(rows, table=ISSUES):
    return show.rows_table(table, rows, query_of(table))


def printed(table, width=200):
    file = io.StringIO()
    Console(file=file, width=width, force_terminal=False).print(table)
    return file.getvalue()


def test_a_row_is_one_line_with_what_a_reader_looks_for():
    """Time, short id, operation, document, title, priority, status, labels and payload."""
    (line,) = (line for line in printed(rows_table([ROW])).splitlines() if "CREATE" in line)
    cells = [cell.strip() for cell in line.strip("│").split("│")]
    assert cells == [
        "01-31 12:00:01", "01234567", "CREATE", "issues/a", "A title", "P1", "open", "a, b",
        '{"title": "A title"}',
    ]  # fmt: skip


def test_a_manual_issue_shows_its_id_and_a_deletion_what_was_there():
    """Without a document the issue's id stands there; without a payload the old one."""
    text = printed(
        rows_table(
            [
                {"issue_id": "INC-1", "issue": "Broken", "payload": {}},
                {"document_path": "issues/b", "payload": None, "old_payload": {"was": 1}},
            ]
        )
    )
    assert "INC-1" in text
    assert "Broken" in text
    assert "{}" in text
    assert '{"was": 1}' in text


def test_a_strangers_content_does_not_steer_the_terminal():
    """Control characters and directions are shown as escapes, and markup is text."""
    row = ROW | {"title": "\x1b[31m\u202e[bold]x[/bold]\n"}
    text = printed(rows_table([row]), 400)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert r"\x1b[31m\u202e[bold]x[/bold]\n" in text


def test_a_line_is_never_wider_than_the_terminal():
    """Long content is cut, a reason is folded."""
    row = ROW | {"title": "long " * 100, "payload": {"x": "y" * 500}}
    letter = Message(b"\xff" * 500, {"event_id": "e" * 36, "dead_letter_reason": "why " * 100})
    for table in (rows_table([row]), letters_table([letter])):
        assert {len(line.rstrip("\n")) for line in printed(table, 120).splitlines()} == {120}


def test_a_dead_letter_shows_its_whole_reason():
    """Stage, error, reason to its end, type and the first bytes."""
    letter = Message(
        b"\xff\x00data",
        {
            "event_id": "0123456789",
            "ce-type": "issues.manual.created",
            "dead_letter_stage": "decode",
            "dead_letter_error": "InvalidJson",
            "dead_letter_reason": " ".join(f"word{number}" for number in range(40)),
        },
    )
    text = printed(letters_table([letter]))
    for shown in ("01234567", "decode", "InvalidJson", "issues.manual.created", r"\xff\x00data"):
        assert shown in text
    assert all(f"word{number}" in text for number in range(40))


def test_a_table_of_ones_own_shows_its_first_columns():
    """Ids of the path, then what the file declares, five in all; times, lists, numbers as text."""
    table = parse_table(
        """
table: notes
collections: ["people/{person}/notes/{note}"]
columns: [{path: tags, mode: REPEATED}, {path: at, type: TIMESTAMP}, {path: n, type: INT64},
  {path: sixth}]
raw: true
""",
        "notes.yaml",
    )
    row = {
        "created_at": datetime(2026, 1, 31, 12, 0, 1, tzinfo=UTC),
        "event_id": "0123456789",
        "operation": "DELETE",
        "document_path": "people/ada/notes/1",
        "person": "ada",
        "note": "1",
        "tags": ["a", "b"],
        "at": datetime(2030, 1, 2, 3, 4, tzinfo=UTC),
        "n": 0,
        "sixth": "not shown",
        "raw": b"12345",
        "payload": None,
        "old_payload": {"n": 0},
    }
    text = printed(rows_table([row], table))
    assert "sixth" not in text
    (line,) = (line for line in text.splitlines() if "DELETE" in line)
    assert [cell.strip() for cell in line.strip("│").split("│")] == [
        "01-31 12:00:01", "01234567", "DELETE", "people/ada/notes/1", "ada", "1", "a, b",
        "2030-01-02 03:04", "0", "5 bytes", '{"n": 0}',
    ]  # fmt: skip


def test_a_flat_table_shows_what_it_has():
    """It has no ids and no operation: time, issue and payload, ordered by the one time it has."""
    table = parse_table("table: older\nlayout: flat\n", "older.yaml")
    row = {"created_at": "2026-01-31T12:00:01Z", "issue_id": "INC-1", "payload": '{"issue": "x"}'}
    (line,) = (line for line in printed(rows_table([row], table)).splitlines() if "INC-1" in line)
    assert [cell.strip() for cell in line.strip("│").split("│")] == [
        "2026-01-31T12:00:01Z", "INC-1", '{"issue": "x"}',
    ]  # fmt: skip
    assert query_of(table) == "SELECT * FROM issues_ds.older ORDER BY created_at DESC"
    assert latest_of(table) == "SELECT * FROM issues_ds.older ORDER BY created_at DESC LIMIT 100"
    assert "ORDER BY ingest_time DESC" in latest_of(ISSUES)
