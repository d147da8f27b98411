"""`python -m bench.publisher`: compares, prints tables, and writes build/bench/publisher.json."""

import argparse
import sys

from bench.publisher.compare import faults, figures, rounds, show
from bench.report import save


def main() -> int:
    """Runs it.

    Returns:
        The exit code: 1 when a goal was missed.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.publisher", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of the first load (default: 3)")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each (default: 6)")
    given = parser.parse_args()
    results = []
    for case, server, result in rounds(given.rounds, given.seconds):
        print(f"{case.name}: {server.name}: {result.rate:,.0f}/s, p99 {result.p99} ms", flush=True)
        results.append((case, server, result))
    table = figures(results)
    show(table)
    save("publisher", table)
    missed = faults(table)
    for sentence in missed:
        print(f"missed: {sentence}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
