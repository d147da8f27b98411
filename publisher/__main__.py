"""`python -m publisher`: the service under uvicorn, on HOST and PORT of the environment."""

import os
import sys

import uvicorn

from publisher.app import create_app
from publisher.broker import open_broker
from publisher.settings import read_settings
from schemas.problem import ProblemsFound

# Cloud Run ends an instance 10 s after SIGTERM:
# https://cloud.google.com/run/docs/container-contract#instance-shutdown
GRACE_SECONDS = 9


def main() -> int:
    """Serves until it is told to stop.

    Returns:
        The exit code: 2 when the settings are wrong, 3 when the server could not start.
    """
    try:
        settings = read_settings(os.environ)
    except ProblemsFound as error:
        sys.stderr.write(f"{error}\n")
        return 2
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(lambda: settings, open_broker),
            host=settings.host,
            port=settings.port,
            lifespan="on",
            access_log=False,  # Cloud Run logs each request itself
            server_header=False,
            proxy_headers=False,  # nothing here asks who the client is
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )
    server.run()
    return 0 if server.started else 3


if __name__ == "__main__":
    sys.exit(main())
