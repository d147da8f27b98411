"""What every sink must do, on real parts: the job's own graph over files of recorded messages."""

import base64
from pathlib import Path

from local.load import changes
from pipeline.launch import DONE
from schemas.table import Type
from schemas.times import MAX_MICROS, MIN_MICROS, format_micros, now_micros
from tests.sinks.read_back import differences, expected
from tests.strategies import document_event, firestore_message, manual_message, recorded_messages

ROOT = Path(__file__).parents[2]
EVERY = "table: every\ndefault: true\nlayout: structured\ncolumns:\n" + "".join(
    f"  - {{path: {kind.lower()}_{mode.lower()}, type: {kind}, mode: {mode}}}\n"
    for kind in Type
    for mode in ("NULLABLE", "REPEATED")
)
VALUES = {
    Type.STRING: ["", "text", "Ü ✓ 😀", "a\u0000b", 'quote " and \\', "line\nbreak"],
    Type.INT64: [0, -1, 2**63 - 1, -(2**63), 2**53 + 1],
    Type.FLOAT64: [0.0, -0.0, 0.1, 1.5e308, 5e-324, "NaN", "Infinity", "-Infinity"],
    Type.BOOL: [True, False],
    Type.BYTES: ["", base64.b64encode(bytes(range(256))).decode()],
    Type.TIMESTAMP: [
        format_micros(micros)
        for micros in (MIN_MICROS, -1, 0, 1, 1_795_514_400_123_456, MAX_MICROS)
    ],
    Type.JSON: [{}, {"a": [1, None, "Ü", 1.5, {"b": []}]}, [], "text", 0, True, -0.0, 2**64 - 1],
}


def one_by_one():
    """A message for each value of each type alone, all of them in a list, and none at all."""
    now = now_micros()
    bodies = [{}, {"int64_nullable": None, "string_repeated": []}]
    bodies += [
        {f"{kind.lower()}_nullable": value} for kind, values in VALUES.items() for value in values
    ]
    bodies += [{f"{kind.lower()}_repeated": values} for kind, values in VALUES.items()]
    bodies.append(
        {f"{kind.lower()}_nullable": values[-1] for kind, values in VALUES.items()}
        | {f"{kind.lower()}_repeated": values for kind, values in VALUES.items()}
    )
    return [manual_message(body, now - n, ce_id=f"every-{n}") for n, body in enumerate(bodies)]


def assert_equal(bench, tables, messages, began):
    """Every message is one row of its table, equal in every column; and nothing else is there.

    Tables of the flat layout, whose rows have no ids, are passed over.
    """
    ended = now_micros()
    wanted = expected(tables, messages, began)
    for table in (table for table in tables if table.layout != "flat"):
        rows = bench.rows(table.name)
        of_table = wanted.get(table.name, {})
        assert [row["event_id"] for row in rows] == sorted(of_table)
        told = {
            row["event_id"]: wrong
            for row in rows
            if (wrong := differences(row, of_table[row["event_id"]], table, began, ended))
        }
        assert told == {}


def test_every_type_and_mode(bench):
    """Each type and mode that a table file can declare reads back equal, to its range's ends."""
    tables = bench.tables(EVERY)
    messages = one_by_one()
    began = now_micros()
    assert bench.run(messages) == DONE
    assert_equal(bench, tables, messages, began)
    assert list(bench.letters()) == []


MANY = 20_000


def test_twenty_thousand_rows(bench):
    """Each of 20,000 events is one row, equal in every column."""
    tables = bench.tables((ROOT / "schemas" / "issues.yaml").read_text())
    messages = [*changes(MANY, f"many-{bench.sink}")]
    began = now_micros()
    assert bench.run(messages) == DONE
    assert_equal(bench, tables, messages, began)
    assert bench.count("issues_stream") == (MANY, MANY)
    assert list(bench.letters()) == []


LAYOUTS = (
    "table: changes\nlayout: changelog\ncollections: [changes]",
    "table: plain\nlayout: flat\ncollections: [plain]",
    "table: kept\nraw: true\ncollections: ['teams/{team}/notes/{note}']",
)


def of_each_layout():
    """An event for each of those tables."""
    root = "projects/demo-project/databases/(default)/documents"
    paths = ("changes/1", "plain/1", "teams/green/notes/1")
    for path in paths:
        event = document_event({"n": {"integer_value": 1}}, name=f"{root}/{path}")
        yield firestore_message(event, ce_id=path, ce_time=format_micros(now_micros()))


def test_several_tables_at_once(bench):
    """Events of one run go to the tables that take them, of every layout, and nowhere else."""
    files = [ROOT / "schemas" / "issues.yaml", *sorted((ROOT / "local" / "tables").iterdir())]
    tables = bench.tables(*(path.read_text() for path in files), *LAYOUTS)
    messages = [*recorded_messages(), *of_each_layout()]
    began = now_micros()
    assert bench.run(messages) == DONE
    assert_equal(bench, tables, messages, began)
    [plain] = bench.rows("plain", order="issue_id")
    assert plain["payload"] == '{"n":1}'
    assert {table.name for table in tables if bench.given(table.name)} >= {
        *("issues_stream", "changes", "plain", "kept")
    }
    assert list(bench.letters()) == []
