"""Takes what a subscription has, at once and acknowledged: for accounts, tables and recordings."""

from collections.abc import Iterator

from google.pubsub_v1.services.subscriber import SubscriberClient

from local.resources import subscription_path
from schemas.message import Message

_MANY = 1_000
_SECONDS = 20.0


def pull(client: SubscriberClient, project: str, subscription: str) -> list[Message]:
    """One pull: up to 1,000 messages, none if there are none now.

    `return_immediately` is deprecated since on Google's service it returns early and empty; the
    emulator has no such thing as a server that does not know yet, and a pull that the client
    gives up instead may have leased messages that nobody then has.
    """
    request = {
        "subscription": subscription_path(project, subscription),
        "max_messages": _MANY,
        "return_immediately": True,
    }
    answer = client.pull(request=request, timeout=_SECONDS, retry=None)
    received = list(answer.received_messages)
    if received:
        client.acknowledge(
            subscription=request["subscription"],
            ack_ids=[each.ack_id for each in received],
            timeout=_SECONDS,
            retry=None,
        )
    return [
        Message(
            data=each.message.data,
            attributes=dict(each.message.attributes),
            message_id=each.message.message_id,
            publish_time=int(each.message.publish_time.timestamp() * 1_000_000),
        )
        for each in received
    ]


def drain(client: SubscriberClient, project: str, subscription: str) -> Iterator[Message]:
    """Pulls until a pull comes back empty."""
    while messages := pull(client, project, subscription):
        yield from messages
