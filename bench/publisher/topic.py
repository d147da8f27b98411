"""Pub/Sub's emulator for a load: a process of its own, one topic, and what has come to it."""

import time
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import grpc
from google.auth.credentials import AnonymousCredentials
from google.pubsub_v1.services.publisher import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from bench.publisher.pinned import pinned
from bench.publisher.requests import Stream
from local.emulators import find
from local.layout import PROJECT
from local.ports import HOST, Ports
from local.processes import Child, Command, Processes
from local.pull import drain
from local.resources import subscription_path, topic_path
from local.web import serving
from schemas.message import CE_ID, EVENT_ID, ISSUE_ID, Message

_SUBSCRIPTION = "bench-sub"
_READY_SECONDS = 90.0
_SECONDS = 20.0
# No message is pulled twice while it is counted.
_LEASE_SECONDS = 60
_LARGEST = 64 * 1024 * 1024


@dataclass(slots=True)
class OnTopic:
    """What a topic got, by the number of the request that brought it.

    Args:
        messages: How many of each number.
        event_ids: The distinct `event_id`s of each number; one, if repeats are the same event.
        issue_ids: Of manual issues, by number.
        unknown: Messages that no request of the run brought.
    """

    messages: Counter[int] = field(default_factory=Counter)
    event_ids: dict[int, set[str]] = field(default_factory=dict)
    issue_ids: dict[int, str] = field(default_factory=dict)
    unknown: int = 0

    def add(self, stream: Stream, message: Message) -> None:
        """One message more."""
        number = stream.number(message.attribute(CE_ID).encode())
        if number is None:
            number = stream.number(message.data)
        if number is None:
            self.unknown += 1
            return
        self.messages[number] += 1
        self.event_ids.setdefault(number, set()).add(message.attribute(EVENT_ID))
        if issue_id := message.attribute(ISSUE_ID):
            self.issue_ids[number] = issue_id


class Topic:
    """An emulator with one topic and one subscription.

    Args:
        processes: What starts it, and ends it if the bench breaks off.
        core: The core that it runs on; None for any.
        name: The topic's name.
    """

    def __init__(self, processes: Processes, core: int | None = None, name: str = "bench") -> None:
        self._processes = processes
        self._core = core
        self._port = Ports().take(0)
        self._child: Child | None = None
        self._channel: Any = None
        self._publisher: Any = None
        self._subscriber: Any = None
        self.name = name
        self.address = f"{HOST}:{self._port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Starts the emulator, always on the same port, and makes topic and subscription."""
        argv = find(own=True).pubsub_command(str(self._port))
        command = Command("Pub/Sub emulator", pinned(argv, self._core))
        self._child = self._processes.start(command)
        self._child.wait_ready(serving(self.address), _READY_SECONDS)
        options = (("grpc.max_receive_message_length", _LARGEST),)
        self._channel = grpc.insecure_channel(self.address, options=options)
        credentials = AnonymousCredentials()
        self._publisher = PublisherClient(
            transport=PublisherGrpcTransport(channel=self._channel, credentials=credentials)
        )
        self._subscriber = SubscriberClient(
            transport=SubscriberGrpcTransport(channel=self._channel, credentials=credentials)
        )
        self.renew()

    def renew(self) -> None:
        """Makes topic and subscription, anew if they are there: what they held is gone."""
        topic, name = topic_path(PROJECT, self.name), subscription_path(PROJECT, _SUBSCRIPTION)
        listed = self._publisher.list_topics(
            project=f"projects/{PROJECT}", timeout=_SECONDS, retry=None
        )
        if topic in {each.name for each in listed}:
            self._subscriber.delete_subscription(subscription=name, timeout=_SECONDS, retry=None)
        else:
            self._publisher.create_topic(name=topic, timeout=_SECONDS, retry=None)
        request = {"name": name, "topic": topic, "ack_deadline_seconds": _LEASE_SECONDS}
        self._subscriber.create_subscription(request=request, timeout=_SECONDS, retry=None)

    def kill(self) -> None:
        """SIGKILL: what it held is gone with its memory."""
        child, self._child = self._child, None
        if child is not None:
            self._channel.close()
            self._processes.kill(child)

    def drain(self, stream: Stream, found: OnTopic) -> int:
        """Takes all that is there now.

        Returns:
            How many messages.
        """
        count = 0
        for message in drain(self._subscriber, PROJECT, _SUBSCRIPTION):
            found.add(stream, message)
            count += 1
        return count

    def settle(self, stream: Stream, found: OnTopic, wanted: set[int], quiet: float) -> None:
        """Takes what is there until all that is wanted has come, or nothing came for a while.

        Args:
            stream: Where the requests came from.
            found: Where it is noted.
            wanted: Numbers that are to be there.
            quiet: Seconds without a message after which no more is expected.
        """
        last = time.monotonic()
        while time.monotonic() - last < quiet:
            if self.drain(stream, found):
                last = time.monotonic()
            elif wanted <= found.messages.keys():
                return
            else:
                time.sleep(0.05)
