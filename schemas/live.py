"""Opens cloud clients and creates what they need: imported only where one is needed.

Clients are aimed by the environment, as Google's own are: `PUBSUB_EMULATOR_HOST` (host:port) and
`BIGQUERY_EMULATOR_HOST` (http://host:port) mean emulators. Google's Storage Write client knows no
such variable; `BIGQUERY_STORAGE_EMULATOR_HOST` (host:port, plaintext gRPC) is this project's.

Google's clients retry a refused connection for ten minutes unless they are told otherwise: every
call made through these clients passes a deadline and `retry=None` or a bounded retry.
"""

import os
from typing import Any

import grpc
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1.services.big_query_write import BigQueryWriteClient
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import (
    BigQueryWriteGrpcTransport,
)
from google.pubsub_v1.services.publisher import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

PUBSUB_EMULATOR_HOST = "PUBSUB_EMULATOR_HOST"
BIGQUERY_EMULATOR_HOST = "BIGQUERY_EMULATOR_HOST"
BIGQUERY_STORAGE_EMULATOR_HOST = "BIGQUERY_STORAGE_EMULATOR_HOST"

_OPTIONS: tuple[tuple[str, int], ...] = (
    # Messages and append requests are up to 10 MB; gRPC's default is 4 MB.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # After an outage the first new connection is tried within 2 s, not within 2 minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


_KEEPALIVE = (
    # A connection that died without a word is noticed within 40 s, not within 15 minutes. To
    # Google alone: the emulators' servers end a connection that is pinged so often.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


def publisher_client() -> PublisherClient:
    """Pub/Sub's publishing client without batching of its own: one call, one request."""
    transport = _transport(PublisherGrpcTransport, os.environ.get(PUBSUB_EMULATOR_HOST))
    return PublisherClient(transport=transport)


def subscriber_client() -> SubscriberClient:
    """Pub/Sub's subscribing client without leases of its own: one call, one request."""
    transport = _transport(SubscriberGrpcTransport, os.environ.get(PUBSUB_EMULATOR_HOST))
    return SubscriberClient(transport=transport)


def bigquery_client(project: str) -> bigquery.Client:
    """BigQuery's REST client for the project."""
    if os.environ.get(BIGQUERY_EMULATOR_HOST):
        return bigquery.Client(project=project, credentials=AnonymousCredentials())
    return bigquery.Client(project=project)


def bigquery_write_client() -> BigQueryWriteClient:
    """The Storage Write client.

    Raises:
        RuntimeError: REST is aimed at an emulator and Storage Write is not: rows would be
            written to Google Cloud while queries go to the emulator.
    """
    host = os.environ.get(BIGQUERY_STORAGE_EMULATOR_HOST)
    if os.environ.get(BIGQUERY_EMULATOR_HOST) and not host:
        raise RuntimeError(
            f"{BIGQUERY_EMULATOR_HOST} is set and {BIGQUERY_STORAGE_EMULATOR_HOST} is not: "
            "set it to the emulator's gRPC host:port"
        )
    return BigQueryWriteClient(transport=_transport(BigQueryWriteGrpcTransport, host))


def _transport(kind: Any, emulator: str | None) -> Any:
    """A gRPC transport with the options above, plaintext to an emulator, else to Google."""
    if emulator:
        channel = grpc.insecure_channel(emulator, options=_OPTIONS)
        return kind(channel=channel, credentials=AnonymousCredentials())

    def create_channel(host: str, **kwargs: Any) -> grpc.Channel:
        options = dict(kwargs.pop("options", None) or ()) | dict(_OPTIONS + _KEEPALIVE)
        channel: grpc.Channel = kind.create_channel(host, options=list(options.items()), **kwargs)
        return channel

    return kind(channel=create_channel)
