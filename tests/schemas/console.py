"""The transcripts of docs/schema.md, run: what is shown is what is printed."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from schemas.command_line import main

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "schema.md"
_PYTHON = "python -m schemas "


@dataclass(frozen=True)
class Command:
    """A line after a `$`, and what is shown below it."""

    line: str
    shown: str


def files():
    """The example files: each block of YAML, by the name that stands before it."""
    found = re.findall(
        r"`(\w+\.yaml)`[^\n]*\n\n```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL
    )
    return dict(found)


def commands():
    """Every command of the page, in order."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL):
        for line in block.splitlines(keepends=True):
            if line.startswith("$ "):
                found.append([line[2:].strip(), ""])
            else:
                found[-1][1] += line
    return [Command(*each) for each in found]


def run(command, capsys, dataset=""):
    """What the command prints, on both outputs, in the folder where the test is.

    Args:
        command: Of the page.
        capsys: Pytest's.
        dataset: Stands in for the page's.
    """
    if not command.line.startswith(_PYTHON):
        subprocess.run(command.line, shell=True, check=True, timeout=30)
        return ""
    line, _, head = command.line.removeprefix(_PYTHON).partition(" | head -")
    shown = "my-project.issues_ds"
    capsys.readouterr()
    main(line.replace(shown, dataset or shown).split())
    said = capsys.readouterr()
    text = said.out + said.err
    if head:
        text = "".join(text.splitlines(keepends=True)[: int(head)])
    return text.replace(dataset, shown) if dataset else text


def asks_bigquery(command):
    return "--dataset" in command.line
