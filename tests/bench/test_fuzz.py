"""The fuzz run counts what became of each message, and ends at what must not be."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="atheris is built for Linux only, as setup.py says"
)


def fuzz(folder, code):
    """Runs code in a process of its own, since libFuzzer ends the one that it runs in."""
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_run_counts_every_message(tmp_path):
    """Rows and dead letters together are the messages; each of the tables took some."""
    ended = fuzz(tmp_path, "from bench.fuzz import main; main(['--runs', '4000'])")
    assert ended.returncode == 0, ended.stderr[-2000:]
    figures = json.loads((tmp_path / "build/bench/fuzz.json").read_text())["figures"]
    outcomes = {name: n for name, n in figures.items() if name.startswith(("row", "dead"))}
    assert sum(outcomes.values()) == figures["messages"] == 4000
    rows = {name.removeprefix("row in ") for name in outcomes if name.startswith("row")}
    assert rows >= {"everything", "kept_whole", "comments", "flat", "changelog"}
    assert f"{4000:>9}  messages" in ended.stdout


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("fuzz.decode_message = lambda message: 1 / 0", "ZeroDivisionError"),
        (
            (
                "real = fuzz.dead_letter\n"
                "fuzz.dead_letter = lambda f, **k: dataclasses.replace(real(f, **k), data=b'cut')"
            ),
            "the dead letter has not the original bytes",
        ),
        (
            (
                "real = fuzz.Shaper.shape\n"
                "fuzz.Shaper.shape = lambda self, event, now: (\n"
                "    lambda row: dataclasses.replace(row, values=row.values | {'payload': 'NaN'})\n"
                ")(real(self, event, now))"
            ),
            "NaN in a JSON column",
        ),
        (
            "from schemas import changelog\nchangelog.json_text = lambda tree: 'NaN'",
            "NaN in a JSON",
        ),
        (
            "from schemas import changelog_json as c\nc.parse_event_data = lambda *_: 1 / 0",
            "ZeroDivisionError",
        ),
    ],
)
def test_a_fault_ends_the_run_and_keeps_the_input(tmp_path, fault, said):
    """An exception without a name, a letter with other bytes, what is no JSON."""
    code = f"import dataclasses\nfrom bench import fuzz\n{fault}\nfuzz.main(['--runs', '20000'])"
    ended = fuzz(tmp_path, code)
    assert ended.returncode != 0
    assert said in ended.stdout + ended.stderr
    assert list((tmp_path / "build/fuzz").glob("crash-*"))
