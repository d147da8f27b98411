"""`python -m bench.fire`: the native sink under fire for some minutes, accounted for row by row.

Prints what happened and writes build/bench/fire.json. The exit code is 1 where a row was lost, was
there twice or was wrongly refused, where the sink gave up, or where a kind of fault never happened.
"""

import argparse
import random
import shutil
import sys
import time
import traceback
from pathlib import Path

from bench.fire.run import Run
from bench.fire.stage import Stage
from bench.report import save

_EXAMPLES, _STEPS = 4, 20


def main() -> int:
    """Runs it."""
    parser = argparse.ArgumentParser(prog="python -m bench.fire", description=__doc__)
    parser.add_argument("--minutes", type=float, default=7.0, help="for how long (default: 7)")
    parser.add_argument("--seed", type=int, help="of the draws (default: any)")
    given = parser.parse_args()
    first = random.randrange(10**6) if given.seed is None else given.seed  # noqa: S311
    folder = Path("build/bench/fire").resolve()
    shutil.rmtree(folder, ignore_errors=True)
    began = time.monotonic()
    number, failed = first, ""
    with Stage(folder) as stage:
        run = Run(stage)
        try:
            while time.monotonic() - began < given.minutes * 60:
                run.draw(_EXAMPLES, _STEPS, number)
                number += 1
                print(f"{time.monotonic() - began:6.1f} s  {run.ledger}", flush=True)
            run.call_the_roll()
        except Exception as error:  # noqa: BLE001 - whatever it is, the ledger is kept
            traceback.print_exc()
            failed = f"{type(error).__name__}: {error} (seed {number})"
        missing = sorted(run.missing())
    held = run.ledger.balanced and not missing and not failed
    seeds = {"first": first, "last": number - 1}
    figures = {"held": held, "failed": failed, "never happened": missing, "seeds": seeds}
    seconds = round(time.monotonic() - began, 1)
    save("fire", {**figures, "seconds": seconds, **run.ledger.figures()})
    for name, value in {**figures, "seconds": seconds, **run.ledger.figures()}.items():
        print(f"{name}: {value}")
    print("held" if held else "DID NOT HOLD")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
