"""The native sink under fire, in short: `python -m bench.fire` is the long form."""

import sys

import pytest

from bench.fire.run import Run
from bench.fire.stage import Stage

pytestmark = [pytest.mark.emulators, pytest.mark.timeout(600)]

EXAMPLES, STEPS = 5, 10


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One ledger for the whole module."""
    with Stage(tmp_path_factory.mktemp("fire")) as stage:
        yield Run(stage)


def test_each_row_once_or_refused(run, capsys):
    """In any order of batches, faults, restarts and new writers each row is there once, or named.

    What a kind of fault has left out of the draws comes by itself afterwards, so that each kind
    has really happened; and a second look at all counts balances them.
    """
    run.draw(EXAMPLES, STEPS)
    run.call_the_roll()
    ledger = run.ledger
    with capsys.disabled():
        sys.stdout.write(f"\nunder fire: {ledger}\n")
    assert run.missing() == set()
    assert ledger.balanced, ledger.figures()
    assert (ledger.lost, ledger.doubled, ledger.unknown) == (0, 0, 0)
    assert ledger.refused > 0
    assert 0 < ledger.broken_off_written < ledger.broken_off
