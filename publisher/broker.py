"""What the publisher asks of a broker; `pubsub` is the real one.

Guarantee: `publish` returns only after the broker acknowledged every message that it was given;
when it raises, some of them may be on the topic all the same (at least once, same `event_id`).
"""

from collections.abc import Sequence
from typing import Protocol

from schemas.message import Message

# Beside the names of gRPC's status codes: https://grpc.io/docs/guides/status-codes/
NO_ACK = "NO_ACK"  # the request's deadline came before any outcome
CLOSED = "CLOSED"  # the service is going down

# `close` ends within it; part of the 10 s that Cloud Run leaves an instance (`server`).
CLOSE_SECONDS = 1.5


class BrokerError(Exception):
    """The broker refused, or did not answer in time; the sentence says which.

    Args:
        reason: What was wrong, for the log.
        code: What it is counted as: a gRPC status code's name, `NO_ACK` or `CLOSED`.
    """

    def __init__(self, reason: str, code: str = "UNKNOWN") -> None:
        self.code = code
        super().__init__(reason)


class Broker(Protocol):
    """Where the publisher puts messages; one suite of tests holds every broker to it."""

    async def publish(self, messages: Sequence[Message]) -> None:
        """Returns when the broker has every message; nothing to do for none.

        When it is cancelled, what is not on its way yet is never sent.

        Raises:
            BrokerError: Not all of them were acknowledged in time. Some may have been.
        """

    async def check(self) -> None:
        """Returns when the topic exists and something is subscribed to it.

        Who may publish and not look at the topic is ready too, with a note in the log.

        Raises:
            BrokerError: It doesn't, nothing is, publishing is not permitted, or there was no
                answer in time.
        """

    async def close(self) -> None:
        """Ends once what is in flight is through, at most after `CLOSE_SECONDS`.

        What has no ack by then fails, as does every later `publish`.
        """
