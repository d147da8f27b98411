"""`python -m schemas VERB`: table files checked, compared, applied, proposed and rendered."""

import sys

from schemas.command_line import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
