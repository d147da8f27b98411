"""Results: one JSON file a bench under build/bench, and a table."""

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

FOLDER = Path("build/bench")


def save(name: str, figures: Mapping[str, object]) -> None:
    """Writes a bench's figures, with what they were measured on."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    machine = {"python": platform.python_version(), "cores": os.cpu_count()}
    text = json.dumps({"figures": dict(figures), "machine": machine}, indent=2)
    (FOLDER / f"{name}.json").write_text(text + "\n")


def show(results: Mapping[str, Mapping[str, object]]) -> None:
    """Prints every figure of every bench."""
    table = Table(title="make bench")
    for heading in ("bench", "figure", "value"):
        table.add_column(heading, justify="right" if heading == "value" else "left")
    for name, figures in results.items():
        for figure, value in figures.items():
            table.add_row(name, figure, f"{value:,}" if isinstance(value, int) else str(value))
        table.add_section()
    Console(width=120).print(table)


def quantile(values: Sequence[float], share: float) -> float:
    """The least value that so large a share of the values does not exceed: nearest rank.

    Args:
        values: At least one, in any order.
        share: Above 0, at most 1.
    """
    return sorted(values)[math.ceil(len(values) * share) - 1]
