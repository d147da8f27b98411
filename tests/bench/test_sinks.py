"""The bench of both sinks, small."""

import pytest

from bench import sinks


@pytest.mark.emulators
@pytest.mark.timeout(300)
def test_both_sinks_are_measured(monkeypatch, tmp_path):
    """Rows a second and CPU seconds of each process, of runs whose rows are all there."""
    monkeypatch.setattr(sinks, "_FOLDER", tmp_path / "sinks")
    figures = sinks.measure(100, 200, 3_000)
    per_million = [
        f"CPU s of a million rows, {name}"
        for name in ("job", "Java's worker", "stand-in", "gateway")
    ]
    assert [*figures] == [
        f"{sink}: {figure}" for sink in sinks.SINKS for figure in ("rows/s", *per_million)
    ]
    assert figures["native: rows/s"] > 0
    assert figures["native: CPU s of a million rows, job"] > 0
    # The native sink has nothing for Java to do.
    worker = "CPU s of a million rows, Java's worker"
    assert figures[f"storage_write: {worker}"] > figures[f"native: {worker}"]
