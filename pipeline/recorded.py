"""ReadMessages from files of recorded messages: bounded, for tests, replays and backtests."""

from typing import Any

import apache_beam as beam
from apache_beam.io.textio import ReadAllFromText

from pipeline import resident
from schemas.message import Message
from schemas.problem import Problem, ProblemsFound
from schemas.recorded import from_line


class ReadRecorded(beam.PTransform):
    """Reads Messages from files of one recorded message a line (`schemas.recorded`).

    A line that is no recorded message ends the run: a recording is ours to mend.

    Args:
        pattern: Path or glob, local or gs://.
    """

    def __init__(self, pattern: str) -> None:
        super().__init__()
        self._pattern = pattern

    def expand(self, root: Any) -> Any:
        """PBegin to PCollection[Message]."""
        return (
            root
            | "Files" >> beam.Create([self._pattern])
            | "Lines" >> ReadAllFromText(with_filename=True)
            | "Parse" >> beam.FlatMapTuple(_parse)
        )


def _parse(file: str, line: str) -> tuple[Message, ...]:
    if not line.strip():
        return ()
    try:
        return (from_line(line),)
    except ValueError as error:
        where = f"{file}, line beginning {line[:80]!r}"
        with resident.reporting():
            raise ProblemsFound([Problem(where, str(error), "mend the file")]) from error
