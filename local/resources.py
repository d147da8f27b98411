"""The topics and subscriptions of the stack, by the names that the README uses."""

import contextlib
from collections.abc import Mapping

from google.api_core.exceptions import AlreadyExists, NotFound
from google.pubsub_v1.services.publisher import PublisherClient
from google.pubsub_v1.services.subscriber import SubscriberClient

TOPIC = "issues-topic"
DEBUG_SUBSCRIPTION = "issues-debug-sub"
PIPELINE_SUBSCRIPTION = "issues-pipeline-sub"
DEAD_LETTER_TOPIC = "issues-dead-letter"
DEAD_LETTER_SUBSCRIPTION = "issues-dead-letter-sub"
DATASET = "issues_ds"

SUBSCRIPTIONS: Mapping[str, str] = {
    DEBUG_SUBSCRIPTION: TOPIC,
    PIPELINE_SUBSCRIPTION: TOPIC,
    DEAD_LETTER_SUBSCRIPTION: DEAD_LETTER_TOPIC,
}
# The stack's own: what it reads to account for every event and to show dead letters, so that
# nothing is taken from people's subscriptions. Made anew at each start.
ACCOUNT_SUBSCRIPTION = "issues-local-account-sub"
LETTERS_SUBSCRIPTION = "issues-local-letters-sub"
OWN_SUBSCRIPTIONS: Mapping[str, str] = {
    ACCOUNT_SUBSCRIPTION: TOPIC,
    LETTERS_SUBSCRIPTION: DEAD_LETTER_TOPIC,
}

# Pub/Sub's shortest, and its default (https://cloud.google.com/pubsub/docs/lease-management): the
# job extends its leases itself, and what was handed to a job that was killed comes back after it.
# The emulator hands messages even to a pull whose client is gone (seen with 60 s: a message sent
# right after the kill took 60 s).
ACK_DEADLINE_SECONDS = 10
_SECONDS = 20.0


def topic_path(project: str, topic: str) -> str:
    """A topic's full name."""
    return f"projects/{project}/topics/{topic}"


def subscription_path(project: str, subscription: str) -> str:
    """A subscription's full name."""
    return f"projects/{project}/subscriptions/{subscription}"


def create(publisher: PublisherClient, subscriber: SubscriberClient, project: str) -> list[str]:
    """Creates what is missing, and the stack's own subscriptions anew.

    Subscriptions come before any publisher starts: a topic without one discards.

    Returns:
        The full names of what was made.
    """
    made = []
    for topic in (TOPIC, DEAD_LETTER_TOPIC):
        name = topic_path(project, topic)
        # In an emulator that ran before, it may be there.
        with contextlib.suppress(AlreadyExists):
            publisher.create_topic(name=name, timeout=_SECONDS, retry=None)
            made.append(name)
    for subscription in OWN_SUBSCRIPTIONS:
        delete_subscription(subscriber, project, subscription)
    for subscription, topic in {**SUBSCRIPTIONS, **OWN_SUBSCRIPTIONS}.items():
        name = subscription_path(project, subscription)
        request = {
            "name": name,
            "topic": topic_path(project, topic),
            "ack_deadline_seconds": ACK_DEADLINE_SECONDS,
        }
        with contextlib.suppress(AlreadyExists):
            subscriber.create_subscription(request=request, timeout=_SECONDS, retry=None)
            made.append(name)
    return made


def delete_subscription(subscriber: SubscriberClient, project: str, subscription: str) -> bool:
    """Deletes a subscription, if it is there.

    Returns:
        Whether it was.
    """
    name = subscription_path(project, subscription)
    try:
        subscriber.delete_subscription(subscription=name, timeout=_SECONDS, retry=None)
    except NotFound:
        return False
    return True
