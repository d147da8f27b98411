"""Whether the topic can be published to, and keeps what is published."""

import asyncio
import logging

from google.api_core import exceptions
from google.pubsub_v1.services.publisher import PublisherAsyncClient

from publisher.broker import NO_ACK, BrokerError

READY_DEADLINE = 2.0
PUBLISH_PERMISSION = "pubsub.topics.publish"

log = logging.getLogger("publisher")


class Topic:
    """A topic that is looked at.

    Args:
        client: Asked.
        topic: Its full name.
    """

    def __init__(self, client: PublisherAsyncClient, topic: str) -> None:
        self._client = client
        self._topic = topic
        self._noted = False

    async def check(self) -> None:
        """See `Broker.check`."""
        try:
            async with asyncio.timeout(READY_DEADLINE):
                try:
                    await self._look()
                except exceptions.PermissionDenied as denied:
                    await self._ask(denied)
        except exceptions.GoogleAPICallError as error:
            code = getattr(error.grpc_status_code, "name", "UNKNOWN")
            raise BrokerError(f"{self._topic}: {named(error)}", code) from error
        except TimeoutError as error:
            reason = f"{self._topic}: no answer within {READY_DEADLINE:g} s"
            raise BrokerError(reason, NO_ACK) from error

    async def _look(self) -> None:
        """Looks at the topic and for a subscription; takes pubsub.topics.get for both."""
        # The emulator lists no subscriptions of a topic that does not exist, Pub/Sub says
        # NOT_FOUND: asked for the topic, both do.
        await self._client.get_topic(
            request={"topic": self._topic}, retry=None, timeout=READY_DEADLINE
        )
        subscriptions = await self._client.list_topic_subscriptions(
            request={"topic": self._topic, "page_size": 1}, retry=None, timeout=READY_DEADLINE
        )
        async for _ in subscriptions:  # a page may be empty though there is a next one
            return
        reason = f"{self._topic} has no subscription: it would keep no message"
        raise BrokerError(reason, "FAILED_PRECONDITION")

    async def _ask(self, denied: exceptions.PermissionDenied) -> None:
        """Asks whether publishing is permitted, which takes no permission to ask.

        `roles/pubsub.publisher` alone lacks pubsub.topics.get. The answer for a topic that does
        not exist is that nothing is permitted:
        https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.topics/testIamPermissions
        """
        answer = await self._client.test_iam_permissions(
            request={"resource": self._topic, "permissions": [PUBLISH_PERMISSION]},
            retry=None,
            timeout=READY_DEADLINE,
        )
        if PUBLISH_PERMISSION not in answer.permissions:
            raise BrokerError(
                f"{self._topic}: does not exist, or may not be published to"
                " (grant roles/pubsub.publisher on the topic)",
                "PERMISSION_DENIED",
            )
        if not self._noted:
            self._noted = True
            log.warning(
                "not checked: whether %s has a subscription (%s); grant roles/pubsub.viewer on the"
                " topic",
                self._topic,
                named(denied),
            )


def named(error: exceptions.GoogleAPICallError) -> str:
    """The error with its name, for the log."""
    return f"{type(error).__name__}: {error.message}"
