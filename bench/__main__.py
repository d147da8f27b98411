"""`make bench`: every bench in turn, each in a process of its own; or those that are named."""

import argparse
import json
import subprocess
import sys

from bench import dedup, end_to_end, memory, sink, sinks, steps, streams
from bench.report import FOLDER, save, show

BENCHES = {
    "steps": steps.run,
    "sink": sink.run,
    "sinks": sinks.run,
    "end_to_end": end_to_end.run,
    "memory": memory.run,
    "dedup": dedup.run,
    "streams": streams.run,
}


def main(argv: list[str] | None = None) -> int:
    """Runs benches and prints their figures."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    # Not `choices`: with them Python 3.11 refuses an empty list.
    parser.add_argument(
        "names",
        nargs="*",
        type=_bench,
        metavar="BENCH",
        help=f"{', '.join(BENCHES)} (default: all of them)",
    )
    parser.add_argument("--here", action="store_true", help="in this process, without a table")
    arguments = parser.parse_args(argv)
    names = arguments.names or list(BENCHES)
    if arguments.here:
        for name in names:
            save(name, BENCHES[name]())
        return 0
    results = {}
    for name in names:
        sys.stderr.write(f"{name} ...\n")
        subprocess.run([sys.executable, "-m", "bench", "--here", name], check=True)
        results[name] = json.loads((FOLDER / f"{name}.json").read_text())["figures"]
    show(results)
    return 0


def _bench(name: str) -> str:
    if name not in BENCHES:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(BENCHES)}")
    return name


if __name__ == "__main__":
    sys.exit(main())
