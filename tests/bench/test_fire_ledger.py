"""The account of the fire: what is lost, twice, or not known is told apart."""

import pytest

from bench.fire.faults import ALL, WEIGHTED
from bench.fire.ledger import Difference, Ledger, difference

A, B, C = ("a", 1, 0), ("b", 2, 7), ("c", 3, 0)
EXPECTED = {"a": A, "b": B}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([B, A], Difference()),
        ([A], Difference(lost=("b",))),
        ([A, B, B], Difference(doubled=("b",))),
        ([A, B, C], Difference(unknown=("c",))),
        ([A, ("b", 2, 6)], Difference(lost=("b",), unknown=("b",))),
    ],
)
def test_difference(found, expected):
    """Rows are compared with their contents, each once."""
    assert difference(EXPECTED, found) == expected
    assert bool(difference(EXPECTED, found)) == (expected != Difference())


@pytest.mark.parametrize(
    ("counts", "balanced"),
    [
        ({"given": 5, "refused": 2, "found": 3}, True),
        ({"given": 5, "refused": 2, "found": 2}, False),
        ({"given": 5, "refused": 2, "found": 3, "lost": 1, "unknown": 1}, False),
        ({"given": 3, "found": 3, "doubled": 1}, False),
    ],
)
def test_balanced(counts, balanced):
    """All that was given is there or refused, and nothing else."""
    assert Ledger(**counts).balanced is balanced


def test_each_kind_has_a_name_of_its_own():
    """Two kinds of one name would hide that one of them never happened."""
    names = [fault.name for fault in ALL]
    repeated = {name for name in names if names.count(name) > 1}
    assert repeated == {"append: kill during"}  # at two moments
    assert {fault.name for fault in WEIGHTED} == set(names)
