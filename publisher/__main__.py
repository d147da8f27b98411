"""The publisher: the service itself, and its API keys.

python -m publisher              serves on HOST and PORT of the environment; SIGTERM ends it
python -m publisher key CLIENT   prints a new API key for that client, and its entry in API_KEYS

Settings come from environment variables: see publisher/settings.py or docs/publisher.md.
Exit code 2: the settings or the arguments are wrong; 3: the server could not start.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from publisher.keys import new_key
from publisher.settings import read_settings
from schemas.problem import ProblemsFound


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves, or does what the verb says.

    Args:
        arguments: Those of the command line by default.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(
        prog="python -m publisher",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    key = verbs.add_parser("key", help="prints a new API key and its entry in API_KEYS")
    key.add_argument("client", metavar="CLIENT", help="who will use it, such as helpdesk")
    given = parser.parse_args(arguments)
    try:
        return _key(given.client) if given.verb == "key" else _serve()
    except ProblemsFound as error:
        sys.stderr.write(f"{error}\n")
        return 2


def _serve() -> int:
    settings = read_settings(os.environ)
    # Only now: `key` needs neither a server nor gRPC, and wrong settings are told at once.
    from publisher.app import create_app  # noqa: PLC0415
    from publisher.logs import configure  # noqa: PLC0415
    from publisher.pubsub import open_broker  # noqa: PLC0415
    from publisher.server import serve  # noqa: PLC0415

    configure(settings)
    return serve(create_app(lambda: settings, open_broker), settings)


def _key(client: str) -> int:
    key, entry = new_key(client)
    sys.stdout.write(
        f"{key}\n"
        "  goes to the client, who sends it as X-API-Key; it is not kept anywhere here\n"
        f"{entry.entry()}\n"
        "  goes into API_KEYS of the service; several entries are parted by commas\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
