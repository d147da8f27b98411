"""A process with a writer of its own, to be killed: `python -m bench.fire.child DATASET TABLE`.

For each line of its input, the numbers of rows as a JSON list, it appends these rows and prints a
line. The environment tells where BigQuery is.
"""

import json
import sys

from bench.fire.faults import DEADLINE
from bench.fire.rows import ENCODERS, TABLES, row
from pipeline import append, append_stream


def main() -> None:
    """Appends until its input ends."""
    _, dataset, name = sys.argv
    append_stream._DEADLINE = DEADLINE  # noqa: SLF001 - as in the process that started this one
    [table] = [table for table in TABLES if table.name == name]
    writer = append.table_writer(dataset, table, ENCODERS[name].descriptor)
    for line in sys.stdin:
        writer.append([row(number).encoded for number in json.loads(line)])
        print("written", flush=True)


if __name__ == "__main__":
    main()
