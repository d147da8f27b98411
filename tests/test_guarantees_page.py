"""docs/guarantees.md: each promise has its two ends and what shows it, and that is there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
import yaml

from bench import dedup
from local.load import changes
from pipeline.metrics import ALL

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/guarantees.md"
TEXT = PAGE.read_text("utf-8")
HEAD = ["promised", "from", "to", "what breaks it, and what is seen", "shown by"]
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def tables(text):
    """Each table of a page: its rows, the head first."""
    found, rows = [], []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
        elif rows:
            found.append([rows[0], *rows[2:]])
            rows = []
    return found


def promises(text):
    return [row for table in tables(text) if table[0] == HEAD for row in table[1:]]


@cache
def functions_of(file):
    """The names of a file's test functions, those of its classes among them."""
    return {
        each.name
        for each in ast.walk(ast.parse((ROOT / file).read_text("utf-8")))
        if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)) and each.name[:5] == "test_"
    }


def wrong(text):
    """What is wrong with a page's promises, by their first cells."""
    found = []
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for row in promises(text):
        if len(row) != len(HEAD) or not all(row):
            found.append(f"{row[0]}: a cell is empty or too many")
            continue
        shown = row[4]
        programs = re.findall(r"`make ([\w-]+)`", shown)
        if not (TEST.search(shown) or programs or shown.startswith("argued from")):
            found.append(f"{row[0]}: nothing shows it")
        found += [
            f"{row[0]}: no make {each}"
            for each in programs
            if not re.search(rf"^{each}:", makefile, re.MULTILINE)
        ]
    for file, name in TEST.findall(text):
        if not (ROOT / file).is_file() or name not in functions_of(file):
            found.append(f"{file}::{name} is not there")
    # Every mention of a test is in the form that is looked up.
    found += [f"{each}: no such form" for each in re.findall(r"`[^`]*::[^`]*`", text)
              if not TEST.fullmatch(each)]  # fmt: skip
    outside = "\n".join(line for line in text.splitlines() if line.count("|") < len(HEAD))
    if "exactly once" in " ".join(outside.split()).lower():
        found.append("exactly once without its two ends")
    return found


def test_each_promise_is_shown():
    """By a test that is there or a program that `make` knows, or it says that it is argued."""
    assert len(promises(TEXT)) > 30
    assert wrong(TEXT) == []


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (r"`tests/publisher/test_intake.py::test_redelivery`", "by hand", "test_x"),
        (r"::test_redelivery`", "::test_nothing`", "::test_nothing is not there"),
        (r"tests/publisher/test_intake.py::test_redelivery", "tests/none.py::test_x", "tests/none"),
        ("`make chaos`", "`make havoc`", "no make havoc"),
        ("| Eventarc's first delivery |", "| |", "a cell is empty"),
        ("An event is known", "Each event is there exactly\nonce. An event is known", "two ends"),
    ],
)
def test_the_check_sees_what_is_wrong(old, new, complaint):
    """Controls: a page that is changed for the worse is complained of."""
    changed = TEXT.replace(old, new)
    assert changed != TEXT
    if complaint == "test_x":  # the other test of that row shows it still
        changed = re.sub(r"\| by hand, [^|]*\|", "| by hand |", changed)
        complaint = "nothing shows it"
    assert any(complaint in each for each in wrong(changed))


def test_metrics_and_alerts_that_it_names_are_there():
    """Each `namespace.name` is a metric of the job, each policy a file; no policy goes unnamed."""
    namespaces = {namespace for namespace, _ in ALL}
    named = {tuple(each.split(".")) for each in re.findall(r"`([a-z_]+\.[a-z_]+)`", TEXT)}
    metrics = {each for each in named if each[0] in namespaces and each[1] != "yaml"}
    assert metrics
    assert metrics <= set(ALL)
    policies = {each[0] for each in named if each[1] == "yaml"}
    files = sorted((ROOT / "deploy/job/alerts").iterdir())
    assert policies == {file.stem for file in files}
    assert all(yaml.safe_load(file.read_text("utf-8"))["conditions"] for file in files)


def test_the_costs_are_those_that_are_measured():
    """The bytes, which do not depend on the machine, are what `bench dedup` finds."""
    messages = list(changes(200, "page"))
    sizes = dedup.bytes_of_a_key(messages[0])
    assert " + ".join(map(str, sizes.values())) + " bytes an id" in TEXT
    [shuffled] = re.findall(r"\| ([\d,]+) bytes a message \(pickled", TEXT)
    assert dedup.shuffled(messages) == pytest.approx(int(shuffled.replace(",", "")), rel=0.05)
