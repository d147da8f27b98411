"""The ASGI application: `uvicorn publisher.main:app`.

Importing it needs no network, no credentials and no settings: the environment is read when the
server starts, and what is wrong with it ends the start with a sentence.
"""

import os

from publisher.app import create_app
from publisher.pubsub import open_broker
from publisher.settings import read_settings

app = create_app(lambda: read_settings(os.environ), open_broker)
