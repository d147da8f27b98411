"""What all tests share: those that need the emulators are marked, come last, and never skip."""

from pathlib import Path

import pytest

from local.emulators import find
from schemas.problem import ProblemsFound

INTEGRATION = Path(__file__).parent / "integration"


def pytest_collection_modifyitems(items):
    """Marks the integration tests, and puts them last: their stack sets the environment."""
    for item in items:
        if INTEGRATION in item.path.parents:
            item.add_marker(pytest.mark.emulators)
    items.sort(key=lambda item: INTEGRATION in item.path.parents)


def pytest_collection_finish(session):
    """Ends the run with exit code 1 where an emulator is missing, naming it."""
    if session.config.option.collectonly:
        return
    if any(item.get_closest_marker("emulators") for item in session.items):
        try:
            find(stale=frozenset())
        except ProblemsFound as error:
            pytest.exit(f"{error}\n`make test-unit` needs Python only.", returncode=1)
