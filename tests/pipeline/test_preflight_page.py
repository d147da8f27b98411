"""docs/preflight.md lists what is refused: each of the list in the code, each with its test."""

import ast
import re
from pathlib import Path

from pipeline.refusals import REFUSALS
from tests.pipeline import (
    test_objections,
    test_parking,
    test_preflight,
    test_preflight_pubsub,
    test_preflight_tables,
)

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/preflight.md"
SHOWN_BY = (
    (test_preflight_pubsub, "test_refused", test_preflight_pubsub.CASES),
    (
        test_preflight_pubsub,
        "test_refused_where_the_emulator_cannot_say_so",
        test_preflight_pubsub.CHANGED,
    ),
    (test_preflight_tables, "test_refused", test_preflight_tables.CASES),
    (test_preflight_tables, "test_a_table_that_expires", ["table-expires"]),
    (test_objections, "test_refused", test_objections.CASES),
    (test_objections, "test_more_tables_than_beams_sink_takes", ["tables-of-beam"]),
    (test_preflight, "test_files_are_looked_for", ["input-files"]),
    (test_preflight, "test_a_place_for_letters_that_cannot_be_written", ["park"]),
    (test_parking, "test_a_place_that_is_cleared", ["park-deleted"]),
    (test_parking, "test_a_place_that_is_gone_with_its_worker", ["park-on-a-worker"]),
    (test_preflight, "test_credentials_that_are_refused", ["credentials"]),
)


def shown_by():
    """Each refusal that a test shows, and the test as it stands on the page."""
    found = {}
    for module, function, names in SHOWN_BY:
        for name in names:
            # A name may have an addition: `export-bigquery`, `table-differs: a view`.
            known = [each for each in REFUSALS if re.match(rf"{each}(\W|$)", name)]
            if known:
                file = Path(module.__file__).name
                found.setdefault(max(known, key=len), f"`{file}::{function}`")
    return found


def cell(text):
    return re.sub(r"\{(\w+)(:\w+)?(!r)?\}", lambda word: word[1].upper(), text).replace("|", "\\|")


def rows():
    tests = shown_by()
    return [
        f"| {each.name} | {cell(each.of)} | {cell(each.what)} | {cell(each.remedy)} "
        f"| {tests[each.name]} |"
        for each in REFUSALS.values()
    ]


def test_each_refusal_has_a_test():
    """No entry of the list is without a case, and each test that is named is one."""
    assert set(shown_by()) == set(REFUSALS)
    for module, function, _ in SHOWN_BY:
        names = [
            each.name
            for each in ast.parse(Path(module.__file__).read_text()).body
            if isinstance(each, ast.FunctionDef)
        ]
        assert function in names


def test_the_page_has_the_list():
    """The page's table is the list in the code, word for word and in its order."""
    lines = PAGE.read_text("utf-8").splitlines()
    head = lines.index("| name | of | what is wrong | what to do | test |")
    assert lines[head + 2 : lines.index("", head)] == rows()


def test_each_name_is_used():
    """No entry is there that nothing refuses."""
    code = "".join(
        path.read_text() for path in (ROOT / "pipeline").glob("*.py") if path.name != "refusals.py"
    )
    names = {
        target.id
        for each in ast.parse((ROOT / "pipeline/refusals.py").read_text()).body
        if isinstance(each, ast.Assign)
        for target in each.targets
        if isinstance(target, ast.Name) and not target.id.startswith("_")
    }
    unused = {name for name in names if not re.search(rf"\b{name}\b", code)}
    # Its problems are those of `schemas.evolve`, which `schemas diff` shows as well.
    assert unused == {"TABLE_DIFFERS"}
