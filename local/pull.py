"""Takes what a subscription has, at once: for accounts, tables and recordings."""

from collections.abc import Iterator
from dataclasses import dataclass

from google.pubsub_v1.services.subscriber import SubscriberClient

from local.resources import subscription_path
from schemas.message import Message

_MANY = 1_000
_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Pulled:
    """What one pull was handed, by Pub/Sub's lease, until it is acknowledged."""

    subscription: str
    ack_ids: tuple[str, ...]
    messages: tuple[Message, ...]


def pull(client: SubscriberClient, project: str, subscription: str) -> Pulled:
    """One pull: up to 1,000 messages, none if there are none now; nothing is acknowledged.

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
    return Pulled(
        subscription_path(project, subscription),
        tuple(each.ack_id for each in received),
        tuple(
            Message(
                data=each.message.data,
                attributes=dict(each.message.attributes),
                message_id=each.message.message_id,
                publish_time=int(each.message.publish_time.timestamp() * 1_000_000),
            )
            for each in received
        ),
    )


def acknowledge(client: SubscriberClient, pulled: Pulled) -> None:
    """Tells Pub/Sub that it need not keep them any more."""
    client.acknowledge(
        subscription=pulled.subscription,
        ack_ids=list(pulled.ack_ids),
        timeout=_SECONDS,
        retry=None,
    )


def drain(client: SubscriberClient, project: str, subscription: str) -> Iterator[Message]:
    """Pulls and acknowledges until a pull comes back empty."""
    while (pulled := pull(client, project, subscription)).messages:
        acknowledge(client, pulled)
        yield from pulled.messages
