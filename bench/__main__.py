"""`make bench`: every bench in turn, each in a process of its own; or those that are named."""

import argparse
import json
import subprocess
import sys

from bench import end_to_end, memory, sink, steps
from bench.report import FOLDER, save, show

BENCHES = {
    "steps": steps.run,
    "sink": sink.run,
    "end_to_end": end_to_end.run,
    "memory": memory.run,
}


def main(argv: list[str] | None = None) -> int:
    """Runs benches and prints their figures."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*BENCHES, []], help="all of them if none")
    parser.add_argument("--here", action="store_true", help="one bench, in this process")
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


if __name__ == "__main__":
    sys.exit(main())
