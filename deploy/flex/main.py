"""FLEX_TEMPLATE_PYTHON_PY_FILE: pipeline/flex_launch.py says what it does."""

# ruff: noqa: INP001 - a script in the image, no module

import sys

from pipeline.flex_launch import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
