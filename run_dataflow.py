"""Runs the job: `python run_dataflow.py --help` says how."""

import sys

from pipeline.launch import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
