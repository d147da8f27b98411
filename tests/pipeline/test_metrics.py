"""The list of metrics is complete: what is counted is listed, what is listed is counted."""

import ast
from pathlib import Path

import pipeline
import transforms
from pipeline.metrics import ALL

FOLDERS = [Path(package.__file__).parent for package in (pipeline, transforms)]


def calls(tree, function):
    """Calls of `Metrics.counter`, or of a class by its name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == function:
            yield node


def counted():
    """Every (namespace, name) that the code counts; an argument as namespace is `Attempt`'s."""
    trees = [ast.parse(path.read_text()) for folder in FOLDERS for path in folder.glob("*.py")]
    stages = {call.args[0].value for tree in trees for call in calls(tree, "Attempt")}
    assert stages == {"decode", "shape"}
    found = set()
    for tree in trees:
        for call in calls(tree, "Metrics.counter"):
            namespace, name = call.args
            if isinstance(namespace, ast.Name):
                assert namespace.id == "stage"
                found |= {(stage, name.value) for stage in stages}
            else:
                found.add((namespace.value, name.value))
    return found


def test_what_is_counted_is_listed():
    """Each counter of the code has its meaning in `pipeline.metrics`."""
    assert counted() - set(ALL) == set()


def test_what_is_listed_is_counted():
    """Each metric of the list is counted somewhere."""
    assert set(ALL) - counted() == set()


def test_each_has_a_meaning():
    """Meanings are sentences."""
    assert all(meaning.endswith(".") and " " in meaning for meaning in ALL.values())
